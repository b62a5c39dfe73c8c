package engine

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/millrace/millrace/stream"
)

// What the package documentation says that things cost, in bytes of memory.
const (
	shardCosts  = 1 << 10
	readerCosts = 1 << 10
	blockCosts  = 64
)

// heap returns what is in use after everything else was collected.
func heap() int {
	runtime.GC()
	runtime.GC() // the second one empties the pools
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// costs fails when each of n things that f makes keeps more memory in use than
// is said.
func costs(t *testing.T, what string, n, said int, f func()) {
	t.Helper()
	before := heap()
	f()
	each := (heap() - before) / n
	t.Logf("%s: %d bytes each, said to be at most %d", what, each, said)
	if each > said {
		t.Errorf("%s: %d bytes each, said to be at most %d", what, each, said)
	}
}

func TestShardsReadersAndBlocksCostAsMuchMemoryAsIsSaid(t *testing.T) {
	const shards, readers, batches = 4096, 256, 64
	e := openDir(t, t.TempDir(), Config{CacheBytes: 1 << 20, ChunkBytes: -1, Durability: LoseOnPowerFailure, Logger: quiet})
	var s *Stream
	costs(t, "a shard", shards, shardCosts, func() { s = ensure(t, e, "orders", StreamConfig{Shards: shards}) })

	entries := make([]stream.Entry, 500)
	put := func(n int) {
		for i := range n {
			for k := range entries {
				entries[k] = stream.Entry{PartitionKey: fmt.Sprint(i, k), Data: make([]byte, 100)}
			}
			mustPut(t, s, entries...)
		}
	}
	put(10) // what is made once
	const blocks = 200 * 500
	costs(t, "a block", blocks, blockCosts, func() { put(200) })

	open := make([]stream.Reader, readers)
	var b stream.Batch
	costs(t, "a reader at the end of its shard", readers, readerCosts, func() {
		for i := range open {
			r, err := s.Open(t.Context(), shardID(uint64(i)), stream.TrimHorizon)
			if err != nil {
				t.Fatal(err)
			}
			open[i] = r
			for b.Behind = 1; b.Behind > 0; {
				if err := r.Next(t.Context(), &b); err != nil {
					t.Fatal(err)
				}
			}
		}
		b = stream.Batch{}
	})
	for _, r := range open {
		r.Close()
	}
	runtime.KeepAlive(open)
	runtime.KeepAlive(s)
}
