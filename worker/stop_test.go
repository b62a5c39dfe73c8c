package worker

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stream"
)

// only is the shard of a stream that has one.
const only = "shardId-000000000000"

func TestADrainDuringRetriesLeavesTheBatchToTheNextTerm(t *testing.T) {
	for name, manual := range map[string]bool{"automatic": false, "manual": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := setup(t, 1)
				cfg := b.config("a")
				cfg.BatchRecords = 10
				cfg.ManualCheckpoints = manual
				failing := make(chan int, 1000)
				var last stream.Sequence // of the last batch that was done
				cfg.Processor = func(processors.Shard) processors.RecordProcessor {
					return &scripted{
						process: func(_ context.Context, batch *processors.Batch) error {
							if string(batch.Records[0].Data) == "21" {
								failing <- batch.Attempt
								return errors.New("no")
							}
							b.ledger.add(batch)
							last = batch.Records[len(batch.Records)-1].Sequence
							return nil
						},
						// What a user does who was told that all batches are done.
						shutdown: func(ctx context.Context, c checkpoint.Checkpointer) error { return c.Checkpoint(ctx) },
					}
				}
				b.puts(40)
				w := b.start(cfg)
				for <-failing < 5 {
				}
				begin := time.Now()
				w.stop()
				if took := time.Since(begin); took > time.Second {
					t.Errorf("the stop took %v, though only a pause was to be ended", took)
				}
				if got := b.leases()[only].Checkpoint.Position; got != stream.After(last) {
					t.Errorf("the checkpoint is %v, want %v", got, stream.After(last))
				}
				w = b.start(b.config("b"))
				b.ledger.wait(t, 40)
				w.stop()
				b.ledger.check(t, 40, 1)
			})
		})
	}
}

func TestAShardWhoseEndFailsIsHandedOverAndEndedByTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 1)
		b.puts(5)
		b.split()
		b.puts(5)
		cfg := b.config("a")
		var calls []string
		tried := make(chan struct{}, 1000)
		cfg.Processor = func(processors.Shard) processors.RecordProcessor {
			return &scripted{
				process: func(_ context.Context, batch *processors.Batch) error {
					b.ledger.add(batch)
					return nil
				},
				ended: func() error {
					calls = append(calls, "ended")
					tried <- struct{}{}
					return errors.New("no")
				},
				shutdown: func(context.Context, checkpoint.Checkpointer) error {
					calls = append(calls, "shutdown")
					return nil
				},
				lost: func(context.Context, error) { calls = append(calls, "lost") },
			}
		}
		w := b.start(cfg)
		<-tried
		<-tried
		w.stop()
		if !slices.Equal(calls, []string{"ended", "ended", "shutdown"}) {
			t.Errorf("calls %v", calls)
		}
		if got := b.leases()[only].Checkpoint.Position; got == stream.ShardEnd {
			t.Error("the end was stored though the processor had not finished")
		}
		w = b.start(b.config("b"))
		b.ledger.wait(t, 10)
		w.stop()
		b.ledger.check(t, 10, 1)
	})
}

func TestChildrenBeginAtOnceOnTheWorkerOfTheirParent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 1)
		b.puts(5)
		w := b.start(b.config("a"))
		b.ledger.wait(t, 5)
		begin := time.Now()
		b.split()
		b.puts(20)
		b.ledger.wait(t, 25)
		if took := time.Since(begin); took > 10*time.Millisecond {
			t.Errorf("the children's records were done %v after the split", took)
		}
		w.stop()
		b.ledger.check(t, 25, 1)
	})
}

func TestLeaseLostHasSomeTimeAndNotForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 1)
		cut := &cuttable{Store: b.store}
		cfg := b.config("a")
		cfg.Leases = cut
		began := make(chan struct{})
		told := make(chan time.Duration, 1)
		cfg.Processor = func(processors.Shard) processors.RecordProcessor {
			return &scripted{
				process: func(ctx context.Context, _ *processors.Batch) error {
					close(began)
					<-ctx.Done()
					return context.Cause(ctx)
				},
				lost: func(ctx context.Context, cause error) {
					if ctx.Err() != nil || !errors.Is(cause, checkpoint.ErrLeaseLost) {
						t.Errorf("the context is done (%v) as LeaseLost begins; cause %v", ctx.Err(), cause)
					}
					begin := time.Now()
					<-ctx.Done()
					told <- time.Since(begin)
					panic("and badly at that")
				},
			}
		}
		b.puts(5)
		w := b.start(cfg)
		<-began
		cut.set(true)
		if took := <-told; took != lostGrace {
			t.Errorf("LeaseLost had %v, want %v", took, lostGrace)
		}
		w.stop()
		if b.log.count("the processor failed", "and badly at that", "stack") != 1 {
			t.Error("the panic of LeaseLost left no trace")
		}
	})
}

