//go:build unix

package wal

import (
	"fmt"
	"log/slog"
	"syscall"
	"testing"
	"time"

	"github.com/millrace/millrace/engine/internal/vfs"
)

// BenchmarkRewrite rewrites 256 MiB of 1 KiB records that lie scattered over
// the shards, as fast as it can.
func BenchmarkRewrite(b *testing.B) {
	for _, shards := range []int{16, 4096} {
		b.Run(fmt.Sprintf("shards=%d", shards), func(b *testing.B) {
			const bytes = 256 << 20
			var cpu time.Duration
			for range b.N {
				b.StopTimer()
				l, _, err := Open(Options{FS: vfs.Dir(b.TempDir()), ChunkBytes: bytes, SyncEvery: time.Second, Logger: slog.New(slog.DiscardHandler)}, Known{OpenGen: 1})
				if err != nil {
					b.Fatal(err)
				}
				fillLog(b, l, shards, bytes)
				if err := l.Flush(b.Context()); err != nil {
					b.Fatal(err)
				}
				r := l.NewRewriter()
				r.free = true
				b.StartTimer()
				before := cpuTime(b)
				w, err := r.Next(b.Context(), func(uint64) uint64 { return 0 })
				if err != nil || w == nil {
					b.Fatal(w, err)
				}
				if err := w.Commit(func(Files) error { return nil }); err != nil {
					b.Fatal(err)
				}
				cpu += cpuTime(b) - before
				b.StopTimer()
				l.Close()
				b.StartTimer()
			}
			b.SetBytes(bytes)
			b.ReportMetric(float64(cpu.Milliseconds())/float64(b.N), "cpu-ms/op")
		})
	}
}

func cpuTime(tb testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
