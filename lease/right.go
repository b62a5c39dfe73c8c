package lease

import "time"

// right is the bookkeeping of a worker's right to process: until when, by its
// own monotonic clock, it may go on without another answer from the store. It
// is plain arithmetic; the session that owns it does the locking.
//
//	last beat acknowledged      sent ────────── F − margin ──────────► expires
//	a revision not yet read     shown ───────── H − margin ──────────► expires
//
// The first line keeps ahead of an observer who has seen the beats stand still
// for F and fences the worker, the second of a leader who has announced a
// handoff by a bump and forces it after H.
type right struct {
	failover, handoff time.Duration // F and H, each less the margin

	sent    time.Time // when the last acknowledged beat was sent
	seen    int64     // the revision that its answer carried
	applied int64     // the revision up to which the worker's rows are re-read
	shown   time.Time // when the last beat that showed applied was sent
}

// margin is the part of F and of H by which a worker stops early: room for a
// timer that fires late and for clocks that run at different speeds.
const margin = 10 // a tenth

func newRight(failover, handoff time.Duration) right {
	return right{failover: failover - failover/margin, handoff: handoff - handoff/margin}
}

// joined starts the account with the row as it was created.
func (r *right) joined(sent time.Time, revision int64) {
	r.sent, r.shown = sent, sent
	r.seen, r.applied = revision, revision
}

// beaten records an acknowledged beat. It counts from when it was sent: when
// it was answered, the observer's clock may have been running for long.
func (r *right) beaten(sent time.Time, revision int64) {
	r.sent, r.seen = sent, revision
	if revision == r.applied {
		r.shown = sent
	}
}

// A reading is what was known before a re-read began. Only that much is
// applied by it: a bump that came meanwhile may announce a change that the
// read did not see.
type reading struct {
	revision int64
	shown    time.Time
}

func (r *right) read() reading { return reading{r.seen, r.sent} }

// apply records that all rows were re-read.
func (r *right) apply(read reading) {
	r.applied, r.shown = read.revision, read.shown
	if r.seen == r.applied {
		r.shown = r.sent
	}
}

// stale reports whether a bump was seen whose changes are not yet read.
func (r *right) stale() bool { return r.seen != r.applied }

// expires returns when every hold of the worker ends unless something better
// is heard before.
func (r *right) expires() time.Time {
	beat := r.sent.Add(r.failover)
	if by := r.drainBy(); r.stale() && by.Before(beat) {
		return by
	}
	return beat
}

// letGo returns when a holder is to let go who learns now of a handoff that must be
// over by drainBy: after the notice that its successor gets, as long as that leaves
// its callbacks half of the time that a handoff may take.
func (r *right) letGo(now, drainBy time.Time, notice time.Duration) time.Time {
	at, latest := now.Add(notice), drainBy.Add(-r.handoff/2)
	if latest.Before(at) {
		return latest
	}
	return at
}

// An observer and the one whom he observes need not have the same F and H, as
// during a rollout that changes them. The right of a worker goes by its own, which
// its row tells; so others wait for the longer of theirs and that.

// failover returns for how long the member must have been silent before somebody
// fences it whose F is own.
func (m Member) failover(own time.Duration) time.Duration { return max(own, m.FailoverTime) }

// handoff returns after what time somebody whose H is own may force the member,
// from when he told it of the handoff.
func (m Member) handoff(own time.Duration) time.Duration { return max(own, m.HandoffTimeout) }

// tellable returns a time as a row tells it: in whole milliseconds, and none too short.
func tellable(d time.Duration) time.Duration {
	return (d + time.Millisecond - 1).Truncate(time.Millisecond)
}

// drainBy returns when a hold must have ended whose handoff is learned now: the
// leader who announced it cannot have had the announcement acknowledged before
// the last beat that did not show it.
func (r *right) drainBy() time.Time { return r.shown.Add(r.handoff) }
