package worker

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/stream/streamtest"
)

// scales weighs what was read from a stream and is not processed yet.
type scales struct {
	stream.Stream
	done      chan struct{} // closed when all records are processed
	mu        sync.Mutex
	left      int // records that are not processed
	now, most int // bytes
}

func newScales(s stream.Stream, records int) *scales {
	return &scales{Stream: s, done: make(chan struct{}), left: records}
}

// processor takes a second for a batch.
func (s *scales) processor() processors.RecordProcessor {
	return processors.Func(func(_ context.Context, batch *processors.Batch) error {
		time.Sleep(time.Second)
		bytes := 0
		for i := range batch.Records {
			bytes += batch.Records[i].Size()
		}
		s.add(-bytes)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.left -= len(batch.Records); s.left == 0 {
			close(s.done)
		}
		return nil
	})
}

func (s *scales) add(bytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now += bytes
	s.most = max(s.most, s.now)
}

func (s *scales) Open(ctx context.Context, shard string, from stream.Position) (stream.Reader, error) {
	r, err := s.Stream.Open(ctx, shard, from)
	return &weighing{r, s}, err
}

type weighing struct {
	stream.Reader
	scales *scales
}

func (w *weighing) Next(ctx context.Context, b *stream.Batch) error {
	err := w.Reader.Next(ctx, b)
	w.scales.add(b.Bytes)
	return err
}

func TestASlowProcessorSlowsItsReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 8)
		const n = 2000 // of 10 KiB: 20 MiB
		weighed := newScales(b.stream, n)
		cfg := b.config("a")
		cfg.Streams = []stream.Stream{weighed}
		cfg.Memory = 1 << 20
		var held sync.WaitGroup
		held.Add(8)
		cfg.Processor = func(processors.Shard) processors.RecordProcessor {
			held.Done()
			return weighed.processor()
		}
		w := b.start(cfg)
		held.Wait()
		payload := make([]byte, 10<<10)
		for i := range n {
			if _, err := b.stream.Put(t.Context(), stream.Entry{PartitionKey: strconv.Itoa(i), Data: payload}); err != nil {
				t.Fatal(err)
			}
		}
		<-weighed.done
		w.stop()
		if weighed.most > cfg.Memory {
			t.Errorf("%d bytes were held at once, the limit is %d", weighed.most, cfg.Memory)
		}
	})
}

func TestARecreatedStreamIsBegunAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 2)
		b.puts(30)
		w := b.start(b.config("a"))
		b.ledger.wait(t, 30)
		w.stop()

		time.Sleep(time.Second)
		b.stream = streamtest.NewMemory("orders", 2) // the same name, another incarnation
		b.ledger, b.put = newLedger(), 0
		b.puts(40)
		w = b.start(b.config("b"))
		b.ledger.wait(t, 40)
		w.stop()
		b.ledger.check(t, 40, 1)
	})
}
