package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/stream/streamtest"
)

var errAway = errors.New("no route to host, say")

func TestAStreamThatCannotBeReachedIsWaitedFor(t *testing.T) {
	for name, test := range map[string]struct {
		sicken func(*ailing)
		told   string // in the log, at least as a warning
	}{
		"it does not say which it is": {func(a *ailing) { a.identity = errAway }, "no route to host"},
		"it does not answer":          {func(a *ailing) { a.hang = true }, ""},
		"shards cannot be opened":     {func(a *ailing) { a.open = errAway }, "open the shard failed, trying again: the shard waits"},
		"shards cannot be read":       {func(a *ailing) { a.next = errAway }, "reading the shard failed, trying again: the shard waits"},
		"readers give nothing":        {func(a *ailing) { a.next = errEmpty }, "gave no records and no error"},
	} {
		for _, when := range []string{"at first contact", "later"} {
			t.Run(name+", "+when, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := setup(t, 2)
					sick := &ailing{Stream: b.stream}
					cfg := b.config("a")
					cfg.Streams = []stream.Stream{sick}
					if when == "later" {
						b.puts(10)
						w := b.start(cfg)
						b.ledger.wait(t, 10)
						w.stop()
					}
					b.puts(20)
					sick.set(test.sicken)
					w := b.start(cfg)
					time.Sleep(5 * time.Minute)
					sick.set(func(a *ailing) { a.hang, a.identity, a.open, a.next = false, nil, nil, nil })
					b.ledger.wait(t, b.put)

					b.puts(10)
					b.ledger.wait(t, b.put)
					w.stop()
					if b.log.count(test.told) == 0 {
						t.Errorf("nobody was told %q", test.told)
					}
					if n := b.log.count("the shard waits"); n > 2*120 {
						t.Errorf("two shards told %d times of one thing in five minutes", n)
					}

					b.puts(10)
					sick.set(test.sicken)
					w = b.start(cfg)
					time.Sleep(time.Minute)
					begin := time.Now()
					w.stop()
					// A leader's last look at the streams is bounded by FailoverTime.
					if took := time.Since(begin); took > cfg.withDefaults().FailoverTime+time.Second {
						t.Errorf("the stop took %v while the stream was away", took)
					}
					if b.log.count("level=WARN", errDraining.Error()) != 0 {
						t.Error("the stop is told of as a failure")
					}
					sick.set(func(a *ailing) { a.hang, a.identity, a.open, a.next = false, nil, nil, nil })
					w = b.start(cfg)
					b.ledger.wait(t, b.put)
					w.stop()
					b.ledger.check(t, b.put, 1)
				})
			})
		}
	}
}

func TestABrokenStreamHoldsUpNoOther(t *testing.T) {
	for name, sicken := range map[string]func(*ailing){
		"an error":  func(a *ailing) { a.identity = errAway },
		"no answer": func(a *ailing) { a.hang = true },
		"deleted":   func(a *ailing) { a.identity = stream.ErrStreamNotFound },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := setup(t, 2)
				sick := &ailing{Stream: streamtest.NewMemory("refunds", 2)}
				sick.set(sicken)
				cfg := b.config("a")
				cfg.Streams = []stream.Stream{sick, b.stream}
				b.puts(20)
				w := b.start(cfg)
				b.ledger.wait(t, 20)
				w.stop()
				b.ledger.check(t, 20, 1)
			})
		})
	}
}

func TestAStreamIsMissingOnlyWhenAllHaveAnswered(t *testing.T) {
	memory := streamtest.NewMemory("orders", 1)
	id, err := memory.Identity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	other := streamtest.NewMemory("refunds", 1)
	deleted, away, silent := &ailing{identity: stream.ErrStreamNotFound}, &ailing{identity: errAway}, &ailing{hang: true}
	for name, test := range map[string]struct {
		streams []stream.Stream
		want    error
	}{
		"there":            {[]stream.Stream{other, memory}, nil},
		"beside the sick":  {[]stream.Stream{deleted, away, silent, memory}, nil},
		"another one":      {[]stream.Stream{other}, stream.ErrStreamNotFound},
		"deleted":          {[]stream.Stream{deleted, other}, stream.ErrStreamNotFound},
		"perhaps the sick": {[]stream.Stream{deleted, away, other}, errAway},
	} {
		t.Run(name, func(t *testing.T) {
			s, got, err := find(t.Context(), test.streams, id.ID())
			if !errors.Is(err, test.want) || hopeless(err) != (test.want == stream.ErrStreamNotFound) {
				t.Fatalf("error %v, want %v", err, test.want)
			}
			if test.want == nil && (s != memory || got != id) {
				t.Errorf("found %v, %v", s, got)
			}
		})
	}
}

