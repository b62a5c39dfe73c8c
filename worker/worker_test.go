package worker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/stream/streamtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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
						if batch.Attempt < 3 {
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
				if !slices.Equal(attempts, []int{1, 2, 3}) {
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
				lost: func(_ context.Context, cause error) {
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
