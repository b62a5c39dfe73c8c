package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/stream/streamtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ledger keeps what processors have done, by the number in each record's data.
type ledger struct {
	mu      sync.Mutex
	done    map[int]int // record number → times done
	last    map[string]int
	errs    []error
	changed chan struct{}
}

func newLedger() *ledger {
	return &ledger{done: map[int]int{}, last: map[string]int{}, changed: make(chan struct{})}
}

// add enters a batch that is done, and checks that numbers grow inside a key
// unless they are repeated.
func (l *ledger) add(b *processors.Batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range b.Records {
		r := &b.Records[i]
		n, err := strconv.Atoi(string(r.Data))
		if err != nil {
			l.errs = append(l.errs, err)
			continue
		}
		if l.done[n] == 0 && n <= l.last[r.PartitionKey] {
			l.errs = append(l.errs, fmt.Errorf("key %s: %d done after %d", r.PartitionKey, n, l.last[r.PartitionKey]))
		}
		l.done[n]++
		l.last[r.PartitionKey] = max(n, l.last[r.PartitionKey])
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

// wait returns when n different records are done.
func (l *ledger) wait(t *testing.T, n int) {
	t.Helper()
	deadline := time.After(10 * time.Minute)
	for {
		l.mu.Lock()
		got, changed := len(l.done), l.changed
		l.mu.Unlock()
		if got >= n {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("%d records done, want %d", got, n)
		}
	}
}

// check fails the test unless records 1 to n are done, each of them at most
// most times.
func (l *ledger) check(t *testing.T, n, most int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := errors.Join(l.errs...); err != nil {
		t.Error(err)
	}
	for i := 1; i <= n; i++ {
		if l.done[i] == 0 {
			t.Errorf("record %d was lost", i)
		}
		if l.done[i] > most {
			t.Errorf("record %d was done %d times, want at most %d", i, l.done[i], most)
		}
	}
	if len(l.done) > n {
		t.Errorf("%d records done, only %d were put", len(l.done), n)
	}
}

// bundle is a stream, a lease store and what is done with both.
type bundle struct {
	t      *testing.T
	stream *streamtest.Memory
	store  lease.Store
	ledger *ledger
	put    int
}

func setup(t *testing.T, shards int) *bundle {
	return &bundle{t: t, stream: streamtest.NewMemory("orders", shards), store: lease.NewMemory(), ledger: newLedger()}
}

// puts adds n numbered records over ten keys.
func (b *bundle) puts(n int) {
	b.t.Helper()
	for range n {
		b.put++
		e := stream.Entry{PartitionKey: "key-" + strconv.Itoa(b.put%10), Data: []byte(strconv.Itoa(b.put))}
		results, err := b.stream.Put(b.t.Context(), e)
		if err != nil || results[0].Err != nil {
			b.t.Fatal(err, results)
		}
	}
}

func (b *bundle) config(name string) Config {
	return Config{
		Application: "test", Name: name,
		Streams: []stream.Stream{b.stream}, Leases: b.store,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Processor: func(processors.Shard) processors.RecordProcessor {
			return processors.Func(func(_ context.Context, batch *processors.Batch) error {
				b.ledger.add(batch)
				return nil
			})
		},
	}
}

// running is a worker at work.
type running struct {
	t      *testing.T
	cancel context.CancelFunc
	done   chan error
}

func (b *bundle) start(cfg Config) *running {
	b.t.Helper()
	w, err := New(cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.t.Context())
	r := &running{t: b.t, cancel: cancel, done: make(chan error, 1)}
	go func() { r.done <- w.Run(ctx) }()
	return r
}

// stop asks for a graceful stop and waits for it.
func (r *running) stop() {
	r.t.Helper()
	r.cancel()
	if err := <-r.done; err != nil {
		r.t.Errorf("Run returned %v", err)
	}
}

func (b *bundle) leases() map[string]lease.Lease {
	all := map[string]lease.Lease{}
	for l, err := range b.store.Leases(context.WithoutCancel(b.t.Context())) {
		if err != nil {
			b.t.Fatal(err)
		}
		all[l.Shard] = l
	}
	return all
}

func TestEveryRecordIsProcessedOnceAndInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 4)
		b.puts(100)
		w := b.start(b.config("a"))
		b.ledger.wait(t, 100)
		b.puts(100)
		b.ledger.wait(t, 200)
		w.stop()
		b.ledger.check(t, 200, 1)
		for shard, l := range b.leases() {
			if l.Owner != "" || l.CheckpointOwner != "" {
				t.Errorf("%s still belongs to %q, %q", shard, l.Owner, l.CheckpointOwner)
			}
			if _, after, ok := l.Checkpoint.Position.Sequence(); !ok || !after {
				t.Errorf("%s has the checkpoint %v", shard, l.Checkpoint.Position)
			}
		}
	})
}

