package fanout_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/fanout"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/stream/streamtest"
	"github.com/millrace/millrace/worker"
)

// ledger counts how often each record was processed, and whether a key's came in
// order.
type ledger struct {
	mu      sync.Mutex
	times   map[int]int
	last    map[string]int
	faults  []error
	changed chan struct{}
}

func newLedger() *ledger {
	return &ledger{times: map[int]int{}, last: map[string]int{}, changed: make(chan struct{})}
}

func (l *ledger) add(b *processors.Batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range b.Records {
		key := b.Records[i].PartitionKey
		n, err := strconv.Atoi(string(b.Records[i].Data))
		if err != nil || n <= l.last[key] {
			l.faults = append(l.faults, fmt.Errorf("key %s: %d after %d: %v", key, n, l.last[key], err))
		}
		l.times[n]++
		l.last[key] = n
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

// wait returns when the records 1 to n are processed, each of them once.
func (l *ledger) wait(t *testing.T, n int) {
	t.Helper()
	late := time.After(2 * time.Minute)
	for {
		l.mu.Lock()
		got, changed := len(l.times), l.changed
		l.mu.Unlock()
		if got >= n {
			break
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("%d records are processed, want %d", got, n)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := errors.Join(l.faults...); err != nil {
		t.Error(err)
	}
	for i := 1; i <= n; i++ {
		if l.times[i] != 1 {
			t.Errorf("record %d was processed %d times", i, l.times[i])
		}
	}
}

// fleet runs workers over one stream, each as a process of its own would.
type fleet struct {
	t      *testing.T
	below  stream.Stream
	putter stream.Putter // below, if nil
	leases lease.Store
	ledger *ledger
	put    int
}

// start runs a worker, and returns what stops it.
func (f *fleet) start(name string) (stop func()) {
	f.t.Helper()
	w, err := worker.New(worker.Config{
		Application: "fleet", Name: name,
		Streams: []stream.Stream{use(f.t, f.below, fanout.Config{})}, Leases: f.leases, Logger: silent,
		Processor: func(processors.Shard) processors.RecordProcessor {
			return processors.Func(func(_ context.Context, b *processors.Batch) error {
				f.ledger.add(b)
				return nil
			})
		},
	})
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(f.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			f.t.Errorf("worker %s: %v", name, err)
		}
	})
}

// puts adds n numbered records over ten keys.
func (f *fleet) puts(n int) {
	f.t.Helper()
	if f.putter == nil {
		f.putter = f.below.(stream.Putter)
	}
	for range n {
		f.put++
		results, err := f.putter.Put(f.t.Context(), stream.Entry{PartitionKey: "key-" + strconv.Itoa(f.put%10), Data: []byte(strconv.Itoa(f.put))})
		if err != nil || results[0].Err != nil {
			f.t.Fatal(err, results)
		}
	}
}

// reshard splits, merges, and leaves five shards of equal range.
func (f *fleet) reshard(between func()) {
	f.t.Helper()
	r := f.below.(stream.Resharder)
	for _, step := range []func() error{
		func() error { return r.Split(f.t.Context(), shard0, stream.SplitHashSpace(2)[0].Middle()) },
		func() error { return r.Merge(f.t.Context(), "shardId-000000000003", "shardId-000000000001") },
		func() error { return r.UpdateShardCount(f.t.Context(), 5) },
	} {
		if err := step(); err != nil {
			f.t.Fatal(err)
		}
		between()
	}
}

func TestAFleetReadsByPushThroughSplitMergeAndHandoffWithoutARepeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		below := newRegistry(streamtest.NewMemory("orders", 2), 1)
		below.exclusive = map[string]context.CancelCauseFunc{}
		f := &fleet{t: t, below: below, leases: lease.NewMemory(), ledger: newLedger()}
		for range 3 { // who dies of it would stay away
			below.failing = append(below.failing, errors.New("not now"))
		}
		a, b := f.start("a"), f.start("b")
		defer b()
		some := func() {
			for range 100 {
				f.puts(3)
				time.Sleep(50 * time.Millisecond)
			}
		}
		some()
		f.reshard(some)
		c := f.start("c")
		defer c()
		time.Sleep(time.Minute)
		some()
		a()
		some()
		if below.disputes > 0 {
			t.Errorf("%d subscriptions took a shard from another one", below.disputes)
		}
		f.ledger.wait(t, f.put)
	})
}

func TestAFleetReadsAnEngineByPush(t *testing.T) {
	e, err := engine.Open(t.TempDir(), engine.Config{SegmentBytes: 64 << 10, Logger: silent})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	s, err := e.EnsureStream(t.Context(), "orders", engine.StreamConfig{Shards: 2})
	if err != nil {
		t.Fatal(err)
	}
	f := &fleet{t: t, below: s, leases: lease.NewMemory(), ledger: newLedger()}
	a, b := f.start("a"), f.start("b")
	defer b()
	f.puts(200)
	f.ledger.wait(t, f.put)
	f.reshard(func() { f.puts(100) })
	f.ledger.wait(t, f.put)
	a()
	f.puts(100)
	f.ledger.wait(t, f.put)
}
