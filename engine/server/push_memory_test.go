package server

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/millrace/millrace/engine"
)

// restingCosts is what a subscription at rest has in memory at most, its stack
// included and its connection left aside.
const restingCosts = 32 << 10

// counter is a client that takes everything, and counts the events.
type counter struct {
	header http.Header
	events *atomic.Int64
}

func (c counter) Header() http.Header { return c.header }
func (c counter) WriteHeader(int)     {}
func (c counter) Flush()              { c.events.Add(1) }
func (c counter) Write(b []byte) (int, error) {
	return len(b), nil
}

// inUse is the memory of the heap and of stacks, after everything else was collected.
func inUseBytes() int {
	runtime.GC()
	runtime.GC() // the second one empties the pools
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc + m.StackInuse)
}

func TestASubscriptionAtRestCostsAsMuchMemoryAsIsSaid(t *testing.T) {
	const n = 1000
	h := start(t, Config{})
	h.stream("orders", engine.StreamConfig{Shards: n})
	arn := consumer(t, h.server, "orders", "app")
	ctx, cancel := context.WithCancel(t.Context())
	var subscribers sync.WaitGroup
	var events atomic.Int64
	before := inUseBytes()
	for i := range n {
		subscribers.Go(func() {
			play(ctx, h.server, arn, fmt.Sprint(i), "LATEST", counter{http.Header{}, &events})
		})
	}
	for events.Load() < 2*n { // the initial response, and where the client is
		runtime.Gosched()
	}
	each := (inUseBytes() - before) / n
	t.Logf("%d bytes for a subscription at rest, said to be at most %d", each, restingCosts)
	if each > restingCosts {
		t.Errorf("%d bytes for a subscription at rest, said to be at most %d", each, restingCosts)
	}
	cancel()
	subscribers.Wait()
}
