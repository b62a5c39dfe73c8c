package engine

import (
	"fmt"
	"runtime"
	"strings"
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

// A billion records of 100 bytes cannot be put here. Half a million can, and what
// they cost grows with the blocks that they are in when the log is rewritten.
func TestABillionSmallRecordsCostAsMuchMemoryAsIsSaid(t *testing.T) {
	const shards, records, billion, said = 64, 500_000, 1_000_000_000, 150 << 20
	e := openDir(t, t.TempDir(), Config{SegmentBytes: 4 << 20, ChunkBytes: 16 << 20, CacheBytes: 1 << 20, Durability: LoseOnPowerFailure, Logger: quiet})
	s := ensure(t, e, "clicks", StreamConfig{Shards: shards})
	entries := make([]stream.Entry, 500)
	for n := 0; n < records; n += len(entries) {
		for i := range entries {
			entries[i] = stream.Entry{PartitionKey: fmt.Sprint(n + i), Data: make([]byte, 100)}
		}
		mustPut(t, s, entries...)
	}
	cost := func() int {
		blocks := 0
		for _, m := range s.topology.Load().all {
			blocks += m.log.Status().Blocks
		}
		return blocks * blockCosts * (billion / records)
	}
	asPut := cost()
	// Large blocks, which are not rewritten, push the small ones out of the log.
	filler := ensure(t, e, "filler", StreamConfig{})
	for puts := 0; cost() > said; puts++ {
		if puts == 10_000 {
			t.Fatalf("a billion records cost %d MiB, said to be %d", cost()>>20, said>>20)
		}
		mustPut(t, filler, entry("key", strings.Repeat("x", 60<<10)))
	}
	t.Logf("a billion records cost %d MiB as they were put in batches of 500 over %d shards, and %d MiB rewritten", asPut>>20, shards, cost()>>20)
	if asPut < 4*said {
		t.Errorf("they cost %d MiB without being rewritten: nothing is shown", asPut>>20)
	}
}
