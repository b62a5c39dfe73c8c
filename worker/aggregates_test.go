package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/stream/kpl"
)

// putsPacked adds aggregates of n numbered records each, over ten keys, to the
// shards where these keys belong.
func (b *bundle) putsPacked(aggregates, n int) {
	b.t.Helper()
	ctx := context.WithoutCancel(b.t.Context())
	shards, err := b.stream.Shards(ctx)
	if err != nil {
		b.t.Fatal(err)
	}
	for range aggregates {
		packed := make([]kpl.Aggregator, len(shards))
		for range n {
			b.put++
			e := stream.Entry{PartitionKey: "key-" + strconv.Itoa(b.put%10), Data: []byte(strconv.Itoa(b.put))}
			i := slices.IndexFunc(shards, func(s stream.Shard) bool { return !s.Closed && s.Hash.Contains(e.Hash()) })
			packed[i].Add(e)
		}
		for i := range packed {
			if e, ok := packed[i].Take(); ok {
				if results, err := b.stream.Put(ctx, e); err != nil || results[0].Err != nil {
					b.t.Fatal(err, results)
				}
			}
		}
	}
}

func TestRecordsInsideOfAggregatesAreHandedOverWithoutARepeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 2)
		cfg := b.config("")
		cfg.BatchRecords = 7
		cfg.Processor = func(processors.Shard) processors.RecordProcessor {
			return processors.Func(func(_ context.Context, batch *processors.Batch) error {
				time.Sleep(100 * time.Millisecond)
				b.ledger.add(batch)
				return nil
			})
		}
		inside := 0 // checkpoints in the middle of an aggregate
		for i := range 8 {
			cfg.Name = fmt.Sprint("deploy-", i)
			w := b.start(cfg)
			b.putsPacked(5, 50)
			b.puts(5)
			b.ledger.wait(t, b.put-200)
			w.stop()
			for _, l := range b.leases() {
				if s, _, _ := l.Checkpoint.Position.Sequence(); s.Sub() > 0 && s.Sub()%7 == 6 {
					inside++
				}
			}
		}
		w := b.start(cfg)
		b.ledger.wait(t, b.put)
		w.stop()
		b.ledger.check(t, b.put, 1)
		if inside == 0 {
			t.Error("no worker stopped in the middle of an aggregate: the test tells nothing")
		}
	})
}

func TestACrashInTheMiddleOfAnAggregateLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 1)
		b.puts(3)
		b.putsPacked(3, 100)
		for crash := range 10 {
			store := &cuttable{Store: b.store}
			cfg := b.config("a")
			cfg.Leases, cfg.BatchRecords, cfg.CheckpointEvery = store, 10, 300*time.Millisecond
			enough, batches := make(chan struct{}), 0
			cfg.Processor = func(processors.Shard) processors.RecordProcessor {
				return processors.Func(func(ctx context.Context, batch *processors.Batch) error {
					time.Sleep(100 * time.Millisecond)
					b.ledger.add(batch)
					if batches++; batches == 5+crash%3 {
						close(enough)
					}
					return nil
				})
			}
			w := b.start(cfg)
			select {
			case <-enough:
			case <-time.After(time.Minute): // all is done
			}
			w.crash(store)
		}
		w := b.start(b.config("b"))
		b.ledger.wait(t, b.put)
		w.stop()
		b.ledger.check(t, b.put, 10)
		twice := 0
		for _, n := range b.ledger.done {
			if n > 1 {
				twice++
			}
		}
		if twice == 0 || twice == len(b.ledger.done) {
			t.Errorf("%d of %d records came again: no crash was in the middle of the work", twice, b.put)
		}
	})
}

func TestAProcessorCheckpointsBetweenRecordsOfAnAggregate(t *testing.T) {
	for _, how := range []string{"at once", "in two phases"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := setup(t, 1)
				b.putsPacked(1, 20)
				aggregate := b.first(t)
				store := &cuttable{Store: b.store}
				cfg := b.config("a")
				cfg.Leases, cfg.ManualCheckpoints = store, true
				asked := make(chan error, 1)
				cfg.Processor = func(processors.Shard) processors.RecordProcessor {
					return processors.Func(func(ctx context.Context, batch *processors.Batch) error {
						if how == "at once" {
							asked <- batch.Checkpointer.CheckpointAt(ctx, aggregate.WithSub(11))
						} else {
							_, err := batch.Checkpointer.Prepare(ctx, aggregate.WithSub(11), []byte("note"))
							asked <- err
						}
						return batch.Checkpointer.CheckpointAt(ctx, aggregate.WithSub(4))
					})
				}
				w := b.start(cfg)
				if err := <-asked; err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				w.crash(store)

				want := 12
				if how == "in two phases" {
					want = 5
				}
				cfg = b.config("b")
				started := make(chan checkpoint.State, 1)
				first := make(chan stream.Record, 100)
				cfg.Processor = func(processors.Shard) processors.RecordProcessor {
					return &scripted{
						initialize: func(_ context.Context, s processors.Start) error {
							started <- s.Checkpoint
							return nil
						},
						process: func(_ context.Context, batch *processors.Batch) error {
							first <- batch.Records[0]
							return nil
						},
					}
				}
				w = b.start(cfg)
				state, r := <-started, <-first
				w.stop()
				if state.Position != stream.After(aggregate.WithSub(uint64(want-1))) || r.Sequence != aggregate.WithSub(uint64(want)) || string(r.Data) != strconv.Itoa(want+1) {
					t.Errorf("the next term begins at %v with the record %v, %q", state.Position, r.Sequence, r.Data)
				}
				if prepared := state.Pending.Position == stream.After(aggregate.WithSub(11)); prepared != (how == "in two phases") {
					t.Errorf("%v is prepared", state.Pending.Position)
				}
			})
		})
	}
}

