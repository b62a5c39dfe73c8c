package engine

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millrace/millrace/stream"
)

func benchEngine(b *testing.B, cfg Config, shards int) *Stream {
	b.Helper()
	cfg.Logger = quiet
	e := openDir(b, b.TempDir(), cfg)
	return ensure(b, e, "bench", StreamConfig{Shards: shards})
}

// benchRing opens an engine whose log goes round in files that were written
// before, as it does when an engine has run for a while.
func benchRing(b *testing.B, mode Durability, shards int) *Stream {
	b.Helper()
	e := openDir(b, b.TempDir(), Config{
		Durability: mode, SegmentBytes: 16 << 20, CacheBytes: 16 << 20,
		MinRetention: time.Millisecond, Logger: quiet,
	})
	s := ensure(b, e, "bench", StreamConfig{Shards: shards, Retention: 50 * time.Millisecond})
	entries := make([]stream.Entry, 500)
	for i := range entries {
		entries[i] = stream.Entry{PartitionKey: fmt.Sprint(i), Data: make([]byte, 4<<10)}
	}
	for range 80 { // 160 MiB
		mustPut(b, s, entries...)
	}
	time.Sleep(60 * time.Millisecond)
	if err := e.sweep(); err != nil {
		b.Fatal(err)
	}
	return s
}

// BenchmarkPut puts single records from many goroutines: group commit.
func BenchmarkPut(b *testing.B) {
	for _, mode := range []Durability{Durable, LoseOnPowerFailure} {
		for _, writers := range []int{1, 16, 256} {
			b.Run(fmt.Sprintf("%s/1KiB/writers=%d", modeName(mode), writers), func(b *testing.B) {
				s := benchRing(b, mode, 1)
				data := make([]byte, 1024)
				var left atomic.Int64
				left.Store(int64(b.N))
				b.ReportAllocs()
				b.ResetTimer()
				var wg sync.WaitGroup
				for w := range writers {
					wg.Go(func() {
						entry := stream.Entry{PartitionKey: fmt.Sprint("key-", w), Data: data}
						for left.Add(-1) >= 0 {
							if _, err := s.Put(b.Context(), entry); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				perSecond(b, b.N)
			})
		}
	}
}

// BenchmarkPutMany puts 500 records at a time, as PutRecords does.
func BenchmarkPutMany(b *testing.B) {
	const each = 500
	for _, mode := range []Durability{Durable, LoseOnPowerFailure} {
		for _, size := range []int{100, 1024} {
			for _, shards := range []int{1, 4096} {
				b.Run(fmt.Sprintf("%s/%dB/shards=%d/callers=16", modeName(mode), size, shards), func(b *testing.B) {
					s := benchRing(b, mode, shards)
					var left atomic.Int64
					left.Store(int64(b.N))
					b.SetBytes(int64(each * size))
					b.ReportAllocs()
					b.ResetTimer()
					var wg sync.WaitGroup
					for w := range 16 {
						wg.Go(func() {
							entries := make([]stream.Entry, each)
							for i := range entries {
								entries[i] = stream.Entry{PartitionKey: fmt.Sprintf("key-%d-%d", w, i), Data: make([]byte, size)}
							}
							for left.Add(-1) >= 0 {
								if _, err := s.Put(b.Context(), entries...); err != nil {
									b.Error(err)
									return
								}
							}
						})
					}
					wg.Wait()
					perSecond(b, b.N*each)
				})
			}
		}
	}
}

// BenchmarkRead reads a shard from its beginning, from memory and from the
// page cache with all checksums.
func BenchmarkRead(b *testing.B) {
	const records, each = 200_000, 500
	for _, size := range []int{100, 1024} {
		for _, cache := range []int{16 << 20, 1 << 30} {
			name := "Disk"
			if cache > 16<<20 {
				name = "Memory"
			}
			b.Run(fmt.Sprintf("%s/%dB", name, size), func(b *testing.B) {
				s := benchEngine(b, Config{Durability: LoseOnPowerFailure, CacheBytes: cache}, 1)
				entries := make([]stream.Entry, each)
				for i := range entries {
					entries[i] = stream.Entry{PartitionKey: fmt.Sprint("key-", i), Data: make([]byte, size)}
				}
				for range records / each {
					mustPut(b, s, entries...)
				}
				batch := stream.Batch{MaxRecords: 10_000}
				b.SetBytes(int64(size))
				b.ReportAllocs()
				b.ResetTimer()
				for left := b.N; left > 0; {
					r, err := s.reader(b.Context(), shardID(0), stream.TrimHorizon)
					if err != nil {
						b.Fatal(err)
					}
					for n := 0; n < records && left > 0; {
						if err := r.Next(b.Context(), &batch); err != nil {
							b.Fatal(err)
						}
						n += len(batch.Records)
						left -= len(batch.Records)
					}
					r.Close()
				}
				perSecond(b, b.N)
			})
		}
	}
}

// BenchmarkPutToReader measures from the begin of a put to its record in the
// hands of a waiting reader.
func BenchmarkPutToReader(b *testing.B) {
	for _, mode := range []Durability{Durable, LoseOnPowerFailure} {
		b.Run(modeName(mode), func(b *testing.B) {
			s := benchRing(b, mode, 1)
			r, err := s.Open(b.Context(), shardID(0), stream.Latest)
			if err != nil {
				b.Fatal(err)
			}
			defer r.Close()
			if err := s.SetRetention(b.Context(), 24*time.Hour); err != nil {
				b.Fatal(err)
			}
			begun, seen := make(chan time.Time, 1), make(chan time.Time)
			var readers sync.WaitGroup
			readers.Go(func() {
				defer close(seen)
				var batch stream.Batch
				for range b.N { // one record at a time is on its way
					if err := r.Next(b.Context(), &batch); err != nil {
						b.Error(err)
						return
					}
					seen <- time.Now()
				}
			})
			var total time.Duration
			data := make([]byte, 1024)
			for range b.N {
				begun <- time.Now()
				mustPut(b, s, stream.Entry{PartitionKey: "k", Data: data})
				total += (<-seen).Sub(<-begun)
			}
			readers.Wait()
			b.ReportMetric(float64(total.Microseconds())/float64(b.N), "µs/put-to-reader")
		})
	}
}

func modeName(d Durability) string {
	if d == Durable {
		return "Durable"
	}
	return "Relaxed"
}

func perSecond(b *testing.B, records int) {
	b.ReportMetric(float64(records)/b.Elapsed().Seconds(), "records/s")
}
