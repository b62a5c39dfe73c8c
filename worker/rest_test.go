package worker

import (
	"context"
	"iter"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/stream"
)

// tally counts the calls of a store and of a stream by their names.
type tally struct {
	mu    sync.Mutex
	calls map[string]int
}

func (c *tally) count(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls == nil {
		c.calls = map[string]int{}
	}
	c.calls[what]++
}

// take returns what was counted, and begins anew.
func (c *tally) take() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	calls := c.calls
	c.calls = nil
	return calls
}

// countedStore is polled: it tells nobody of changes.
type countedStore struct {
	lease.Store
	tally *tally
}

func (s countedStore) Leases(ctx context.Context) iter.Seq2[lease.Lease, error] {
	s.tally.count("Leases")
	return s.Store.Leases(ctx)
}

func (s countedStore) Owned(ctx context.Context, worker string) ([]lease.Lease, error) {
	s.tally.count("Owned")
	return s.Store.Owned(ctx, worker)
}

func (s countedStore) Read(ctx context.Context, keys ...string) ([]lease.Lease, error) {
	s.tally.count("Read")
	return s.Store.Read(ctx, keys...)
}

func (s countedStore) Create(ctx context.Context, leases ...lease.Lease) error {
	s.tally.count("Create")
	return s.Store.Create(ctx, leases...)
}

func (s countedStore) Swap(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
	s.tally.count("Swap")
	return s.Store.Swap(ctx, old, next)
}

func (s countedStore) Members(ctx context.Context) ([]lease.Member, error) {
	s.tally.count("Members")
	return s.Store.Members(ctx)
}

func (s countedStore) SwapMember(ctx context.Context, old, next lease.Member) (lease.Member, error) {
	s.tally.count("SwapMember")
	return s.Store.SwapMember(ctx, old, next)
}

// countedStream counts what is asked of a stream and of its readers.
type countedStream struct {
	stream.Stream
	tally *tally
}

func (s countedStream) Identity(ctx context.Context) (stream.Identity, error) {
	s.tally.count("Identity")
	return s.Stream.Identity(ctx)
}

func (s countedStream) Shards(ctx context.Context) ([]stream.Shard, error) {
	s.tally.count("Shards")
	return s.Stream.Shards(ctx)
}

func (s countedStream) Pin(ctx context.Context, shard string) (stream.Position, error) {
	s.tally.count("Pin")
	return s.Stream.Pin(ctx, shard)
}

func (s countedStream) Open(ctx context.Context, shard string, from stream.Position) (stream.Reader, error) {
	s.tally.count("Open")
	r, err := s.Stream.Open(ctx, shard, from)
	return countedReader{r, s.tally}, err
}

type countedReader struct {
	stream.Reader
	tally *tally
}

func (r countedReader) Next(ctx context.Context, b *stream.Batch) error {
	r.tally.count("Next")
	return r.Reader.Next(ctx, b)
}

// wakeups tells how often goroutines of the process were woken: the scheduler
// counts every eighth time.
func wakeups() (n uint64) {
	sample := []metrics.Sample{{Name: "/sched/latencies:seconds"}}
	metrics.Read(sample)
	for _, count := range sample[0].Value.Float64Histogram().Counts {
		n += 8 * count
	}
	return n
}

// TestAShardAtRestDoesNothing: what a worker without work asks of its store and
// its streams in an hour, and how often it wakes up, has nothing to do with how
// many shards it holds.
func TestAShardAtRestDoesNothing(t *testing.T) {
	// The collector's goroutines are woken, too.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	rest := func(t *testing.T, shards int) (calls map[string]int, woken uint64) {
		synctest.Test(t, func(t *testing.T) {
			b := setup(t, shards)
			b.puts(10 * shards)
			var tally tally
			cfg := b.config("a")
			cfg.Leases = countedStore{b.store, &tally}
			cfg.Streams = []stream.Stream{countedStream{b.stream, &tally}}
			cfg.Seed = 1
			w := b.start(cfg)
			b.ledger.wait(t, 10*shards)
			time.Sleep(3 * time.Minute) // until the last checkpoint is stored, and that the load is nothing
			runtime.GC()
			tally.take()
			woken = wakeups()
			time.Sleep(time.Hour)
			woken = wakeups() - woken
			calls = tally.take()
			w.stop()
		})
		return calls, woken
	}
	const few, many = 2, 52
	fewCalls, fewWoken := rest(t, few)
	manyCalls, manyWoken := rest(t, many)
	for method := range manyCalls {
		// The hour does not begin at the same place between two beats.
		if manyCalls[method] > fewCalls[method]+2 {
			t.Errorf("calls in an hour of rest: %v with %d shards, %v with %d", fewCalls, few, manyCalls, many)
		}
	}
	t.Logf("woken in an hour of rest: %d times with %d shards, %d times with %d", fewWoken, few, manyWoken, many)
	if perShard := (float64(manyWoken) - float64(fewWoken)) / (many - few); perShard > 60 {
		t.Errorf("a shard at rest is woken %.0f times an hour", perShard)
	}
}

// restCosts is what the package documentation says of a shard at rest, in bytes.
const restCosts = 32 << 10

func TestAShardAtRestCostsAsMuchMemoryAsIsSaid(t *testing.T) {
	inUse := func() int {
		for range 5 { // a stack shrinks by half each time
			runtime.GC()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc + m.StackInuse)
	}
	synctest.Test(t, func(t *testing.T) {
		const shards = 1000
		b := setup(t, shards)
		before := inUse()
		w := b.start(b.config("a"))
		b.puts(10 * shards)
		b.ledger.wait(t, 10*shards)
		time.Sleep(time.Minute)
		synctest.Wait()
		each := (inUse() - before) / shards
		t.Logf("%d bytes each, with what the stream and the store in memory take", each)
		if each > 2*restCosts {
			t.Errorf("a shard at rest costs %d bytes, said to be about %d", each, restCosts)
		}
		w.stop()
	})
}