func TestAGracefulStopHandsOverWithoutARepeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 3)
		for i := range 5 {
			w := b.start(b.config(fmt.Sprint("deploy-", i)))
			b.puts(50)
			b.ledger.wait(t, b.put)
			b.puts(20) // some of them in the middle of the stop
			w.stop()
		}
		w := b.start(b.config("last"))
		b.ledger.wait(t, b.put)
		w.stop()
		b.ledger.check(t, b.put, 1)
	})
}

func TestAFleetSharesTheShardsAndHandsThemOverWithoutARepeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 12)
		stopPutting := make(chan struct{})
		var producer sync.WaitGroup
		producer.Go(func() {
			for {
				select {
				case <-stopPutting:
					return
				case <-time.After(50 * time.Millisecond):
					b.puts(1)
				}
			}
		})
		fleet := []*running{b.start(b.config("a"))}
		time.Sleep(30 * time.Second)
		fleet = append(fleet, b.start(b.config("b")), b.start(b.config("c")))
		time.Sleep(time.Minute)
		owners := map[string]int{}
		for _, l := range b.leases() {
			owners[l.Owner]++
		}
		// Leases are balanced by load, and the ten keys load the shards unevenly.
		if len(owners) != 3 || slices.Max(slices.Collect(maps.Values(owners))) > 8 {
			t.Errorf("12 shards are shared out as %v", owners)
		}
		fleet[0].stop()
		time.Sleep(30 * time.Second)
		close(stopPutting)
		producer.Wait()
		b.ledger.wait(t, b.put)
		fleet[1].stop()
		fleet[2].stop()
		b.ledger.check(t, b.put, 1)
	})
}

func TestAFailingBatchIsGivenAgainAndNothingIsSkipped(t *testing.T) {
	for _, how := range []string{"error", "panic"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := setup(t, 1)
				cfg := b.config("a")
				var attempts []int
				cfg.Processor = func(processors.Shard) processors.RecordProcessor {
					return processors.Func(func(_ context.Context, batch *processors.Batch) error {
						attempts = append(attempts, batch.Attempt)
						if batch.Attempt < 4 {
							if how == "panic" {
								panic("no")
							}
							return errors.New("no")
						}
						b.ledger.add(batch)
						return nil
					})
				}
				b.puts(10)
				w := b.start(cfg)
				b.ledger.wait(t, 10)
				w.stop()
				b.ledger.check(t, 10, 1)
				if !slices.Equal(attempts, []int{1, 2, 3, 4}) {
					t.Errorf("attempts %v", attempts)
				}
			})
		})
	}
}

func TestAPoisonRecordStopsItsShardOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 4)
		b.puts(100)
		cfg := b.config("a")
		var poisoned string
		var mu sync.Mutex
		cfg.Processor = func(processors.Shard) processors.RecordProcessor {
			return processors.Func(func(_ context.Context, batch *processors.Batch) error {
				for _, r := range batch.Records {
					if string(r.Data) == "7" {
						mu.Lock()
						poisoned = batch.Shard.ID
						mu.Unlock()
						return errors.New("poison")
					}
				}
				b.ledger.add(batch)
				return nil
			})
		}
		cfg.BatchRecords = 1
		w := b.start(cfg)
		time.Sleep(10 * time.Minute)
		w.stop()
		mu.Lock()
		defer mu.Unlock()
		after := b.leases()
		for _, shard := range []string{"shardId-000000000000", "shardId-000000000001", "shardId-000000000002", "shardId-000000000003"} {
			if shard == poisoned {
				continue
			}
			if _, isSeq, _ := after[shard].Checkpoint.Position.Sequence(); !isSeq {
				t.Errorf("%s has the checkpoint %v", shard, after[shard].Checkpoint.Position)
			}
		}
		if b.ledger.done[7] != 0 || b.ledger.done[17] != 0 {
			t.Error("the shard went past its poison record")
		}
		// The fault mended, everything is there, and only once.
		w = b.start(b.config("b"))
		b.ledger.wait(t, 100)
		w.stop()
		b.ledger.check(t, 100, 1)
	})
}

func TestASplitAndAMergeInTheMiddleKeepOrderAndLoseNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 2)
		w := b.start(b.config("a"))
		v := b.start(b.config("b"))
		var producer sync.WaitGroup
		stop := make(chan struct{})
		producer.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(10 * time.Millisecond):
					b.puts(3)
				}
			}
		})
		time.Sleep(5 * time.Second)
		if err := b.stream.Split(t.Context(), "shardId-000000000000", stream.HashRange{End: stream.SplitHashSpace(2)[0].End}.Middle()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if err := b.stream.Merge(t.Context(), "shardId-000000000003", "shardId-000000000001"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if err := b.stream.UpdateShardCount(t.Context(), 5); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Second)
		close(stop)
		producer.Wait()
		b.ledger.wait(t, b.put)
		w.stop()
		v.stop()
		b.ledger.check(t, b.put, 1)
	})
}

