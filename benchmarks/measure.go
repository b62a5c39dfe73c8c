package main

import (
	"runtime"
	"syscall"
	"time"
)

// usage is what a stretch of work cost this process.
type usage struct {
	wall, cpu time.Duration
	allocs    uint64
	bytes     uint64
}

// measure runs f and returns what it cost.
func measure(f func() error) (usage, error) {
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu, start := cpuTime(), time.Now()
	err := f()
	u := usage{wall: time.Since(start), cpu: cpuTime() - cpu}
	runtime.ReadMemStats(&after)
	u.allocs, u.bytes = after.Mallocs-before.Mallocs, after.TotalAlloc-before.TotalAlloc
	return u, err
}

func cpuTime() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		panic(err) // getrusage of oneself fails only on a wrong address
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