func TestAggregatesOfAStreamThatIsReshardedAreProcessedInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 1)
		cfg := b.config("a")
		cfg.BatchRecords = 9
		b.putsPacked(3, 40)
		w := b.start(cfg)
		b.split()
		b.putsPacked(3, 40)
		b.ledger.wait(t, b.put)
		w.stop()
		b.ledger.check(t, b.put, 1)
		if b.log.count("belong to other shards") != 0 {
			t.Error("records that belong to their shard are told of as if they did not")
		}
	})
}

func TestRecordsOfOtherShardsFollowThePolicyAndAreCounted(t *testing.T) {
	for _, policy := range []kpl.Policy{kpl.Deliver, kpl.Drop, kpl.Fail, kpl.Keep} {
		t.Run(policy.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := setup(t, 2)
				var mixed kpl.Aggregator
				lower := stream.SplitHashSpace(2)[0]
				strangers := 0
				for i := range 40 {
					// What falls into the upper half does not belong with the first.
					e := stream.Entry{PartitionKey: "key", Data: []byte(strconv.Itoa(i + 1)), HasHashKey: true, HashKey: lower.End}
					if i%4 == 3 {
						e.HashKey = lower.End.Next()
						strangers++
					}
					mixed.Add(e)
				}
				e, _ := mixed.Take()
				for range 2 {
					if _, err := b.stream.Put(t.Context(), e); err != nil {
						t.Fatal(err)
					}
				}
				var mu sync.Mutex
				var got []string
				cfg := b.config("a")
				cfg.Aggregates = policy
				metrics := newMeters()
				cfg.MeterProvider = metrics.provider
				cfg.Processor = func(processors.Shard) processors.RecordProcessor {
					return processors.Func(func(_ context.Context, batch *processors.Batch) error {
						mu.Lock()
						defer mu.Unlock()
						for i := range batch.Records {
							got = append(got, string(batch.Records[i].Data))
						}
						return nil
					})
				}
				w, err := New(cfg)
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- w.Run(ctx) }()
				time.Sleep(time.Minute)
				status := w.Status()
				unpacked, outOfRange := metrics.sum(t, "millrace.deaggregated.records"), metrics.sum(t, "millrace.deaggregated.out_of_range")
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
				records, counted, all := 80, 2*strangers, 80
				warnings, blocked := 1, 0
				switch policy {
				case kpl.Drop:
					records = 80 - 2*strangers
				case kpl.Fail:
					records, counted, all, warnings, blocked = 3, 0, 3, 0, 1
				case kpl.Keep:
					records, counted, all, warnings = 2, 0, 0, 0
				}
				if len(got) != records || int(unpacked) != all || int(outOfRange) != counted {
					t.Errorf("%d records came, %v were counted, %v of other shards; want %d, %d, %d", len(got), unpacked, outOfRange, records, all, counted)
				}
				if n := b.log.count("belong to other shards"); n != warnings {
					t.Errorf("the log tells %d times of records of other shards, want %d", n, warnings)
				}
				for _, s := range status.Shards {
					if s.Blocked.What != "" {
						blocked--
					}
				}
				if blocked != 0 {
					t.Errorf("the shards are %+v", status.Shards)
				}
			})
		})
	}
}

func TestAggregatesAreHeldWithinTheMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 1)
		const aggregates, each = 40, 20_000 // 40 times 100 KiB and more, 2.4 MB as records
		ctx := context.WithoutCancel(t.Context())
		sizes := map[stream.Sequence]int{}
		for range aggregates {
			a := kpl.Aggregator{MaxBytes: 1 << 20}
			for range each {
				a.Add(stream.Entry{PartitionKey: "k"})
			}
			e, _ := a.Take()
			results, err := b.stream.Put(ctx, e)
			if err != nil || results[0].Err != nil {
				t.Fatal(err, results)
			}
			sizes[results[0].Sequence] = e.Size()
		}
		weighed := newScales(b.stream, aggregates*each)
		cfg := b.config("a")
		cfg.Streams = []stream.Stream{weighed}
		cfg.Memory = 1 << 20
		cfg.Processor = func(processors.Shard) processors.RecordProcessor {
			return processors.Func(func(_ context.Context, batch *processors.Batch) error {
				if len(batch.Records) > 1000 {
					return errors.New("more records than a batch may have")
				}
				time.Sleep(10 * time.Millisecond)
				last := 0
				for i := range batch.Records {
					if s := batch.Records[i].Sequence; s.Sub() == each-1 {
						last += sizes[s.WithSub(0)]
					}
				}
				weighed.add(-last)
				weighed.mu.Lock()
				defer weighed.mu.Unlock()
				if weighed.left -= len(batch.Records); weighed.left == 0 {
					close(weighed.done)
				}
				return nil
			})
		}
		w := b.start(cfg)
		<-weighed.done
		w.stop()
		if weighed.most > cfg.Memory || weighed.most == 0 {
			t.Errorf("%d bytes of aggregates were held at once, the limit is %d", weighed.most, cfg.Memory)
		}
		if b.log.count("level=WARN") != 0 {
			t.Error("a batch was refused")
		}
	})
}
