package main

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"syscall"
	"time"
)

// usage is what a stretch of work cost this process.
type usage struct {
	wall, cpu time.Duration
	allocs    uint64
	bytes     uint64 // allocated
}

// perRecord adds what each of n records cost.
func (u usage) perRecord(f figures, n int) {
	f[cpuPerRecord] = float64(u.cpu.Nanoseconds()) / float64(n)
	f[recordRate] = float64(n) / u.wall.Seconds()
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

// cpuTime is the user and system time of this process so far.
func cpuTime() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		panic(err) // getrusage of oneself fails only on a wrong address
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// percents are the points of a distribution that are kept: enough to draw it.
var percents = []float64{1, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.99}

// latency is the name of one point of a distribution in microseconds.
func latency(what string, percent float64) string {
	if what != "" {
		what += " "
	}
	return fmt.Sprintf("%sp%v µs", what, percent)
}

// distribution adds the points of a distribution; it sorts times. Points that
// too few values could tell are left out.
func distribution(f figures, what string, times []time.Duration) {
	slices.Sort(times)
	for _, p := range percents {
		if len(times) > 0 && float64(len(times))*(100-p)/100 >= 1 || p == 50 || p == 99 {
			f[latency(what, p)] = float64(percentile(times, p/100).Nanoseconds()) / 1e3
		}
	}
}

// percentile of sorted values; the zero value when there are none.
func percentile[T cmp.Ordered](sorted []T, p float64) (v T) {
	if len(sorted) == 0 {
		return v
	}
	return sorted[min(len(sorted)-1, int(p*float64(len(sorted))))]
}