func TestAProcessorThatNeverBeganIsToldNothing(t *testing.T) {
	for _, how := range []string{"lost", "stopped"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := setup(t, 1)
				cut := &cuttable{Store: b.store}
				cfg := b.config("a")
				cfg.Leases = cut
				began := make(chan struct{}, 1000)
				cfg.Processor = func(processors.Shard) processors.RecordProcessor {
					return &scripted{
						initialize: func(ctx context.Context, _ processors.Start) error {
							began <- struct{}{}
							if how == "lost" {
								<-ctx.Done()
							}
							return errors.New("no")
						},
						process:  func(context.Context, *processors.Batch) error { panic("process") },
						shutdown: func(context.Context, checkpoint.Checkpointer) error { panic("shutdown") },
						ended:    func() error { panic("ended") },
						lost:     func(context.Context, error) { panic("lost") },
					}
				}
				b.puts(5)
				w := b.start(cfg)
				<-began
				if how == "lost" {
					cut.set(true)
				}
				v := b.start(b.config("b"))
				if how == "stopped" {
					w.stop()
				}
				b.ledger.wait(t, 5)
				if how == "lost" {
					w.stop()
				}
				v.stop()
				b.ledger.check(t, 5, 1)
				if n := b.log.count("panic"); n != 0 {
					t.Errorf("%d callbacks were called", n)
				}
			})
		})
	}
}

func TestAProcessorThatIgnoresItsContextKeepsItsShardFromNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 1)
		cfg := b.config("a")
		began, release := make(chan struct{}), make(chan struct{})
		var stored error
		cfg.Processor = func(processors.Shard) processors.RecordProcessor {
			return processors.Func(func(ctx context.Context, batch *processors.Batch) error {
				close(began)
				<-release // whatever becomes of ctx
				stored = batch.Checkpointer.Checkpoint(context.WithoutCancel(ctx))
				return nil
			})
		}
		b.puts(5)
		w := b.start(cfg)
		<-began
		v := b.start(b.config("b"))
		w.cancel()
		b.ledger.wait(t, 5)
		b.puts(5)
		b.ledger.wait(t, 10)
		close(release)
		w.stop()
		v.stop()
		if !errors.Is(stored, checkpoint.ErrLeaseLost) {
			t.Errorf("the former holder's checkpoint: %v", stored)
		}
		b.ledger.check(t, 10, 1)
	})
}

func TestAPreparedCheckpointIsFoundAfterACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 1)
		cut := &cuttable{Store: b.store}
		cfg := b.config("a")
		cfg.Leases = cut
		cfg.ManualCheckpoints = true
		cfg.BatchRecords = 5
		prepared := make(chan stream.Sequence, 1)
		cfg.Processor = func(processors.Shard) processors.RecordProcessor {
			return processors.Func(func(ctx context.Context, batch *processors.Batch) error {
				c, last := batch.Checkpointer, batch.Records[len(batch.Records)-1].Sequence
				p, err := c.Prepare(ctx, last, []byte("sending "+string(batch.Records[0].Data)))
				if err != nil {
					return err
				}
				if string(batch.Records[0].Data) == "6" {
					prepared <- last
					<-ctx.Done() // the crash comes before the second phase
					return context.Cause(ctx)
				}
				return p.Commit(ctx)
			})
		}
		b.puts(10)
		w := b.start(cfg)
		last := <-prepared
		w.crash(cut)

		cfg = b.config("b")
		var starts []checkpoint.State
		cfg.Processor = func(processors.Shard) processors.RecordProcessor {
			return &scripted{
				initialize: func(_ context.Context, s processors.Start) error {
					starts = append(starts, s.Checkpoint)
					return nil
				},
				process: func(_ context.Context, batch *processors.Batch) error {
					b.ledger.add(batch)
					return nil
				},
			}
		}
		w = b.start(cfg)
		b.ledger.wait(t, 5)
		w.stop()
		if len(starts) != 1 || starts[0].Pending.Position != stream.After(last) || string(starts[0].Pending.Data) != "sending 6" {
			t.Errorf("the next term started with %+v", starts)
		}
		for n := 1; n <= 10; n++ {
			if want := n > 5; (b.ledger.done[n] == 1) != want {
				t.Errorf("record %d was done %d times by the next term; wanted: %v", n, b.ledger.done[n], want)
			}
		}
		if got := b.leases()[only].Checkpoint; got.Position != stream.After(last) || !got.Pending.Position.IsZero() || got.Pending.Data != nil {
			t.Errorf("in the end %+v is stored", got)
		}
	})
}

