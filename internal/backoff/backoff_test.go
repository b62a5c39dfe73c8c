package backoff

import (
	"math"
	"testing"
	"time"
)

func TestWaitsStayWithinThreeTimesTheLastOneAndTheirBounds(t *testing.T) {
	const least, most = 100 * time.Millisecond, 10 * time.Second
	for _, last := range []time.Duration{0, -time.Second, least, time.Second, most, math.MaxInt64} {
		longest := time.Duration(0)
		for range 2000 {
			wait := Next(nil, last, least, most)
			if wait < least || wait > most || wait > 3*max(least, min(last, most)) {
				t.Fatalf("after %v comes %v", last, wait)
			}
			longest = max(longest, wait)
		}
		if last > least && longest <= last && longest < most {
			t.Errorf("after %v no wait is longer", last)
		}
	}
}
