package lease

import (
	"cmp"
	"time"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/stream"
)

// The model is the protocol of handing leases over and of taking them over, as a
// machine whose every state can be visited. What decides is the code of the
// package: the transitions, StandingOf, right, grip, watch, handoffs, Sync. What
// is modelled is who sends what when, and what the store makes of it.
//
//	          ┌─ worker: joins, beats, re-reads, polls, takes, saves, ends, lets go, leaves, crashes
//	state ──► ├─ store: a write that was sent arrives, late or never; its answer, too ──► states that can follow
//	          ├─ leader (two at a time): reads, looks, fences, moves, forces, bumps, retires; another one takes over
//	          └─ time passes
//
// Nobody has to do anything: who stands still between two steps for as long as
// it likes is a process that was stopped, or a network that is slow. Only a
// clock makes things happen: a hold ends when its time is over. Time has no end
// and no beginning; a state knows how long ago something was, and nothing that
// is longer ago than FailoverTime or HandoffTimeout matters. Numbers of rows are
// kept only as far as they can be compared: which are equal, which follow one
// another, which come later. So there are finitely many states, though nothing
// is bounded but who takes part.

const (
	mF      = 2 // FailoverTime, in ticks
	mSlots  = 4 // incarnations that are remembered at a time
	mShards = 2
)

// mRow is a lease. An incarnation is a number from 1 to mSlots, 0 is nobody.
type mRow struct {
	there                    int8
	owner, co, counter, term int8
	at                       int8 // the checkpoint: mBegin, mSome, mEnd
}

const (
	mBegin = iota
	mSome
	mEnd
)

var (
	mPositions = [...]stream.Position{stream.TrimHorizon, stream.After(stream.MakeSequence(0, 0, 1)), stream.ShardEnd}
	mNames     = [...]string{"", "a", "b", "c", "d", "x", "y"}
)

// In a snapshot that an incarnation has read, only itself has a name.
const mMe, mOther = 5, 6

func mID(name string) int8 {
	if name == "" {
		return 0
	}
	return int8(name[0] - 'a' + 1)
}

func (r *mRow) lease() Lease {
	return Lease{
		Owner: mNames[r.owner], CheckpointOwner: mNames[r.co], Counter: int64(r.counter), Term: int64(r.term),
		Checkpoint: checkpoint.State{Position: mPositions[r.at]},
	}
}

// write replaces the row by what a swap that won makes of it.
func (r *mRow) write(next Lease) {
	r.owner, r.co, r.term = mID(next.Owner), mID(next.CheckpointOwner), int8(next.Term)
	r.counter++
	for at, p := range mPositions {
		if p == next.Checkpoint.Position {
			r.at = int8(at)
		}
	}
}

// mShard is a shard: its row, and what only the model remembers.
type mShard struct {
	row   mRow
	lag   mRow // what Owned may still tell
	told  int8 // how long ago a bump for the handoff under way was acknowledged, + 1
	fresh int8 // the row was created, and its creator has not looked again
	// The greatest Counter and Term that ever were, and the furthest checkpoint.
	top, terms, begun, furthest int8
}

// What a member row is like.
const (
	mUnborn = iota
	mIn
	mFenced
	mGone
)

// mWorker is an incarnation: its member row, what its process believes, and what
// it has sent.
type mWorker struct {
	member, version, revision int8
	mistaken                  int8 // what somebody believes of it, without a clause
	still                     int8 // how long ago the last beat that was written had been sent

	on, leaving   int8
	sent, shown   int8 // how long ago
	seen, applied int8

	beat               int8 // 1: sent, 2: written, and the answer is under way
	beatAge, beatGuard int8
	beatRev            int8

	read             int8 // a re-read whose answer is under way
	readRev, readAge int8
	news             int8 // a re-read was made, after which it polls, without a clause

	hands [mShards]mHand
}

// mHand is what an incarnation has of one shard.
type mHand struct {
	phase              int8
	known              int8 // the Counter of the newest row that was seen
	takes, term, moved int8
	drain              int8 // how long ago right.shown was, when the handoff was learned, + 1
	past               int8 // a term that ended, though the row may still show it
	won                int8 // the take was written, and its answer is under way
	// A write under way. It may outlive the hand that sent it.
	msg, base, msgTerm int8
	seen               mRow // what the re-read under way has read; there is 2 for no row
}

// Phases of a hand.
const (
	mNothing = iota
	mTaking  // the take was sent; its outcome is unknown
	mHolding // the callbacks run
)

// Kinds of writes.
const (
	mTake = iota + 1
	mSave
	mFinish
	mRelease
)

// mState is a state of the whole. All of it are bytes: it is compared, and
// hashed, as they lie in memory.
type mState struct {
	split   int8 // whether the stream was resharded
	shards  [mShards]mShard
	workers [mSlots]mWorker
}