func TestCheckpointsMayBeAskedForFromAnyGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 1)
		cut := &cuttable{Store: b.store}
		cfg := b.config("a")
		cfg.Leases = cut
		cfg.BatchRecords = 3
		cfg.CheckpointEvery = time.Millisecond
		cfg.Retry = processors.Backoff{Min: time.Millisecond, Max: 5 * time.Millisecond}
		var askers sync.WaitGroup
		cfg.Processor = func(processors.Shard) processors.RecordProcessor {
			return processors.Func(func(ctx context.Context, batch *processors.Batch) error {
				first, c := batch.Records[0].Sequence, batch.Checkpointer
				done := batch.Attempt > 1
				askers.Go(func() {
					time.Sleep(time.Millisecond) // the call has returned by now
					_ = c.Checkpoint(ctx)        // what failed is not included
					if done {
						if p, err := c.Prepare(ctx, first, nil); err == nil {
							_ = p.Commit(ctx)
						}
						_ = c.CheckpointAt(ctx, first)
					}
				})
				if !done {
					return errors.New("no")
				}
				b.ledger.add(batch)
				return nil
			})
		}
		b.puts(60)
		w := b.start(cfg)
		b.ledger.wait(t, 30)
		w.crash(cut)
		askers.Wait()
		w = b.start(b.config("b"))
		b.ledger.wait(t, 60)
		w.stop()
		b.ledger.check(t, 60, 2)
	})
}

func TestAFormerHolderStoresNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 1)
		cfg := b.config("a")
		cfg.ManualCheckpoints = true
		var kept checkpoint.Checkpointer
		var last stream.Sequence
		cfg.Processor = func(processors.Shard) processors.RecordProcessor {
			return processors.Func(func(_ context.Context, batch *processors.Batch) error {
				kept, last = batch.Checkpointer, batch.Records[0].Sequence
				b.ledger.add(batch)
				return nil
			})
		}
		b.puts(1)
		w := b.start(cfg)
		b.ledger.wait(t, 1)
		w.stop()
		_, prepare := kept.Prepare(t.Context(), last, nil)
		for what, err := range map[string]error{
			"Checkpoint": kept.Checkpoint(t.Context()), "CheckpointAt": kept.CheckpointAt(t.Context(), last), "Prepare": prepare,
		} {
			if !errors.Is(err, checkpoint.ErrLeaseLost) {
				t.Errorf("%s after the term: %v", what, err)
			}
		}
		if got := b.leases()[only].Checkpoint; got.Position != stream.TrimHorizon || !got.Pending.Position.IsZero() {
			t.Errorf("%+v is stored", got)
		}
	})
}

// deaf is a store that writes the end of a shard and does not say so: for a
// while it neither answers such a write nor shows the row to who asks for it.
type deaf struct {
	lease.Store
	mu    sync.Mutex
	until map[string]time.Time // by key
}

func (d *deaf) away(key string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Now().Before(d.until[key])
}

func (d *deaf) Swap(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
	if d.away(old.Key) {
		return lease.Lease{}, errCut
	}
	row, err := d.Store.Swap(ctx, old, next)
	if err == nil && next.Finished() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.until[old.Key] = time.Now().Add(20 * time.Second)
		return lease.Lease{}, errCut
	}
	return row, err
}

func (d *deaf) Read(ctx context.Context, keys ...string) ([]lease.Lease, error) {
	if slices.ContainsFunc(keys, d.away) {
		return nil, errCut
	}
	return d.Store.Read(ctx, keys...)
}

func TestAnEndWhoseAnswerIsLostIsAnEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 1)
		b.puts(5)
		b.split()
		b.puts(20)
		cfg := b.config("a")
		cfg.Leases = &deaf{Store: b.store, until: map[string]time.Time{}}
		var calls []string
		cfg.Processor = func(s processors.Shard) processors.RecordProcessor {
			note := func(what string) {
				if s.ID == only {
					calls = append(calls, what)
				}
			}
			return &scripted{
				process: func(_ context.Context, batch *processors.Batch) error {
					b.ledger.add(batch)
					return nil
				},
				ended:    func() error { note("ended"); return nil },
				lost:     func(context.Context, error) { note("lost") },
				shutdown: func(context.Context, checkpoint.Checkpointer) error { note("shutdown"); return nil },
			}
		}
		w := b.start(cfg)
		b.ledger.wait(t, 25)
		time.Sleep(time.Minute)
		w.stop()
		b.ledger.check(t, 25, 1)
		if got := strings.Join(calls, " "); got != "ended" {
			t.Errorf("the ends of the parent's terms: %s", got)
		}
		if n := b.log.count("the shard waits"); n != 0 {
			t.Errorf("%d attempts at what was done", n)
		}
	})
}
