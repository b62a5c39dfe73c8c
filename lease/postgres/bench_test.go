//go:build unix

package postgres

import (
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/millrace/millrace/internal/testpg"
	"github.com/millrace/millrace/stream"
)

// ownCPU is the processor time of this process.
func ownCPU() time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// BenchmarkCheckpoint stores checkpoints of 10,000 shards on a server that
// waits for its disk, so many at a time. It tells the processor time of a row,
// this process's and the server's.
func BenchmarkCheckpoint(b *testing.B) {
	server := testpg.Start(b, "fsync=on")
	for _, name := range []string{"Prepared", "Simple"} {
		for _, callers := range []int{1, 16, 100} {
			b.Run(fmt.Sprintf("%s/%d", name, callers), func(b *testing.B) {
				s := open(b, server, Config{Application: "app"}, in(modes[name]))
				rows := someLeases(10_000)
				if err := s.Create(b.Context(), rows...); err != nil {
					b.Fatal(err)
				}
				if _, err := s.pool.Exec(b.Context(), qualified("ANALYZE millrace_lease", s.schema)); err != nil {
					b.Fatal(err)
				}
				serverBefore, told := server.CPU()
				ownBefore := ownCPU()
				b.ReportAllocs()
				b.ResetTimer()
				var turns atomic.Int64
				var wg sync.WaitGroup
				for c := range callers {
					wg.Go(func() {
						for i := c; turns.Add(1) <= int64(b.N); i = (i + callers) % (len(rows) - len(rows)%callers) {
							next := rows[i]
							next.Checkpoint.Position = stream.After(stream.MakeSequence(1<<50, 1<<60, uint64(next.Counter)))
							row, err := s.Swap(b.Context(), rows[i], next)
							if err != nil {
								b.Error(err)
								return
							}
							rows[i] = row
						}
					})
				}
				wg.Wait()
				b.StopTimer()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s")
				b.ReportMetric(float64((ownCPU()-ownBefore).Nanoseconds())/1e3/float64(b.N), "client-µs/row")
				if serverAfter, _ := server.CPU(); told {
					b.ReportMetric(float64((serverAfter-serverBefore).Nanoseconds())/1e3/float64(b.N), "server-µs/row")
				}
			})
		}
	}
}

// BenchmarkTogether carries out statements of so many checkpoints.
func BenchmarkTogether(b *testing.B) {
	server := testpg.Start(b, "fsync=on")
	for _, n := range []int{1, 16, 100, together} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := open(b, server, Config{Application: "app"})
			rows := someLeases(10_000)
			if err := s.Create(b.Context(), rows...); err != nil {
				b.Fatal(err)
			}
			if _, err := s.pool.Exec(b.Context(), qualified("ANALYZE millrace_lease", s.schema)); err != nil {
				b.Fatal(err)
			}
			swaps := make([]*swap, n)
			serverBefore, _ := server.CPU()
			ownBefore := ownCPU()
			b.ReportAllocs()
			b.ResetTimer()
			for done := 0; done < b.N; done += n {
				for i := range swaps {
					old := rows[(done+i)%len(rows)]
					swaps[i] = &swap{old: old, next: old}
				}
				if err := s.swapTogether(b.Context(), swaps); err != nil {
					b.Fatal(err)
				}
				for i, w := range swaps {
					if !w.won {
						b.Fatal("a swap was refused")
					}
					rows[(done+i)%len(rows)] = w.next
				}
			}
			b.StopTimer()
			serverAfter, _ := server.CPU()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s")
			b.ReportMetric(float64((ownCPU()-ownBefore).Nanoseconds())/1e3/float64(b.N), "client-µs/row")
			b.ReportMetric(float64((serverAfter-serverBefore).Nanoseconds())/1e3/float64(b.N), "server-µs/row")
		})
	}
}

func BenchmarkLeases10000(b *testing.B) {
	s := open(b, testpg.Start(b), Config{Application: "app"})
	if err := s.Create(b.Context(), someLeases(10_000)...); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for _, err := range s.Leases(b.Context()) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n != 10_000 {
			b.Fatal(n)
		}
	}
}

func BenchmarkOwned100Of10000(b *testing.B) {
	s := open(b, testpg.Start(b), Config{Application: "app"})
	if err := s.Create(b.Context(), someLeases(10_000)...); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if rows, err := s.Owned(b.Context(), "w7"); err != nil || len(rows) != 100 {
			b.Fatal(len(rows), err)
		}
	}
}
