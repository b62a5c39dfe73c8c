package lease

import (
	"slices"
	"sync"
	"time"
)

// watch observes the beats of others with its own monotonic clock. It never
// compares what two machines take for the time: all that counts is for how long
// it has itself seen a row stand still.
//
// Beats are milliseconds of the sender's own clock. So whoever saw one beat soon
// after it was sent knows how late it sees those that follow, and looks that come
// now and then are enough to tell, almost, when the last one was sent:
//
//	sent     B₁             B₂             B₃
//	seen      s₁                 s₂              s₃
//	sent by   s₁      s₁+(B₂−B₁)     s₁+(B₃−B₁)          F from here: dead
//
// F is the observer's own, or that of the one whom it observes, whichever is longer.
type watch struct {
	patience time.Duration // the observer's own F
	gap      time.Duration // two observations further apart are no watching

	mu     sync.Mutex // guards what follows
	last   time.Time  // of the last observation of all members
	floor  time.Time  // silence before that does not count
	clocks map[string]reckoning
	seen   map[string]sighting
}

// reckoning is what the observer knows about the clock of an incarnation.
type reckoning struct {
	beats int64
	by    time.Time // it showed that many by then, at the latest
	last  time.Time // when it was last looked at
}

// sighting is what a row showed.
type sighting struct {
	worker string // whose clock the beats are of
	beats  int64
	told   time.Duration // the F of the worker, as its row tells
	since  time.Time     // by then, at the latest, that beat had been sent
	asked  time.Time     // when the last look at the row began
	last   time.Time     // and when it ended
}

// drift is by which part the clock of a worker may run slower than that of an
// observer without being taken for a silent worker's: machines differ by some
// thousandths at the worst.
const drift = 200 // 1/200

func newWatch(patience, gap time.Duration) *watch {
	return &watch{patience: patience, gap: gap, clocks: map[string]reckoning{}, seen: map[string]sighting{}}
}

// observe takes note of all members as they were read by a call that began at
// asked and has returned by now. It remembers only those that it is given, and
// the leader's row.
//
// An observer that was itself away for long (paused, or without a store) has
// seen nobody stand still: after a gap it starts anew, so that after an outage
// all have time to come back before the first of them is taken for dead.
func (w *watch) observe(asked, now time.Time, members ...Member) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = now
	seen := make(map[string]sighting, len(members)+1)
	clocks := make(map[string]reckoning, len(members)+1)
	if leader, known := w.seen[leaderKey]; known {
		seen[leaderKey], clocks[leader.worker] = leader, w.clocks[leader.worker]
	}
	for _, m := range members {
		if !m.Fenced {
			seen[m.Incarnation] = w.note(asked, now, m.Incarnation, m)
			clocks[m.Incarnation] = w.clocks[m.Incarnation]
		}
	}
	w.seen, w.clocks = seen, clocks
}

// observeLeader takes note of the leader's row in the same way. Its beats are of
// the same clock as those of the member that leads, so that who knows the one is
// not new to the other.
func (w *watch) observeLeader(asked, now time.Time, row Member) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen[leaderKey] = w.note(asked, now, row.Worker, row)
}

// note returns what is known now of a row, whose beats are of that worker's clock.
// The caller holds mu.
func (w *watch) note(asked, now time.Time, worker string, row Member) sighting {
	s, known := w.seen[row.Incarnation]
	watched := known && s.worker == worker && !w.away(asked, s.last)
	if !watched {
		s = sighting{worker: worker, beats: -1}
	}
	by := w.reckon(asked, now, s.asked, worker, row.Beats)
	if row.Beats > s.beats {
		s.beats, s.since = row.Beats, by
	}
	s.told = row.FailoverTime
	if asked.After(s.asked) {
		s.asked, s.last = asked, now
	}
	return s
}

// reckon returns by when, at the latest, that beat was sent: by now, and as long
// after an earlier one as the sender's clock says. If it was sent before the last
// look at its row, which did not see it, that clock stood still, or the beat was
// long under way: then it counts from now, and so does the clock. The caller
// holds mu.
func (w *watch) reckon(asked, now, unseen time.Time, worker string, beats int64) time.Time {
	c, known := w.clocks[worker]
	if !known || w.away(asked, c.last) {
		c = reckoning{beats: beats, by: now}
	}
	if beats > c.beats {
		passed := time.Duration(beats-c.beats) * time.Millisecond
		by := c.by.Add(passed + passed/drift)
		if by.Before(unseen) || by.After(now) {
			by = now
		}
		c.beats, c.by = beats, by
	}
	c.last = now
	w.clocks[worker] = c
	return c.by
}

// away reports whether a look that began at asked comes too long after another
// one for what lies between them to have been watched.
func (w *watch) away(asked, last time.Time) bool { return asked.Sub(last) > w.gap }

// countFrom lets no silence count that was before that moment.
func (w *watch) countFrom(moment time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if moment.After(w.floor) {
		w.floor = moment
	}
}

// forget starts anew with the next observation.
func (w *watch) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.seen)
	clear(w.clocks)
}

// silence returns for how long a row had stood still when it was last seen.
func (w *watch) silence(key string) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.silenceOf(w.seen[key])
}

func (w *watch) silenceOf(s sighting) time.Duration {
	since := s.since
	if w.floor.After(since) {
		since = w.floor
	}
	return max(0, s.last.Sub(since))
}

// patienceWith returns after what silence a row counts as dead.
func (w *watch) patienceWith(s sighting) time.Duration { return max(w.patience, s.told) }

// dead reports whether a member may be fenced.
func (w *watch) dead(incarnation string) bool { return w.fate(incarnation) == dead }

// stale reports whether a member has been silent for so long that it is given
// nothing.
func (w *watch) stale(incarnation string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.seen[incarnation]
	return w.silenceOf(s) > w.patienceWith(s)*6/10
}

// others returns the members that were last observed, apart from one.
func (w *watch) others(me string) (names []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for name := range w.seen {
		if name != leaderKey && name != me {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// seenAt returns when all members were last observed.
func (w *watch) seenAt() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}

// fate is what the silence of a row foretells.
type fate int

const (
	alive   fate = iota
	late         // its last beat was to be seen by now
	missing      // so was another one: it is time to prepare for its death
	dead         // it may be fenced
)

// after returns how long a row has stood still that comes to that.
func (w *watch) after(f fate, s sighting) time.Duration {
	patience := w.patienceWith(s)
	return [...]time.Duration{alive: 0, late: patience * 3 / 8, missing: patience / 2, dead: patience}[f]
}

// fate returns what is to be expected of a row.
func (w *watch) fate(key string) fate {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fateOf(w.seen[key])
}

func (w *watch) fateOf(s sighting) fate {
	f := dead
	for silence := w.silenceOf(s); f > alive && silence < w.after(f, s); {
		f--
	}
	return f
}

// due returns when the next look tells something that is to be acted on at once,
// if the rows stand still: that one is missing that is late, or that one is dead. It
// is about the leader's row, or about all others. The zero time is never.
func (w *watch) due(leader bool) (first time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for key, s := range w.seen {
		next := dead
		if w.fateOf(s) == late {
			next = missing
		}
		if left := w.after(next, s) - w.silenceOf(s); left > 0 && (key == leaderKey) == leader {
			if at := s.last.Add(left); first.IsZero() || at.Before(first) {
				first = at
			}
		}
	}
	return first
}
