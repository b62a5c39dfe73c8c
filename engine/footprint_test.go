package engine

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/millrace/millrace/engine/internal/vfs"
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

// A billion records of 100 bytes cannot be put here. Half a million can. What they
// cost when the log is rewritten grows with the blocks that they are in then, whose
// size follows from the bytes of a chunk that a shard gets.
func TestABillionSmallRecordsCostAsMuchMemoryAsIsSaid(t *testing.T) {
	const (
		records, billion = 500_000, 1_000_000_000
		said             = 120_000_000
		entryCosts       = 32
		pageCosts        = 256 * entryCosts // of which a shard's last one may be empty
	)
	for _, c := range []struct {
		shards   int
		chunk    int64
		standFor int // shards, with chunks of 256 MiB
	}{{1, 64 << 20, 1}, {64, 64 << 20, 256}, {64, 4 << 20, 4096}} {
		t.Run(fmt.Sprintf("%d shards", c.standFor), func(t *testing.T) {
			e := mustOpen(t, Config{SegmentBytes: 4 << 20, ChunkBytes: c.chunk, CacheBytes: 1 << 20, Logger: quiet, fs: vfs.Memory()})
			s := ensure(t, e, "clicks", StreamConfig{Shards: c.shards})
			entries := make([]stream.Entry, 500)
			for n := 0; n < records; n += len(entries) {
				for i := range entries {
					entries[i] = stream.Entry{PartitionKey: fmt.Sprint(n + i), Data: make([]byte, 100)}
				}
				mustPut(t, s, entries...)
			}
			last := uint64(e.log.Durable()) >> 32
			// Large blocks, which are not rewritten, push the small ones out of the log.
			filler := ensure(t, e, "filler", StreamConfig{})
			for puts := 0; e.log.Files().First <= last; puts++ {
				if puts == 10_000 {
					t.Fatal("the records are not rewritten")
				}
				mustPut(t, filler, entry("key", strings.Repeat("x", 60<<10)))
			}
			blocks := 0
			for _, m := range s.topology.Load().all {
				blocks += m.log.Status().Blocks
			}
			cost := blocks*entryCosts*(billion/records) + c.standFor*pageCosts
			t.Logf("a billion records cost %d MB, said to be %d at most", cost/1_000_000, said/1_000_000)
			if cost > said {
				t.Errorf("a billion records cost %d MB, said to be %d at most", cost/1_000_000, said/1_000_000)
			}
		})
	}
}
