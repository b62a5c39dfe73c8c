package lease

import (
	"hash/maphash"
	"math/rand/v2"
	"testing"
	"time"
)

// The model lets two workers, one lease and a leader act in any order: beats, re-reads and takes whose answers are late or lost, actors
// that are paused between any two steps, leaders that are replaced. What
// decides is the code of the package: the transitions, StandingOf, right. What
// is modelled is what is sent when, and a clock of few ticks.

// mRow is a lease, small and comparable. Workers are 1 and 2, nobody is 0.
type mRow struct{ owner, co, counter, term int8 }

var mNames = [3]string{"", "a", "b"}

func mID(name string) int8 {
	for i, n := range mNames {
		if n == name {
			return int8(i)
		}
	}
	panic(name)
}

func (r mRow) lease() Lease {
	return Lease{Owner: mNames[r.owner], CheckpointOwner: mNames[r.co], Counter: int64(r.counter), Term: int64(r.term)}
}

// wrote returns the row after a swap to next.
func (r mRow) wrote(next Lease) mRow {
	return mRow{mID(next.Owner), mID(next.CheckpointOwner), r.counter + 1, int8(next.Term)}
}

type mMember struct {
	version, beats, revision int8
	fenced                   bool
}

// mWorker is what a worker knows and has under way.
type mWorker struct {
	sent, seen, applied, shown int8
	out                        bool

	active, drainBy int8 // the term held, and when it must be over (0: not asked)

	beat                         int8 // 1 sent, 2 written
	beatSent, beatGuard, beatRev int8
	version                      int8 // of the member row, as last known

	read               int8 // 1 begun, 2 read
	readRev, readShown int8
	take               int8 // 1 sent, 2 went through
	base               mRow
	moved              bool
	known              int8 // the greatest Counter of the row that was looked at
}

func mTime(t int8) time.Time { return time.Unix(int64(t), 0) }

func mTick(t time.Time) int8 { return int8(t.Unix()) }

const (
	mF, mH  = 2, 3
	mTicks  = 8
	mWrites = 7 // of the lease
	mBumps  = 2 // of a member
)

func (w *mWorker) right() *right {
	r := newRight(mF*time.Second, mH*time.Second)
	r.sent, r.shown = mTime(w.sent), mTime(w.shown)
	r.seen, r.applied = int64(w.seen), int64(w.applied)
	return &r
}

func (w *mWorker) keep(r *right) {
	w.sent, w.shown = mTick(r.sent), mTick(r.shown)
	w.seen, w.applied = int8(r.seen), int8(r.applied)
}

type mLeader struct {
	rowRead, membersRead bool
	row                  mRow
	members              [3]mMember
	at                   int8 // of the reading of the members
	known                [3]bool
	beats, since         [3]int8
	announced            bool // a bump of its own was acknowledged for
	annTerm, annCO       int8 // this handoff
	annAt                int8 // at this time
}

type mState struct {
	now     int8
	row     mRow
	members [3]mMember
	workers [3]mWorker
	leader  mLeader
}

// mRules switches single rules off.
type mRules struct {
	forceEarly, immortal, unanswered bool
}

func (s *mState) fresh(i int, m mRules) bool {
	w := &s.workers[i]
	return !w.out && (m.immortal || mTime(s.now).Before(w.right().expires()))
}

// observe is what held.observe does.
func (s *mState) observe(i int) {
	w := &s.workers[i]
	if s.row.counter <= w.known {
		return
	}
	w.known = s.row.counter
	if w.take != 0 {
		w.moved = w.moved || StandingOf(s.row.lease(), mNames[i], int64(w.base.counter+1)) != Held
	}
	if w.active != 0 {
		switch StandingOf(s.row.lease(), mNames[i], int64(w.active)) {
		case Leaving:
			if w.drainBy == 0 {
				// Up to the next tick: deadlines lie between ticks.
				w.drainBy = mTick(w.right().drainBy()) + 1
			}
		case Lost:
			w.active, w.drainBy = 0, 0
		}
	}
}

// next calls f with every state that can follow.
func (s mState) next(m mRules, f func(mState)) {
	if s.now < mTicks {
		n := s
		n.now++
		for i := 1; i <= 2; i++ {
			w := &n.workers[i]
			if w.active != 0 && (!n.fresh(i, m) || w.drainBy != 0 && w.drainBy <= n.now) {
				w.active, w.drainBy = 0, 0 // the fuse
			}
		}
		f(n)
	}
	for i := 1; i <= 2; i++ {
		s.worker(i, m, f)
	}
	s.lead(m, f)
}