// mConfig says who takes part, and what may go wrong.
type mConfig struct {
	joined   int // incarnations that are members at the beginning
	slots    int // incarnations that are remembered at a time; those that are forgotten make room
	alive    int // processes at a time
	shards   int
	touches  bool // bumps tell of what was moved, too, and not only of handoffs
	handoff  int8 // HandoffTimeout, in ticks
	leaderF  int8 // the leaders' own FailoverTime, in ticks; 0 is that of the workers
	leaderH  int8 // the same of HandoffTimeout
	lineage  bool // the second shard is the child of the first, and rows come and go
	lost     bool // answers are lost
	late     bool // answers of beats take their time
	crash    bool // processes die
	leave    bool // workers stop in good order
	saves    bool // holders store checkpoints
	lag      bool // Owned lags
	followUp bool // whoever is forgotten may be another one
	held     bool // at the beginning, one holds each shard
	// without is the clause that is left out.
	without clause
}

func (c *mConfig) handoffTime() time.Duration { return time.Duration(c.handoff) * time.Second }

func (c *mConfig) leaderFailover() time.Duration {
	return time.Duration(cmp.Or(c.leaderF, mF)) * time.Second
}

func (c *mConfig) leaderHandoff() time.Duration {
	return time.Duration(cmp.Or(c.leaderH, c.handoff)) * time.Second
}

func mAgo(age int8) time.Time { return time.Unix(1<<20-int64(age), 0) }

func mAge(t time.Time) int8 { return int8(1<<20 - t.Unix()) }

var mNow = mAgo(0)

// A timer may fire late: by less than the margin.
const mTimerLate = mF * time.Second / 2 / margin

// right returns the account of the worker's right.
func (w *mWorker) right(m *mConfig) right {
	r := newRight(mF*time.Second, m.handoffTime())
	if m.without == noMargin {
		r.failover, r.handoff = mF*time.Second, m.handoffTime()
	}
	r.sent, r.shown = mAgo(w.sent), mAgo(w.shown)
	r.seen, r.applied = int64(w.seen), int64(w.applied)
	return r
}

func (w *mWorker) keep(r right) {
	w.sent, w.shown = mAge(r.sent), mAge(r.shown)
	w.seen, w.applied = int8(r.seen), int8(r.applied)
}

// expires is right.expires, or what is left of it without a clause.
func (w *mWorker) expires(m *mConfig) time.Time {
	r := w.right(m)
	switch {
	case m.without == noSelfFence:
		return mNow.Add(time.Hour)
	case m.without == noUnreadLimit:
		r.applied = r.seen
	}
	return r.expires()
}

// fresh is session.fresh.
func (w *mWorker) fresh(m *mConfig) bool { return w.on != 0 && mNow.Before(w.expires(m)) }

// drainBy returns when the hand's hold must be over, zero for never.
func (w *mWorker) drainBy(m *mConfig, h *mHand) time.Time {
	if h.drain == 0 {
		return time.Time{}
	}
	r := w.right(m)
	r.shown = mAgo(h.drain - 1)
	return r.drainBy()
}

// burn is session.burn: it ends what is over, late by as much as a timer may be.
func (w *mWorker) burn(m *mConfig) {
	if w.on == 0 {
		return
	}
	now := mNow.Add(-mTimerLate)
	over := !now.Before(w.expires(m))
	for i := range w.hands {
		h := &w.hands[i]
		if by := w.drainBy(m, h); h.phase != mNothing && (over || !by.IsZero() && !now.Before(by)) {
			h.vacate(false)
		}
	}
}

// vacate is session.vacate.
func (h *mHand) vacate(lost bool) {
	past := h.term
	if lost || h.moved != 0 {
		past = 0
	}
	*h = mHand{past: past, msg: h.msg, base: h.base, msgTerm: h.msgTerm}
}

// observe is held.observe: it lets the package's grip look at the row.
func (w *mWorker) observe(m *mConfig, h *mHand, row mRow, me int8) {
	if h.phase == mNothing {
		return
	}
	if row.there != 1 {
		h.vacate(true) // deleted
		return
	}
	g := grip{
		row: Lease{Counter: int64(h.known)}, takes: int64(h.takes), term: int64(h.term),
		moved: h.moved != 0, drainBy: w.drainBy(m, h),
	}
	r := w.right(m)
	standing := g.observe(row.lease(), mNames[me], r.drainBy())
	h.known = int8(g.row.Counter)
	if g.moved && m.without != noMoved {
		h.moved = 1
	}
	switch {
	case standing == Lost:
		h.vacate(true)
	case standing == Leaving && (h.drain == 0 || m.without == drainExtended):
		h.drain = w.shown + 1
	}
}
