// Package backoff says how long to wait between the attempts at something that
// fails.
package backoff

import (
	"math"
	"math/rand/v2"
	"time"
)

// Next returns the wait after one that took last, 0 for the first, by
// decorrelated jitter: a random time between least and three times the last
// one, and at most most. So attempts spread out when many fail for one reason,
// and none waits for long after a short trouble. It draws from r, or, when that
// is nil, from the source that all share.
// (Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.)
func Next(r *rand.Rand, last, least, most time.Duration) time.Duration {
	draw := rand.Int64N
	if r != nil {
		draw = r.Int64N
	}
	// A quarter of the longest possible time leaves room for three times as much.
	span := 3*min(max(last, least), math.MaxInt64/4) - least
	return min(most, least+time.Duration(draw(int64(max(span, 0))+1)))
}