func (s mState) worker(i int, m mRules, f func(mState)) {
	w := s.workers[i]
	if w.out {
		return
	}
	do := func(change func(n *mState, w *mWorker)) {
		n := s
		change(&n, &n.workers[i])
		f(n)
	}
	switch w.beat {
	case 0:
		if w.sent < s.now {
			do(func(n *mState, w *mWorker) { w.beat, w.beatSent, w.beatGuard = 1, n.now, w.version })
		}
	case 1:
		do(func(n *mState, w *mWorker) {
			row := &n.members[i]
			switch {
			case row.version == w.beatGuard && !row.fenced:
				row.version++
				row.beats++
				w.beat, w.beatRev = 2, row.revision
			case row.fenced:
				w.out, w.active, w.drainBy = true, 0, 0
			default:
				w.beat, w.version = 0, row.version
			}
		})
	case 2:
		do(func(n *mState, w *mWorker) {
			r := w.right()
			r.beaten(mTime(w.beatSent), int64(w.beatRev))
			w.keep(r)
			w.beat, w.version = 0, w.beatGuard+1
		})
		do(func(n *mState, w *mWorker) { // the answer is lost
			w.beat = 0
			if m.unanswered {
				r := w.right()
				r.beaten(mTime(n.now), int64(w.seen))
				w.keep(r)
			}
		})
	}
	switch w.read {
	case 0:
		if r := w.right(); r.stale() {
			reading := r.read()
			do(func(n *mState, w *mWorker) {
				w.read, w.readRev, w.readShown = 1, int8(reading.revision), mTick(reading.shown)
			})
		}
	case 1:
		do(func(n *mState, w *mWorker) { n.observe(i); w.read = 2 })
	case 2:
		do(func(n *mState, w *mWorker) {
			r := w.right()
			r.apply(reading{int64(w.readRev), mTime(w.readShown)})
			w.keep(r)
			w.read = 0
		})
	}
	release := func() {
		do(func(n *mState, w *mWorker) {
			w.active, w.drainBy, w.take, w.moved = 0, 0, 0, false
			if next := Released(n.row.lease(), mNames[i]); next.Owner != mNames[n.row.owner] || next.CheckpointOwner != mNames[n.row.co] {
				n.row = n.row.wrote(next)
			}
		})
	}
	switch {
	case w.active != 0:
		if w.drainBy != 0 {
			release()
		}
	case w.take == 0 && s.fresh(i, m):
		if s.row.owner == int8(i) && s.row.co == 0 && s.row.counter < mWrites {
			do(func(n *mState, w *mWorker) { w.take, w.base, w.known, w.moved = 1, n.row, n.row.counter, false })
		}
		if s.row.co == int8(i) {
			release()
		}
	case w.take == 1:
		do(func(n *mState, w *mWorker) {
			if n.row.counter == w.base.counter && n.row.owner == w.base.owner {
				n.row = n.row.wrote(Taken(w.base.lease(), mNames[i]))
				w.take = 2
			} else {
				w.take = 0
			}
		})
	case w.take == 2:
		if w.moved || !s.fresh(i, m) {
			release()
		} else {
			do(func(n *mState, w *mWorker) { w.active, w.take = w.base.counter+1, 0 })
		}
	}
}

