//go:build linux

package engine

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/millrace/millrace/stream"
)

// load is so many callers who put so many records of 1 KiB at a time, over all
// shards.
type load struct{ callers, each, shards int }

func (l load) String() string {
	return fmt.Sprintf("callers=%d/each=%d/shards=%d", l.callers, l.each, l.shards)
}

// outcome of a load: records a second, and how long a call took.
type outcome struct {
	rate     float64
	p50, p99 time.Duration
}

// run puts a number of bytes.
func (l load) run(b *testing.B, s *Stream, bytes int) outcome {
	var mu sync.Mutex
	var all []time.Duration
	var wg sync.WaitGroup
	calls := bytes / (l.callers * l.each * 1024)
	begun := time.Now()
	for w := range l.callers {
		wg.Go(func() {
			entries := make([]stream.Entry, l.each)
			data := make([]byte, 1024)
			took := make([]time.Duration, calls)
			for n := range took {
				for i := range entries {
					entries[i] = stream.Entry{PartitionKey: fmt.Sprint(w, n, i), Data: data}
				}
				asked := time.Now()
				if _, err := s.Put(b.Context(), entries...); err != nil {
					b.Error(err)
					return
				}
				took[n] = time.Since(asked)
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, took...)
		})
	}
	wg.Wait()
	seconds := time.Since(begun).Seconds()
	slices.Sort(all)
	return outcome{
		rate: float64(calls*l.callers*l.each) / seconds,
		p50:  all[len(all)/2], p99: all[len(all)*99/100],
	}
}

func median[T cmp.Ordered](all []T) T {
	slices.Sort(all)
	return all[len(all)/2]
}

// BenchmarkPutBesideRewriting puts the same load into two engines in turn, of
// which one rewrites its log meanwhile: what that costs in rate and in p99. Each
// turn is long enough for the rewriter to fall as far behind as it may.
func BenchmarkPutBesideRewriting(b *testing.B) {
	for _, l := range []load{{16, 500, 4096}, {16, 500, 16}, {256, 1, 4096}} {
		b.Run(l.String(), func(b *testing.B) {
			bytes := 3 << 30
			if l.each == 1 {
				bytes = 1 << 30
			}
			var rates, p99s, p50s, rate, p99 []float64
			var on, off outcome
			for n := range b.N {
				for turn := range 2 {
					cfg := Config{Logger: quiet, ChunkBytes: -1}
					rewrites := (n+turn)%2 == 0
					if rewrites {
						cfg.ChunkBytes = 0
					}
					dir := b.TempDir()
					e := openDir(b, dir, cfg)
					o := l.run(b, ensure(b, e, "bench", StreamConfig{Shards: l.shards}), bytes)
					if rewrites {
						on = o
						chunks, adopted := fileKinds(e)
						b.Logf("on:  %.0f/s p50 %v p99 %v, %d chunks, %d adopted", o.rate, o.p50, o.p99, chunks, adopted)
					} else {
						off = o
						b.Logf("off: %.0f/s p50 %v p99 %v", o.rate, o.p50, o.p99)
					}
					if err := e.Close(); err != nil {
						b.Fatal(err)
					}
					removeAll(b, dir)
				}
				rate, p99 = append(rate, on.rate), append(p99, on.p99.Seconds()*1000)
				rates, p99s = append(rates, on.rate/off.rate), append(p99s, float64(on.p99)/float64(off.p99))
				p50s = append(p50s, float64(on.p50)/float64(off.p50))
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median(rate), "records/s")
			b.ReportMetric(median(p99), "ms-p99")
			b.ReportMetric(median(rates), "of-rate")
			b.ReportMetric(median(p50s), "of-p50")
			b.ReportMetric(median(p99s), "of-p99")
		})
	}
}

// BenchmarkReadOneShard reads single shards out of many, as they lie in the log
// and after it was rewritten; cold, their files are not in the page cache.
func BenchmarkReadOneShard(b *testing.B) {
	const shards, total = 4096, 512 << 20
	for _, kind := range []string{"scattered", "rewritten"} {
		dir := b.TempDir()
		cfg := Config{Logger: quiet, CacheBytes: 1, ChunkBytes: -1, Durability: LoseOnPowerFailure}
		if kind == "rewritten" {
			cfg.ChunkBytes = 0
		}
		e := openDir(b, dir, cfg)
		s := ensure(b, e, "bench", StreamConfig{Shards: shards})
		load{4, 500, shards}.run(b, s, total)
		// What follows takes the last of it out of the log, when that is rewritten.
		load{4, 500, 1}.run(b, ensure(b, e, "other", StreamConfig{}), 384<<20)
		for kind == "rewritten" && uint64(e.log.Durable())>>32 > e.log.Files().First+4 {
			runtime.Gosched()
		}
		for _, cold := range []bool{true, false} {
			name := kind + "/warm"
			if cold {
				name = kind + "/cold"
			}
			b.Run(name, func(b *testing.B) {
				batch := stream.Batch{MaxRecords: 10_000}
				bytes := 0
				for n := range b.N {
					if n%256 == 0 && cold {
						b.StopTimer()
						dropCache(b, dir)
						b.StartTimer()
					}
					r, err := s.reader(b.Context(), shardID(uint64(n*1031%shards)), stream.TrimHorizon)
					if err != nil {
						b.Fatal(err)
					}
					committed, _ := r.sh.log.Counters()
					for last := r.sh.log.Base().Add(committed); ; {
						if err := r.Next(b.Context(), &batch); err != nil {
							b.Fatal(err)
						}
						bytes += batch.Bytes
						if !batch.Records[len(batch.Records)-1].Sequence.Less(last) {
							break
						}
					}
					r.Close()
				}
				b.ReportMetric(float64(bytes)/1e6/b.Elapsed().Seconds(), "MB/s")
			})
		}
		if err := e.Close(); err != nil {
			b.Fatal(err)
		}
		removeAll(b, dir)
	}
}

// dropCache takes the files of a directory out of the page cache.
func dropCache(b *testing.B, dir string) {
	b.Helper()
	unix.Sync()
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		b.Fatal(err)
	}
	for _, name := range names {
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it has another name by now
		}
		if err != nil {
			b.Fatal(err)
		}
		if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}

// removeAll takes the room of an engine before the next one needs it.
func removeAll(b *testing.B, dir string) {
	b.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		b.Fatal(err)
	}
	for _, name := range names {
		if err := os.Remove(name); err != nil {
			b.Fatal(err)
		}
	}
}
