package lease

import (
	"time"

	"github.com/millrace/millrace/stream"
)

// leads lets any number of leaders act, each of whom may have been stopped at
// any step, and be replaced at any time. What they know need not be remembered:
//
//   - Somebody may know just when the last beat of a member was sent. So it can be
//     fenced as soon as that is long enough ago; and a fence that is late fails,
//     if it has beaten meanwhile.
//   - That a member is out is true for ever. Who does not know it yet hands off
//     where he could assign, to it as well.
//   - A swap of a row that was seen long ago fails, unless the row is as it was.
//   - A handoff may be forced by the first leader whose own bump was
//     acknowledged; others have to wait for longer.
//
// So everything that leaders of whom each is followed by himself can do is among
// what happens here.
func (m *model) leads(s *mState) {
	for i := range m.slots {
		w := &s.workers[i]
		if m.without == fenceUnguarded && w.mistaken != 0 && w.member == mIn {
			m.do(s, fences, 0, i, func(n *mState) string { n.workers[i].member = mFenced; return "" })
		}
		seen := sighting{since: mAgo(w.still), told: mF * time.Second}
		if m.without == failoverNotTold {
			seen.told = 0
		}
		if w.member == mIn && seen.dead(m.leaderFailover()) {
			m.do(s, fences, 0, i, func(n *mState) string {
				if w := &n.workers[i]; m.without == fenceUnguarded || m.without == noFence || m.without == fenceTakenForDone {
					w.mistaken = 1 // and what follows, follows later
				} else {
					w.member = mFenced
					if w.version++; m.without == beatCreates {
						w.mistaken = w.version // by somebody who will bury this version
					}
				}
				return ""
			})
		}
		if w.member == mFenced || w.member == mIn && m.without == beatCreates && w.mistaken == w.version {
			m.do(s, buries, 0, i, func(n *mState) string { n.workers[i].member = mGone; return "" })
		}
		if w.member == mIn {
			m.bumps(s, i)
		}
	}
	for k := range m.shards {
		if sh := &s.shards[k]; sh.row.there == 1 && sh.row.at != mEnd && (sh.fresh == 0 || m.without == countersFromOne && sh.row.counter == 1) {
			m.moves(s, k)
		}
	}
	if m.lineage {
		m.syncs(s)
	}
}

// syncs lets somebody create and retire rows. Whoever looked long ago, before
// a row was there, creates it however late; the others do what Sync says.
func (m *model) syncs(s *mState) {
	retire := m.retired(s)
	for k := range m.shards {
		sh := &s.shards[k]
		if sh.row.there == 0 && (k == 0 || s.split != 0 && (s.shards[0].row.there == 1 || s.shards[0].furthest == mEnd)) {
			m.do(s, creates, 0, k, func(n *mState) string {
				sh := &n.shards[k]
				sh.row = mRow{there: 1, counter: sh.top + 2} // the clock is ahead of all Counters
				if m.without == countersFromOne {
					sh.row.counter = 1
				}
				sh.top = max(sh.top, sh.row.counter)
				sh.fresh = 1
				if m.without == revenants {
					sh.fresh = 0
				}
				return ""
			})
		}
		if retire>>k&1 != 0 {
			m.do(s, retires, 0, k, func(n *mState) string { n.shards[k].row, n.shards[k].fresh = mRow{}, 0; return "" })
		}
	}
	// Who has created a row looks again before it is given to anybody: what is
	// retired by then is given to nobody.
	for k := range m.shards {
		if s.shards[k].fresh != 0 && retire>>k&1 == 0 {
			m.do(s, looks, 0, k, func(n *mState) string { n.shards[k].fresh = 0; return "" })
		}
	}
}

// dead is watch.dead for who has looked just now.
func (s sighting) dead(patience time.Duration) bool {
	w := newWatch(patience, time.Hour)
	s.asked, s.last = mNow, mNow
	w.last, w.seen[""] = mNow, s
	return w.dead("")
}

// handoffs is what a leader remembers who was the first to announce the handoff.
func (m *model) handoffs(sh *mShard) *handoffs {
	h := newHandoffs(m.leaderHandoff())
	if sh.told != 0 {
		h.announced[handoffOf(sh.row.lease())] = mAgo(sh.told - 1)
	}
	return h
}

