package processors

import (
	"math/rand/v2"
	"time"

	"github.com/millrace/millrace/internal/backoff"
)

// Backoff says how long to wait between the attempts at something that fails.
// Waits grow with decorrelated jitter: each is a random time between Min and
// three times the one before, and at most Max. So attempts spread out when
// many fail for one reason, and none waits for long after a short trouble.
type Backoff struct {
	// Min is the shortest wait. Default, also for less than 0: 100 ms, or Max
	// if that is shorter.
	Min time.Duration
	// Max is the longest wait. Default, also for less than 0: 30 s, or Min if
	// that is longer.
	Max time.Duration
}

// Next returns the wait after one that took last; 0 for the first. It draws
// from r, or, when that is nil, from the source that all share.
func (b Backoff) Next(r *rand.Rand, last time.Duration) time.Duration {
	least, most := b.bounds()
	return backoff.Next(r, last, least, most)
}

func (b Backoff) bounds() (least, most time.Duration) {
	least, most = max(b.Min, 0), max(b.Max, 0)
	if most == 0 {
		most = max(least, 30*time.Second)
	}
	if least == 0 {
		least = min(most, 100*time.Millisecond)
	}
	return min(least, most), most
}
