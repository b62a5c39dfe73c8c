package lease_test

import (
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// Goroutines that wake at one instant run in any order. No order of theirs may
// show in what a fleet of coordinators does.
func TestASeedReplays(t *testing.T) {
	if testing.Short() {
		t.Skip("the number of processors changes all the time, which the race detector does not bear")
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for seed := uint64(1); seed <= 3; seed++ {
		var first uint64
		for run, processors := range []int{1, 2, 4} {
			runtime.GOMAXPROCS(processors)
			synctest.Test(t, func(t *testing.T) {
				s := newSim(seed, 8)
				if err := s.run(5, 10*time.Minute, true); err != nil {
					t.Error(err)
				}
				if hash := s.check.Hash(); run == 0 {
					first = hash
				} else if hash != first {
					t.Errorf("seed %d takes another course with %d processors", seed, processors)
				}
			})
		}
	}
}
