package worker

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stream"
)

// These tests name what other consumers of sharded streams have been seen to do
// wrong, and show that it is not done here.

// vmware-go-kcl-v2 leaves the shards alone that the store says are the
// worker's own, though no goroutine of the new process reads them: a fixed host
// name is enough. Redpanda Connect never gets back a shard that it names itself.
func TestAWorkerThatComesBackUnderItsNameProcessesEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 4)
		store := &cuttable{Store: b.store}
		cfg := b.config("pod-0")
		cfg.Leases = store
		b.puts(40)
		w := b.start(cfg)
		b.ledger.wait(t, 40)
		time.Sleep(time.Minute) // all is checkpointed
		w.crash(store)
		b.puts(40)
		w = b.start(b.config("pod-0"))
		b.ledger.wait(t, 80)
		w.stop()
		b.ledger.check(t, 80, 1)
	})
}

// vmware-go-kcl-v2 takes one shard a minute, and Redpanda Connect steals one
// after the other: a start takes as many minutes as there are shards.
func TestAllShardsAreProcessedSecondsAfterTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 64)
		b.puts(500)
		began := time.Now()
		w := b.start(b.config("a"))
		b.ledger.wait(t, 500)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it took %v until all 64 shards were read", took)
		}
		w.stop()
	})
}

// vmware-go-kcl-v2 does not stop while a child waits for a parent that another
// worker holds, and does not renew the child's lease meanwhile.
func TestAStopDoesNotWaitForTheParentsOfItsShards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 2)
		b.puts(20)
		stuck := b.config("stuck")
		stuck.Processor = func(processors.Shard) processors.RecordProcessor {
			return processors.Func(func(context.Context, *processors.Batch) error { return errors.New("never works") })
		}
		holder, other := b.start(stuck), b.start(b.config("other"))
		time.Sleep(time.Minute)
		for shard := range b.leases() {
			if err := b.stream.Split(t.Context(), shard, b.leases()[shard].Hash.Middle()); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		began := time.Now()
		other.stop()
		holder.stop()
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("the stops took %v", took)
		}
	})
}

// vmware-go-kcl-v2 renews leases in the loop that processes, and KCL's renewals
// compete with its checkpoints for one counter: who is slow loses his shard.
func TestABatchThatTakesLongerThanTheFailoverTimeKeepsItsShard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 2)
		b.puts(10)
		slow := func(name string) Config {
			cfg := b.config(name)
			cfg.Processor = func(processors.Shard) processors.RecordProcessor {
				return processors.Func(func(ctx context.Context, batch *processors.Batch) error {
					select {
					case <-time.After(20 * cfg.withDefaults().FailoverTime):
					case <-ctx.Done():
						return context.Cause(ctx)
					}
					b.ledger.add(batch)
					return nil
				})
			}
			return cfg
		}
		w := b.start(slow("a"))
		time.Sleep(time.Second)
		terms := b.leases()
		b.ledger.wait(t, 10)
		for shard, l := range b.leases() {
			if l.Term != terms[shard].Term {
				t.Errorf("%s changed hands: term %d after %d", shard, l.Term, terms[shard].Term)
			}
		}
		w.stop()
		b.ledger.check(t, 10, 1)
	})
}

// kinsumer renews nothing that has no records, so that an idle shard looks
// abandoned and is captured.
func TestAnIdleShardStaysWithItsWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 4)
		v, w := b.start(b.config("a")), b.start(b.config("b"))
		time.Sleep(time.Minute)
		before := b.leases()
		time.Sleep(10 * time.Hour)
		for shard, l := range b.leases() {
			if l.Term != before[shard].Term || l.Owner != before[shard].Owner {
				t.Errorf("%s moved while nothing happened: %+v", shard, l)
			}
		}
		v.stop()
		w.stop()
	})
}

// flaky is a stream whose every third read fails.
type flaky struct {
	stream.Stream
	reads atomic.Int64
}

type flakyReader struct {
	stream.Reader
	of *flaky
}