// asked counts who asks a stream for its identity.
type asked struct {
	stream.Stream
	times *atomic.Int32
}

func (a asked) Identity(ctx context.Context) (stream.Identity, error) {
	a.times.Add(1)
	return a.Stream.Identity(ctx)
}

func TestATermAsksItsOwnStreamAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const shards, others = 20, 9
		b := setup(t, shards)
		var own, all atomic.Int32
		cfg := b.config("a")
		cfg.Streams = []stream.Stream{asked{b.stream, &own}}
		for i := range others {
			cfg.Streams = append(cfg.Streams, asked{streamtest.NewMemory(fmt.Sprint("other-", i), 1), &all})
		}
		b.puts(100)
		w := b.start(cfg)
		b.ledger.wait(t, 100)
		w.stop()
		// Those who lead, and whoever joins, ask all of them.
		if n := all.Load(); n > others*own.Load()/2 {
			t.Errorf("%d shards of one stream were opened: it was asked %d times, and %d others %d times", shards, own.Load(), others, n)
		}
	})
}

func TestAShardThatIsGoneIsNotTriedInHaste(t *testing.T) {
	for name, sicken := range map[string]func(*ailing){
		"when it is opened": func(a *ailing) { a.open = stream.ErrShardNotFound },
		"when it is read":   func(a *ailing) { a.next = stream.ErrShardNotFound },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := setup(t, 1)
				sick := &ailing{Stream: b.stream}
				sick.set(sicken)
				cfg := b.config("a")
				cfg.Streams = []stream.Stream{sick}
				w := b.start(cfg)
				time.Sleep(10 * time.Minute)
				w.stop()
				taken, told := b.log.count("lease taken"), b.log.count("level=ERROR", "shard not found")
				if told != taken {
					t.Errorf("%d terms failed, %d are told of", taken, told)
				}
				if taken < 10 || taken > 200 {
					t.Errorf("%d terms in ten minutes", taken)
				}
			})
		})
	}
}

func TestAStreamThatIsRecreatedUnderItsWorkerEndsNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 2)
		other := streamtest.NewMemory("refunds", 1)
		cfg := b.config("a")
		cfg.Streams = append(cfg.Streams, other)
		b.puts(20)
		w := b.start(cfg)
		b.ledger.wait(t, 20)

		b.stream = b.stream.Recreate(2) // cfg keeps the handle of the former one
		time.Sleep(10 * time.Minute)
		b.ledger.check(t, 20, 1)
		if b.log.count("level=ERROR", "stream not found") == 0 {
			t.Error("nobody was told that the stream is gone")
		}
		b.put++
		if _, err := other.Put(t.Context(), stream.Entry{PartitionKey: "refund", Data: []byte("21")}); err != nil {
			t.Fatal(err)
		}
		b.ledger.wait(t, 21)
		begin := time.Now()
		w.stop()
		if took := time.Since(begin); took > time.Second {
			t.Errorf("the stop took %v", took)
		}

		b.ledger, b.put = newLedger(), 0
		b.puts(30)
		w = b.start(b.config("b")) // whose handle is that of the new one
		b.ledger.wait(t, 30)
		w.stop()
		b.ledger.check(t, 30, 1)
	})
}

func TestRecordsThatLeftRetentionAreToldOfAndPassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 1)
		meters := newMeters()
		cfg := b.config("a")
		cfg.MeterProvider = meters.provider
		b.puts(10)
		w := b.start(cfg)
		b.ledger.wait(t, 10)
		w.stop()

		b.puts(10)
		results, err := b.stream.Put(t.Context(), stream.Entry{PartitionKey: "k", Data: []byte("21")})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.stream.Trim(t.Context(), only, results[0].Sequence); err != nil {
			t.Fatal(err)
		}
		w = b.start(cfg)
		b.ledger.wait(t, 11)
		w.stop()
		if b.ledger.done[21] != 1 {
			t.Error("what was behind the gap was not processed")
		}
		if b.log.count("level=ERROR", "records left retention before they were processed", "shard="+only) != 1 {
			t.Error("the gap is not in the log once")
		}
		if got := meters.sum(t, "millrace.shard.trimmed"); got != 1 {
			t.Errorf("%v gaps were counted", got)
		}
		if got := b.leases()[only].Checkpoint.Position; got != stream.After(results[0].Sequence) {
			t.Errorf("the checkpoint is %v", got)
		}
	})
}