// bumps lets somebody bump a member who is asked to let go, or of whose leases
// one was moved.
func (m *model) bumps(s *mState, i int) {
	me := int8(i + 1)
	asked := func(sh *mShard) bool {
		early := m.without == bumpFirst && sh.row.co == 0 && sh.row.owner == me
		return sh.row.there == 1 && sh.row.at != mEnd && (sh.row.co == me || early)
	}
	any := false
	for k := range m.shards {
		any = any || asked(&s.shards[k]) || s.shards[k].row.owner == me && m.touches
	}
	if !any {
		return
	}
	write := func(n *mState) {
		n.workers[i].revision++
		n.workers[i].version++
	}
	m.do(s, bumps, 0, i, func(n *mState) string {
		if m.without != bumpTakenForAnswered {
			write(n)
		}
		for k := range m.shards {
			if sh := &n.shards[k]; asked(sh) && sh.told == 0 {
				sh.told = 1
			}
		}
		return ""
	})
	if m.lost {
		m.do(s, answerLost, 0, i, func(n *mState) string { write(n); return "" })
	}
}

// moves lets somebody move, assign or force a lease.
func (m *model) moves(s *mState, k int) {
	sh := &s.shards[k]
	row, in := sh.row, func(who int8) bool {
		return who != 0 && s.workers[who-1].member == mIn && (s.workers[who-1].mistaken == 0 || m.without == fenceUnguarded || m.without == beatCreates)
	}
	old := row.lease()
	write := func(what mWhat, next Lease) {
		m.do(s, what, 0, k, func(n *mState) string { return m.write(n, k, next, "") })
	}
	if row.co != 0 {
		from := Member{HandoffTimeout: m.handoffTime()}
		if m.without == handoffNotTold {
			from.HandoffTimeout = 0
		}
		due := m.handoffs(sh).due(old, from, mNow)
		switch m.without {
		case forceEarly:
			due = sh.told != 0
		case forceAtOnce:
			due = true
		}
		if !in(row.co) || due {
			write(forces, Forced(old))
		}
	}
	if row.owner != 0 {
		write(handsOff, HandedOff(old, "")) // to nobody, as when the shard is paused
	}
	for to := range m.slots {
		who := int8(to + 1)
		if member := s.workers[to].member; who == row.owner || member != mIn && member != mFenced {
			continue
		}
		if row.owner != 0 {
			next := HandedOff(old, mNames[who])
			if m.without == checkpointOwnerReplaced {
				next.CheckpointOwner = old.Owner
			}
			write(handsOff, next)
		}
		if !in(row.owner) || m.without == stopTakenForEnd && s.workers[row.owner-1].leaving != 0 {
			next := Assigned(old, mNames[who])
			switch m.without {
			case checkpointOwnerDropped:
				next.CheckpointOwner = ""
			case termKept:
				next.Term = old.Term
			}
			if m.without != noPolling {
				write(assigns, next)
				continue
			}
			m.do(s, assigns, 0, k, func(n *mState) string {
				n.workers[to].revision++
				n.workers[to].version++
				return m.write(n, k, next, "")
			})
			write(assignsAndDies, next) // who dies before it bumps
		}
	}
}

var (
	mStream = stream.Identity{Name: "s", Created: time.UnixMilli(1)}
	mParent = stream.Shard{ID: "0", Hash: stream.FullRange}
	mChild  = stream.Shard{ID: "1", Hash: stream.FullRange, Parents: []string{"0"}}
)

// mSyncKey is what Sync can tell states apart by.
type mSyncKey struct {
	rows   [mShards]struct{ there, at, term int8 }
	listed int8
}

// retired asks Sync which rows have done their duty, or came too late: once for
// all that it can be asked.
func (m *model) retired(s *mState) (retire int8) {
	key := mSyncKey{listed: s.split}
	for k := range m.shards {
		r := &s.shards[k].row
		key.rows[k].there, key.rows[k].at, key.rows[k].term = r.there, r.at, min(r.term, 1)
	}
	if known, ok := m.synced[key]; ok {
		return known
	}
	shards := []stream.Shard{mParent}
	if s.split != 0 {
		shards[0].Closed = true
		shards = append(shards, mChild)
	}
	var rows []Lease
	for k, sh := range []stream.Shard{mParent, mChild} {
		if r := &s.shards[k].row; r.there == 1 {
			row := NewLease(mStream.Name, mStream.ID(), sh, mPositions[r.at])
			row.Term = int64(r.term)
			rows = append(rows, row)
		}
	}
	for _, l := range Sync(mStream, shards, rows, stream.TrimHorizon).Retire {
		retire |= 1 << (l.Shard[0] - '0')
	}
	m.synced[key] = retire
	return retire
}