func (f *flaky) Open(ctx context.Context, shard string, from stream.Position) (stream.Reader, error) {
	r, err := f.Stream.Open(ctx, shard, from)
	return &flakyReader{r, f}, err
}

func (r *flakyReader) Next(ctx context.Context, b *stream.Batch) error {
	if r.of.reads.Add(1)%3 == 0 {
		return errors.New("throttled")
	}
	return r.Reader.Next(ctx, b)
}

// harlow/kinesis-consumer goes back, or loses what was batched, after throttled
// reads; kinsumer leaves the shard for good after the first expired iterator.
func TestReadsThatFailRepeatNothingAndLoseNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 2)
		cfg := b.config("a")
		cfg.Streams = []stream.Stream{&flaky{Stream: b.stream}}
		cfg.BatchRecords = 3
		w := b.start(cfg)
		for range 20 {
			b.puts(10)
			time.Sleep(time.Second)
		}
		b.ledger.wait(t, 200)
		w.stop()
		b.ledger.check(t, 200, 1)
	})
}

// harlow/kinesis-consumer and Redpanda Connect begin children at LATEST when
// that is where the first shards began: what was put before they were found is
// lost.
func TestAChildIsReadFromItsBeginningThoughLatestWasAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 1)
		cfg := b.config("a")
		cfg.From = stream.Latest
		w := b.start(cfg)
		time.Sleep(time.Minute)
		w.stop()
		b.puts(20)
		b.split()
		b.puts(20)
		w = b.start(cfg)
		b.ledger.wait(t, 40)
		w.stop()
		b.ledger.check(t, 40, 1)
	})
}

// Redpanda Connect never reads the rest of a shard that was closed while nobody
// held it: a reshard during a deploy loses it.
func TestTheRestOfAClosedShardIsReadThoughNobodyHeldIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 1)
		b.puts(10)
		w := b.start(b.config("old"))
		b.ledger.wait(t, 10)
		w.stop()
		b.puts(10)
		b.split()
		b.puts(10)
		w = b.start(b.config("new"))
		b.ledger.wait(t, 30)
		w.stop()
		b.ledger.check(t, 30, 1)
	})
}

// harlow/kinesis-consumer marks a shard as completed while its last records
// wait in a buffer.
func TestAShardIsNotFinishedBeforeItsLastBatchIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 1)
		b.puts(5)
		b.split()
		b.puts(5)
		var works atomic.Bool
		cfg := b.config("a")
		cfg.Processor = func(processors.Shard) processors.RecordProcessor {
			return processors.Func(func(_ context.Context, batch *processors.Batch) error {
				if !works.Load() {
					return errors.New("not yet")
				}
				b.ledger.add(batch)
				return nil
			})
		}
		w := b.start(cfg)
		time.Sleep(10 * time.Minute)
		for _, l := range b.leases() {
			if l.Shard == only && l.Finished() || l.Shard != only && l.Term != 0 {
				t.Errorf("the last batch of the parent is not done: %+v", l)
			}
		}
		works.Store(true)
		b.ledger.wait(t, 10)
		w.stop()
		b.ledger.check(t, 10, 1)
	})
}

// harlow/kinesis-consumer hangs when a processor and the store fail at one
// time, and kinsumer when more than ten shards fail and nobody reads its errors.
func TestAStopEndsThoughProcessorsAndStoreFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 32)
		b.puts(500)
		store := &cuttable{Store: b.store}
		cfg := b.config("a")
		cfg.Leases = store
		cfg.Processor = func(processors.Shard) processors.RecordProcessor {
			return processors.Func(func(context.Context, *processors.Batch) error { return errors.New("no") })
		}
		w := b.start(cfg)
		time.Sleep(time.Minute)
		store.set(true)
		began := time.Now()
		w.stop()
		if took := time.Since(began); took > 2*cfg.withDefaults().Drain {
			t.Errorf("the stop took %v", took)
		}
	})
}

