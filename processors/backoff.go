package processors

import (
	"cmp"
	"math/rand/v2"
	"time"
)

// Backoff says how long to wait between the attempts at something that fails.
// Waits grow with decorrelated jitter: each is a random time between Min and
// three times the one before, and at most Max. So attempts spread out when
// many fail for one reason, and none waits for long after a short trouble.
// (Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.)
type Backoff struct {
	// Min is the shortest wait. Default: 100 ms.
	Min time.Duration
	// Max is the longest wait. Default: 30 s.
	Max time.Duration
}

// Next returns the wait after one that took last; 0 for the first. It draws
// from r, or, when that is nil, from the source that all share.
func (b Backoff) Next(r *rand.Rand, last time.Duration) time.Duration {
	least, most := cmp.Or(b.Min, 100*time.Millisecond), cmp.Or(b.Max, 30*time.Second)
	span := 3*max(last, least) - least
	draw := rand.Int64N
	if r != nil {
		draw = r.Int64N
	}
	return min(most, least+time.Duration(draw(int64(span)+1)))
}
