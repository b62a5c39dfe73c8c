package engine

import (
	"context"
	"fmt"
	"testing"

	"github.com/millrace/millrace/stream"
)

// TestNoRecordCostsAnAllocation puts and reads in batches, over one shard and
// over many, from memory and from the disk.
func TestNoRecordCostsAnAllocation(t *testing.T) {
	const records, each = 100_000, 500
	const few = .05 // per record: what a batch, a slab or a longer index needs
	for _, shards := range []int{1, 64} {
		for _, cache := range []int{1 << 10, 64 << 20} {
			t.Run(fmt.Sprintf("%d shards, %d KiB of cache", shards, cache>>10), func(t *testing.T) {
				e := openDir(t, t.TempDir(), Config{CacheBytes: cache, ChunkBytes: -1, Durability: LoseOnPowerFailure, Logger: quiet})
				s := ensure(t, e, "orders", StreamConfig{Shards: shards})
				entries := make([]stream.Entry, each)
				for i := range entries {
					entries[i] = stream.Entry{PartitionKey: fmt.Sprint(i), Data: make([]byte, 100)}
				}
				puts := testing.AllocsPerRun(records/each-1, func() { mustPut(t, s, entries...) })
				if puts > few*each {
					t.Errorf("%.1f allocations for a put of %d records", puts, each)
				}
				b := stream.Batch{MaxRecords: 1000, Records: make([]stream.Record, 0, 1000)}
				reads := testing.AllocsPerRun(1, func() {
					n := 0
					for shard := range shards {
						r, err := s.Open(context.Background(), shardID(uint64(shard)), stream.TrimHorizon)
						if err != nil {
							t.Fatal(err)
						}
						for b.Behind = 1; b.Behind > 0; n += len(b.Records) {
							next2(t, r, &b)
						}
						r.Close()
					}
					if n != records {
						t.Fatalf("%d records of %d", n, records)
					}
				})
				t.Logf("%.1f allocations a put of %d, %.4f a record read", puts, each, reads/records)
				if reads > few*records {
					t.Errorf("%.3f allocations for each record read", reads/records)
				}
			})
		}
	}
}
