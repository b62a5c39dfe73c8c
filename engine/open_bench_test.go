//go:build unix

package engine

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/millrace/millrace/stream"
)

// BenchmarkOpen reads back a log of 128 MiB, as after a kill -9: every
// checksum, and the index of every shard.
func BenchmarkOpen(b *testing.B) {
	for _, kind := range []struct{ size, shards int }{{1024, 1}, {100, 4096}} {
		b.Run(fmt.Sprintf("%dB/shards=%d", kind.size, kind.shards), func(b *testing.B) {
			dir, total := b.TempDir(), 128<<20
			cfg := Config{Durability: LoseOnPowerFailure, ChunkBytes: -1, Logger: quiet}
			e := openDir(b, dir, cfg)
			s := ensure(b, e, "bench", StreamConfig{Shards: kind.shards})
			entries := make([]stream.Entry, 500)
			records := total / (kind.size + 20)
			for n := 0; n < records; n += len(entries) {
				for i := range entries {
					entries[i] = stream.Entry{PartitionKey: fmt.Sprint(n + i), Data: make([]byte, kind.size)}
				}
				mustPut(b, s, entries...)
			}
			if err := e.Close(); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(total))
			b.ResetTimer()
			var cpu time.Duration
			for range b.N {
				before := cpuTime(b)
				e, err := Open(dir, cfg)
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				cpu += cpuTime(b) - before
				if err := e.Close(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
			perSecond(b, b.N*records)
			b.ReportMetric(float64(cpu.Nanoseconds())/float64(b.N*records), "cpu-ns/record")
		})
	}
}

// cpuTime is what the process has taken of the processors so far.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