func (s mState) lead(m mRules, f func(mState)) {
	l := s.leader
	do := func(change func(n *mState, l *mLeader)) {
		n := s
		change(&n, &n.leader)
		f(n)
	}
	look := func(n *mState, l *mLeader) {
		l.membersRead, l.members, l.at = true, n.members, n.now
		for i := 1; i <= 2; i++ {
			if !l.known[i] || l.beats[i] != n.members[i].beats {
				l.known[i], l.beats[i], l.since[i] = true, n.members[i].beats, n.now
			}
		}
	}
	if l != (mLeader{}) {
		do(func(n *mState, l *mLeader) { *l = mLeader{} }) // another takes over
	}
	switch {
	case !l.rowRead:
		do(func(n *mState, l *mLeader) { l.rowRead, l.membersRead, l.row = true, false, n.row })
		return
	case !l.membersRead:
		do(look)
		return
	}
	do(func(n *mState, l *mLeader) { l.rowRead, l.membersRead = false, false }) // nothing to do
	in := func(i int8) bool { return i != 0 && !l.members[i].fenced }
	for i := 1; i <= 2; i++ {
		if l.at-l.since[i] >= mF && in(int8(i)) {
			do(func(n *mState, l *mLeader) {
				if n.members[i].version == l.members[i].version {
					n.members[i].fenced = true
					n.members[i].version++
					l.members[i] = n.members[i]
				}
			})
		}
	}
	row := l.row.lease()
	swap := func(next Lease) {
		if l.row.counter >= mWrites {
			return
		}
		do(func(n *mState, l *mLeader) {
			if n.row.counter == l.row.counter && n.row.owner == l.row.owner {
				n.row = n.row.wrote(next)
				l.row = n.row
			} else {
				l.rowRead, l.membersRead = false, false
			}
		})
	}
	other := 3 - l.row.owner
	switch {
	case l.row.owner == 0:
		swap(Assigned(row, "a"))
		swap(Assigned(row, "b"))
	case !in(l.row.owner) && in(other):
		swap(Assigned(row, mNames[other]))
	case in(other):
		swap(HandedOff(row, mNames[other]))
	}
	announced := l.announced && l.annTerm == l.row.term && l.annCO == l.row.co
	if l.row.co != 0 {
		due := announced && s.now-l.annAt >= mH
		if !in(l.row.co) || due || m.forceEarly && s.now-l.at >= 1 {
			swap(Forced(row))
		}
	}
	// A bump of whoever is asked to let go; its answer may be lost.
	target := l.row.co
	if target != 0 && in(target) && s.members[target].revision < mBumps && !s.members[target].fenced {
		for _, answered := range []bool{true, false} {
			do(func(n *mState, l *mLeader) {
				n.members[target].revision++
				n.members[target].version++
				l.members[target].version = n.members[target].version
				if answered && !announced {
					l.announced, l.annTerm, l.annCO, l.annAt = true, l.row.term, l.row.co, n.now
				}
			})
		}
	}
}

// twoHolders reports whether the promise is broken: a take may go through only
// when nobody else holds.
func (s *mState) twoHolders() bool {
	for i := 1; i <= 2; i++ {
		w, other := s.workers[i], s.workers[3-i]
		if other.active != 0 && (w.active != 0 || w.take == 2 && s.row.term == w.base.counter+1) {
			return true
		}
	}
	return false
}

// explore takes random walks through the model until one breaks the promise.
// The whole of it has too many states to see them all in a test.
func explore(m mRules, walks int) (walk int, states int, broken *mState) {
	seed := maphash.MakeSeed()
	seen := map[uint64]struct{}{}
	r := rand.New(rand.NewPCG(1, 2))
	first := mState{row: mRow{owner: 1}}
	for i := 1; i <= 2; i++ {
		first.members[i] = mMember{version: 1, beats: 1}
		first.workers[i] = mWorker{version: 1}
	}
	for walk = range walks {
		s := first
		for range 120 {
			var chosen mState
			n := 0
			s.next(m, func(next mState) {
				if n++; r.IntN(n) == 0 {
					chosen = next
				}
			})
			if n == 0 {
				break
			}
			s = chosen
			seen[maphash.Comparable(seed, s)] = struct{}{}
			if s.twoHolders() {
				return walk, len(seen), &s
			}
		}
	}
	return walks, len(seen), nil
}

func TestNoWalkThroughTheModelFindsTwoHolders(t *testing.T) {
	walks := 40_000
	if testing.Short() {
		walks = 5_000
	}
	_, states, broken := explore(mRules{}, walks)
	t.Logf("%d walks, %d states", walks, states)
	if broken != nil {
		t.Errorf("two holders: %+v", *broken)
	}
}

func TestTheModelNoticesARuleThatIsMissing(t *testing.T) {
	if testing.Short() {
		t.Skip("takes many walks")
	}
	for _, test := range []struct {
		name  string
		rules mRules
	}{
		{"immortal", mRules{immortal: true}},
		{"forceEarly", mRules{forceEarly: true}},
		{"unanswered", mRules{unanswered: true}},
	} {
		walk, _, broken := explore(test.rules, 40_000)
		if broken == nil {
			t.Errorf("%s: no violation in %d walks", test.name, walk)
		} else {
			t.Logf("%s: two holders in walk %d", test.name, walk)
		}
	}
}