func TestAChildWaitsUntilShardEndedHasSucceeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 1)
		b.puts(20)
		if err := b.stream.Split(t.Context(), "shardId-000000000000", stream.FullRange.Middle()); err != nil {
			t.Fatal(err)
		}
		b.puts(20)
		var mu sync.Mutex
		ends, early := 0, 0
		cfg := b.config("a")
		cfg.Processor = func(s processors.Shard) processors.RecordProcessor {
			return &scripted{
				process: func(_ context.Context, batch *processors.Batch) error {
					mu.Lock()
					if len(s.Parents) > 0 && ends < 3 {
						early++
					}
					mu.Unlock()
					b.ledger.add(batch)
					return nil
				},
				ended: func() error {
					mu.Lock()
					defer mu.Unlock()
					if ends++; ends < 3 {
						return errors.New("not yet")
					}
					return nil
				},
			}
		}
		w := b.start(cfg)
		b.ledger.wait(t, 40)
		w.stop()
		b.ledger.check(t, 40, 1)
		mu.Lock()
		defer mu.Unlock()
		if ends != 3 || early != 0 {
			t.Errorf("ShardEnded was called %d times, want 3; children were processed %d times before it succeeded", ends, early)
		}
		if got := b.leases()["shardId-000000000000"]; got.Key != "" && got.Checkpoint.Position != stream.ShardEnd {
			t.Errorf("the parent has the checkpoint %v", got.Checkpoint.Position)
		}
	})
}

// scripted is a processor made of functions.
type scripted struct {
	processors.Base
	initialize func(context.Context, processors.Start) error
	process    func(context.Context, *processors.Batch) error
	shutdown   func(context.Context, checkpoint.Checkpointer) error
	ended      func() error
	lost       func(error)
}

func (s *scripted) Initialize(ctx context.Context, st processors.Start) error {
	if s.initialize == nil {
		return nil
	}
	return s.initialize(ctx, st)
}

func (s *scripted) ProcessRecords(ctx context.Context, b *processors.Batch) error {
	return s.process(ctx, b)
}

func (s *scripted) ShutdownRequested(ctx context.Context, c checkpoint.Checkpointer) error {
	if s.shutdown == nil {
		return nil
	}
	return s.shutdown(ctx, c)
}

func (s *scripted) ShardEnded(context.Context, checkpoint.Checkpointer) error {
	if s.ended == nil {
		return nil
	}
	return s.ended()
}

func (s *scripted) LeaseLost(_ context.Context, cause error) {
	if s.lost != nil {
		s.lost(cause)
	}
}

func TestLatestIsPinnedAtFirstContact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 2)
		b.puts(30) // before the first contact: not wanted
		old := b.put
		cfg := b.config("a")
		cfg.From = stream.Latest
		cfg.Processor = func(processors.Shard) processors.RecordProcessor {
			return processors.Func(func(context.Context, *processors.Batch) error { return errors.New("never works") })
		}
		w := b.start(cfg)
		time.Sleep(time.Minute)
		b.puts(30)
		time.Sleep(time.Minute)
		w.stop() // without a single checkpoint of its own
		cfg = b.config("b")
		cfg.From = stream.Latest
		w = b.start(cfg)
		b.ledger.wait(t, 30)
		w.stop()
		for n := 1; n <= b.put; n++ {
			if want := n > old; (b.ledger.done[n] == 1) != want {
				t.Errorf("record %d was done %d times; wanted: %v", n, b.ledger.done[n], want)
			}
		}
	})
}

func TestManualCheckpointsStoreWhatTheProcessorSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 1)
		cfg := b.config("a")
		cfg.ManualCheckpoints = true
		cfg.BatchRecords = 10
		cfg.Processor = func(processors.Shard) processors.RecordProcessor {
			return processors.Func(func(ctx context.Context, batch *processors.Batch) error {
				b.ledger.add(batch)
				if b.ledger.done[20] == 1 && b.ledger.done[21] == 0 {
					return batch.Checkpointer.CheckpointAt(ctx, batch.Records[4].Sequence) // the record 15
				}
				return nil
			})
		}
		b.puts(40)
		w := b.start(cfg)
		b.ledger.wait(t, 40)
		w.stop()
		w = b.start(b.config("b"))
		time.Sleep(time.Minute)
		w.stop()
		for n := 1; n <= 40; n++ {
			want := 1
			if n > 15 {
				want = 2
			}
			if b.ledger.done[n] != want {
				t.Errorf("record %d was done %d times, want %d", n, b.ledger.done[n], want)
			}
		}
	})
}

