package sim

import (
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// Goroutines that wake at one instant run in any order, and on any processor.
// No order of theirs may show in what a fleet does.
func TestASeedReplays(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	length, last := 10*time.Minute, uint64(8)
	if testing.Short() {
		last = 2
	}
	for n := uint64(1); n <= last; n++ {
		var first Report
		for run, processors := range []int{1, 4} {
			runtime.GOMAXPROCS(processors)
			var report Report
			synctest.Test(t, func(t *testing.T) {
				var err error
				report, err = Run(t.Context(), Options{Seed: n, Mode: modeOf(n), Time: length})
				if err != nil {
					t.Error(err)
				}
			})
			if run == 0 {
				first = report
			} else if report != first {
				t.Errorf("seed %d takes another course with %d processors:\n%+v\n%+v", n, processors, first, report)
			}
		}
	}
}
