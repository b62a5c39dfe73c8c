package lease

import (
	"sync"
	"time"
)

// watch observes the beats of others with its own monotonic clock. It never
// compares two machines' clocks: all that counts is for how long it has itself
// seen a counter stand still.
type watch struct {
	patience time.Duration // F
	gap      time.Duration // two observations further apart are no watching

	mu   sync.Mutex // guards what follows
	last time.Time  // of the last observation
	seen map[string]sighting
}

type sighting struct {
	beats int64
	since time.Time // when the counter was first seen with this value
}

func newWatch(patience, gap time.Duration) *watch {
	return &watch{patience: patience, gap: gap, seen: map[string]sighting{}}
}

// observe takes note of the rows as they were read by a call that began at
// asked and has returned by now. It remembers only those that it is given.
//
// An observer that was itself away for long (paused, or without a store) has
// seen nobody stand still: after a gap it starts anew, so that after an outage
// all have time to come back before the first of them is taken for dead.
func (w *watch) observe(asked, now time.Time, members ...Member) {
	w.mu.Lock()
	defer w.mu.Unlock()
	gap := asked.Sub(w.last) > w.gap
	w.last = now
	seen := make(map[string]sighting, len(members))
	for _, m := range members {
		old, known := w.seen[m.Incarnation]
		if !known || gap || old.beats != m.Beats {
			// The value may be as old as the answer is slow; counting from
			// the answer errs on the side of patience.
			old = sighting{m.Beats, now}
		}
		seen[m.Incarnation] = old
	}
	w.seen = seen
}

// before reports whether the last observation was made before that moment.
func (w *watch) before(moment time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last.Before(moment)
}

// forget starts anew with the next observation.
func (w *watch) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.seen)
}

// silence returns for how long the counter had been seen to stand still by the
// last observation.
func (w *watch) silence(incarnation string) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	s, known := w.seen[incarnation]
	if !known {
		return 0
	}
	return w.last.Sub(s.since)
}

// dead reports whether a member may be fenced.
func (w *watch) dead(incarnation string) bool { return w.silence(incarnation) >= w.patience }