func TestACorruptShardWaitsLoudlyAndOthersGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 4)
		b.puts(40)
		sick := &ailing{
			Stream: b.stream, shard: "shardId-000000000002",
			next: &stream.CorruptError{Shard: "shardId-000000000002", File: "000007.wal", Offset: 4096, Detail: "checksum"},
		}
		meters := newMeters()
		cfg := b.config("a")
		cfg.Streams = []stream.Stream{sick}
		cfg.MeterProvider = meters.provider
		w := b.start(cfg)
		time.Sleep(10 * time.Minute)
		if got := meters.sum(t, "millrace.shards.blocked"); got != 1 {
			t.Errorf("%v shards are counted as blocked", got)
		}
		n := b.log.count("level=ERROR", "stored records are corrupt", "shard="+sick.shard, "000007.wal", "4096")
		if n < 20 || n > 400 {
			t.Errorf("it was told %d times in ten minutes", n)
		}
		w.stop()
		if got := meters.sum(t, "millrace.shards.blocked"); got != 0 {
			t.Errorf("%v shards are counted as blocked after the stop", got)
		}
		for shard, l := range b.leases() {
			if _, _, begun := l.Checkpoint.Position.Sequence(); begun == (shard == sick.shard) {
				t.Errorf("%s has the checkpoint %v", shard, l.Checkpoint.Position)
			}
		}
		// Mended, it goes on with the first record.
		w = b.start(b.config("b"))
		b.ledger.wait(t, 40)
		w.stop()
		b.ledger.check(t, 40, 1)
	})
}

func TestABatchComesAgainAsItWasWhateverTheProcessorDidToIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 1)
		cfg := b.config("a")
		cfg.Processor = func(processors.Shard) processors.RecordProcessor {
			return processors.Func(func(_ context.Context, batch *processors.Batch) error {
				if batch.Attempt == 1 {
					for len(batch.Records) > 1 { // as one eats up a list
						batch.Records = batch.Records[1:]
					}
					batch.Shard, batch.Checkpointer = nil, nil
					return errors.New("no")
				}
				if batch.Shard == nil || batch.Checkpointer == nil {
					t.Error("the batch came back plucked")
				}
				b.ledger.add(batch)
				return nil
			})
		}
		b.puts(30)
		w := b.start(cfg)
		b.ledger.wait(t, 30)
		w.stop()
		b.ledger.check(t, 30, 1)
	})
}

func TestAPanicThatMakesNoProcessorIsLoggedWithItsStack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 1)
		cfg := b.config("a")
		made := 0
		cfg.Processor = func(processors.Shard) processors.RecordProcessor {
			switch made++; made {
			case 1:
				panic("no such table")
			case 2:
				return nil
			case 3:
				return processors.Func(nil)
			}
			t.Error("a processor was made again because Initialize failed")
			return nil
		}
		w := b.start(cfg)
		time.Sleep(time.Minute)
		w.stop()
		for _, parts := range [][]string{
			{"Config.Processor: panic", "no such table", "fault_test.go"},
			{"Config.Processor returned nil: return a RecordProcessor"},
			{"processors.Func is nil: give a function"},
		} {
			if b.log.count(append(parts, "level=WARN", "initialize failed, trying again")...) == 0 {
				t.Errorf("the log has no line with %q", parts)
			}
		}
	})
}

func TestARecordLargerThanEveryLimitPasses(t *testing.T) {
	e, err := engine.OpenMemory(engine.Config{SegmentBytes: 64 << 20, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	s, err := e.CreateStream(t.Context(), "large", engine.StreamConfig{MaxRecordBytes: 10 << 20})
	if err != nil {
		t.Fatal(err)
	}
	data := bytes.Repeat([]byte("0123456789abcdef"), 10<<20/16)[:10<<20-len("key")]
	for range 3 {
		results, err := s.Put(t.Context(), stream.Entry{PartitionKey: "key", Data: data})
		if err != nil || results[0].Err != nil {
			t.Fatal(err, results)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	n := 0
	w, err := New(Config{
		Application: "test", Streams: []stream.Stream{s}, Leases: lease.NewMemory(),
		Logger:     slog.New(slog.NewTextHandler(io.Discard, nil)),
		BatchBytes: 1, Memory: 1 << 20,
		Processor: func(processors.Shard) processors.RecordProcessor {
			return processors.Func(func(_ context.Context, batch *processors.Batch) error {
				if len(batch.Records) != 1 || !bytes.Equal(batch.Records[0].Data, data) {
					t.Errorf("a batch of %d records, the first of %d bytes", len(batch.Records), len(batch.Records[0].Data))
				}
				if n++; n == 3 {
					stop()
				}
				return nil
			})
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	timeout := time.AfterFunc(time.Minute, stop)
	defer timeout.Stop()
	if err := w.Run(ctx); err != nil || n != 3 {
		t.Errorf("%d records were processed; Run returned %v", n, err)
	}
}