func TestALostShardCancelsItsProcessorAndTellsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 1)
		cut := &cuttable{Store: b.store}
		cfg := b.config("a")
		cfg.Leases = cut
		began := make(chan struct{})
		var mu sync.Mutex
		var cancelled, told error
		var when time.Duration
		cfg.Processor = func(processors.Shard) processors.RecordProcessor {
			return &scripted{
				process: func(ctx context.Context, batch *processors.Batch) error {
					start := time.Now()
					select {
					case <-began:
					default:
						close(began)
					}
					<-ctx.Done() // blocks until its lease is gone
					mu.Lock()
					defer mu.Unlock()
					cancelled, when = context.Cause(ctx), time.Since(start)
					return cancelled
				},
				lost: func(cause error) {
					mu.Lock()
					defer mu.Unlock()
					told = cause
				},
			}
		}
		b.puts(5)
		w := b.start(cfg)
		<-began
		cut.set(true)
		v := b.start(b.config("b"))
		b.ledger.wait(t, 5)
		mu.Lock()
		if !errors.Is(cancelled, checkpoint.ErrLeaseLost) || !errors.Is(told, checkpoint.ErrLeaseLost) {
			t.Errorf("the context's cause is %v, LeaseLost got %v", cancelled, told)
		}
		if when > cfg.withDefaults().FailoverTime {
			t.Errorf("cancelled after %v, later than the failover time", when)
		}
		mu.Unlock()
		cut.set(false)
		w.stop()
		v.stop()
		b.ledger.check(t, 5, 1)
	})
}

// cuttable is a lease store that can be cut off.
type cuttable struct {
	lease.Store
	mu  sync.Mutex
	cut bool
}

func (c *cuttable) set(cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = cut
}

var errCut = errors.New("cut off")

func (c *cuttable) err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut {
		return errCut
	}
	return nil
}

func (c *cuttable) Swap(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
	if err := c.err(); err != nil {
		return lease.Lease{}, err
	}
	return c.Store.Swap(ctx, old, next)
}

func (c *cuttable) SwapMember(ctx context.Context, old, next lease.Member) (lease.Member, error) {
	if err := c.err(); err != nil {
		return lease.Member{}, err
	}
	return c.Store.SwapMember(ctx, old, next)
}

func (c *cuttable) Read(ctx context.Context, keys ...string) ([]lease.Lease, error) {
	if err := c.err(); err != nil {
		return nil, err
	}
	return c.Store.Read(ctx, keys...)
}

func TestAProcessorThatFailsToBeginIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 1)
		b.puts(5)
		cfg := b.config("a")
		made, initialized := 0, 0
		cfg.Processor = func(processors.Shard) processors.RecordProcessor {
			if made++; made == 1 {
				panic("first time")
			}
			if made == 2 {
				return nil
			}
			return &scripted{
				initialize: func(context.Context, processors.Start) error {
					if initialized++; initialized < 3 {
						return errors.New("database away")
					}
					return nil
				},
				process: func(_ context.Context, batch *processors.Batch) error {
					b.ledger.add(batch)
					return nil
				},
			}
		}
		w := b.start(cfg)
		b.ledger.wait(t, 5)
		w.stop()
		b.ledger.check(t, 5, 1)
	})
}

func TestSeveralStreamsShareOneWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 2)
		other := streamtest.NewMemory("refunds", 3)
		cfg := b.config("a")
		cfg.Streams = append(cfg.Streams, other)
		var mu sync.Mutex
		streams := map[string]int{}
		cfg.Processor = func(s processors.Shard) processors.RecordProcessor {
			return processors.Func(func(_ context.Context, batch *processors.Batch) error {
				mu.Lock()
				defer mu.Unlock()
				streams[s.Stream.Name] += len(batch.Records)
				return nil
			})
		}
		b.puts(10)
		for range 7 {
			if _, err := other.Put(t.Context(), stream.Entry{PartitionKey: "k", Data: []byte("x")}); err != nil {
				t.Fatal(err)
			}
		}
		w := b.start(cfg)
		time.Sleep(time.Minute)
		w.stop()
		if streams["orders"] != 10 || streams["refunds"] != 7 {
			t.Errorf("processed %v", streams)
		}
	})
}

func TestRunIsCalledOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 1)
		w, err := New(b.config("a"))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := w.Run(ctx); err != nil {
			t.Errorf("Run with a context that is done: %v", err)
		}
		if err := w.Run(ctx); !errors.Is(err, ErrStarted) {
			t.Errorf("the second Run: %v", err)
		}
	})
}