// harlow/kinesis-consumer returns while callbacks of other shards run, and
// after the last checkpoints were written: theirs are lost.
func TestRunReturnsAfterTheLastCallbackAndItsCheckpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 4)
		b.puts(40)
		var running atomic.Int64
		cfg := b.config("a")
		cfg.Processor = func(processors.Shard) processors.RecordProcessor {
			return processors.Func(func(_ context.Context, batch *processors.Batch) error {
				running.Add(1)
				defer running.Add(-1)
				time.Sleep(10 * time.Second)
				b.ledger.add(batch)
				return nil
			})
		}
		w := b.start(cfg)
		time.Sleep(5 * time.Second)
		w.stop()
		if n := running.Load(); n != 0 {
			t.Errorf("%d callbacks run on after Run has returned", n)
		}
		w = b.start(b.config("b"))
		b.ledger.wait(t, 40)
		w.stop()
		b.ledger.check(t, 40, 1)
	})
}

// kinsumer moves the checkpoint when it hands a record out, done or not: what
// was in hand at a crash never comes again.
func TestWhatWasInHandAtACrashComesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 1)
		b.puts(10)
		store := &cuttable{Store: b.store}
		cfg := b.config("a")
		cfg.Leases = store
		cfg.Processor = func(processors.Shard) processors.RecordProcessor {
			return processors.Func(func(ctx context.Context, _ *processors.Batch) error {
				<-ctx.Done() // handed out, and never done
				return context.Cause(ctx)
			})
		}
		w := b.start(cfg)
		time.Sleep(time.Minute)
		w.crash(store)
		w = b.start(b.config("b"))
		b.ledger.wait(t, 10)
		w.stop()
		b.ledger.check(t, 10, 1)
	})
}

// Consumers that prefetch by shard multiply their memory by their shards. Here
// the shards of a worker share what it may have, also when they are far behind
// and each could fill a batch many times.
func TestTheShardsOfAWorkerShareItsMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 8)
		const n = 2000
		payload := make([]byte, 10<<10)
		for i := range n {
			time.Sleep(time.Millisecond) // so that the first are behind the last
			if _, err := b.stream.Put(t.Context(), stream.Entry{PartitionKey: fmt.Sprint(i), Data: payload}); err != nil {
				t.Fatal(err)
			}
		}
		weighed := newScales(b.stream, n)
		cfg := b.config("a")
		cfg.Streams = []stream.Stream{weighed}
		cfg.Memory = 1 << 20
		cfg.Processor = func(processors.Shard) processors.RecordProcessor { return weighed.processor() }
		w := b.start(cfg)
		<-weighed.done
		w.stop()
		// The first shards may have read more before the last ones were taken.
		if weighed.most > cfg.Memory*5/4 {
			t.Errorf("%d bytes were held at once, the limit is %d", weighed.most, cfg.Memory)
		}
	})
}

// vmware-go-kcl-v2 has 38 options, of which six are never read.
func TestEveryOptionIsRead(t *testing.T) {
	for _, dir := range []string{".", "../lease", "../engine", "../lease/sqlite"} {
		names, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		options, read := map[string]bool{}, map[string]bool{}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			collect(file, options, read)
		}
		if len(options) == 0 {
			t.Errorf("%s has no options", dir)
		}
		for name := range options {
			if !read[name] {
				t.Errorf("%s: Config.%s is never read", dir, name)
			}
		}
	}
}

// collect finds the fields of Config, and all that is selected of anything
// outside of the functions that only check a configuration or fill it up.
func collect(file *ast.File, options, read map[string]bool) {
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			return n.Name.Name != "validate" && n.Name.Name != "withDefaults"
		case *ast.TypeSpec:
			config, ok := n.Type.(*ast.StructType)
			if n.Name.Name != "Config" || !ok {
				return true
			}
			for _, field := range config.Fields.List {
				for _, name := range field.Names {
					if name.IsExported() {
						options[name.Name] = true
					}
				}
			}
			return false
		case *ast.SelectorExpr:
			read[n.Sel.Name] = true
		}
		return true
	})
}
