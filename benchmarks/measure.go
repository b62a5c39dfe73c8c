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
	bytes     uint64 // allocated
}

// stopwatch measures one stretch of work. Its zero value is at rest.
type stopwatch struct {
	began  time.Time
	cpu    time.Duration
	memory runtime.MemStats
}

// start begins to measure, with the garbage of what was before collected.
func (w *stopwatch) start() {
	runtime.GC()
	runtime.ReadMemStats(&w.memory)
	w.cpu, w.began = cpuTime(), time.Now()
}

// stop returns what it cost since start.
func (w *stopwatch) stop() usage {
	u := usage{wall: time.Since(w.began), cpu: cpuTime() - w.cpu}
	var now runtime.MemStats
	runtime.ReadMemStats(&now)
	u.allocs, u.bytes = now.Mallocs-w.memory.Mallocs, now.TotalAlloc-w.memory.TotalAlloc
	return u
}

func cpuTime() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		panic(err) // getrusage of oneself fails only on a wrong address
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
