package lease

import "slices"

// model makes the states that can follow one another.
type model struct {
	mConfig
	next   []mNext
	synced map[mSyncKey]int8 // what Sync has said
}

func newModel(c mConfig) *model { return &model{mConfig: c, synced: map[mSyncKey]int8{}} }

// mNext is a state that can follow, and how.
type mNext struct {
	state  mState
	step   mStep
	broken string // what was promised, and is not so
}

// mStep is what somebody does: an incarnation, or a leader; to a shard.
type mStep struct {
	what       mWhat
	who, shard int8
}

// do adds a state that can follow s.
func (m *model) do(s *mState, what mWhat, who, shard int, change func(n *mState) (broken string)) {
	m.next = append(m.next, mNext{state: *s, step: mStep{what, int8(who), int8(shard)}})
	n := &m.next[len(m.next)-1]
	n.broken = change(&n.state)
}

// successors fills next.
func (m *model) successors(s *mState) {
	m.next = m.next[:0]
	if m.without == beatCreates && slices.ContainsFunc(s.workers[:], func(w mWorker) bool { return w.version > 3 }) {
		return // here, Versions count; what is looked for is near
	}
	if !m.lineage && m.processed(s) {
		return
	}
	m.ticks(s)
	if m.lineage && s.split == 0 {
		m.do(s, streamSplits, 0, 0, func(n *mState) string { n.split = 1; return "" })
	}
	if m.lag {
		m.index(s)
	}
	for i := range m.slots {
		m.process(s, i)
		m.beats(s, i)
		m.rereads(s, i)
		for k := range m.shards {
			m.messages(s, i, k)
			m.hand(s, i, k)
		}
	}
	m.leads(s)
}

// processed reports whether all shards have come to their end.
func (m *model) processed(s *mState) bool {
	for k := range m.shards {
		if s.shards[k].furthest != mEnd {
			return false
		}
	}
	return true
}

// ticks lets time pass. A beat may be under way meanwhile: those of each set of
// workers. Others are sent and written at one moment, since nobody can tell at
// which moment of a tick a beat was sent.
func (m *model) ticks(s *mState) {
	may := 0
	for i := range m.slots {
		if w := &s.workers[i]; w.on != 0 && w.beat == 0 {
			may |= 1 << i
		}
	}
	for some := may; ; some = (some - 1) & may {
		m.do(s, timePasses, some, 0, func(n *mState) string {
			for i := range m.slots {
				if w := &n.workers[i]; some>>i&1 != 0 {
					w.beat, w.beatAge, w.beatGuard = 1, 0, w.version
				}
			}
			n.tick(&m.mConfig)
			return ""
		})
		if some == 0 {
			return
		}
	}
}

// tick lets time pass. What is longer ago than anything waits for does not grow
// older.
func (s *mState) tick(m *mConfig) {
	older := func(age *int8, most int8) { *age = min(*age+1, most) }
	for k := range s.shards {
		if sh := &s.shards[k]; sh.told != 0 {
			older(&sh.told, max(m.handoff, m.leaderH)+1)
		}
	}
	for i := range s.workers {
		w := &s.workers[i]
		if w.member == mIn {
			older(&w.still, max(mF, m.leaderF))
		}
		older(&w.sent, mF)
		older(&w.shown, m.handoff)
		older(&w.beatAge, mF)
		older(&w.readAge, m.handoff)
		for k := range w.hands {
			if h := &w.hands[k]; h.drain != 0 {
				older(&h.drain, m.handoff+1)
			}
		}
		w.burn(m)
	}
}

// index lets what Owned reads from catch up.
func (m *model) index(s *mState) {
	for k := range m.shards {
		if s.shards[k].lag != s.shards[k].row {
			m.do(s, indexCatchesUp, 0, k, func(n *mState) string { n.shards[k].lag = n.shards[k].row; return "" })
		}
	}
}

// process lets incarnations join, leave and crash.
func (m *model) process(s *mState, i int) {
	w := &s.workers[i]
	running := 0
	for j := range s.workers {
		running += int(s.workers[j].on)
	}
	if w.member == mUnborn && w.on == 0 && running < m.alive {
		m.do(s, joins, i+1, 0, func(n *mState) string {
			n.workers[i] = mWorker{member: mIn, version: 1, on: 1}
			if m.without == membersFirst {
				n.workers[i].mistaken = 1 // by who has looked before
			}
			return ""
		})
	}
	if w.on == 0 {
		return
	}
	if m.crash {
		m.do(s, crashes, i+1, 0, func(n *mState) string { n.workers[i].stop(); return "" })
	}
	if m.leave && w.leaving == 0 {
		m.do(s, isToStop, i+1, 0, func(n *mState) string { n.workers[i].leaving = 1; return "" })
	}
	if w.leaving == 0 {
		return
	}
	for k := range w.hands {
		h := &w.hands[k]
		if h.phase == mHolding && m.without != endsHolding || h.phase == mTaking && m.without != endsTaking {
			return
		}
		if h.phase == mNothing && h.msg != 0 {
			return // a release is tried until it is known what became of it
		}
	}
	m.do(s, endsItsRow, i+1, 0, func(n *mState) string {
		w := &n.workers[i]
		if w.member == mIn {
			w.member = mGone
		}
		if m.without != endsHolding && m.without != endsTaking {
			w.stop()
		}
		return ""
	})
}

// stop ends the process. What it has sent is still under way.
func (w *mWorker) stop() {
	for k := range w.hands {
		w.hands[k].vacate(false)
	}
	hands := w.hands
	*w = mWorker{
		member: w.member, version: w.version, revision: w.revision, still: w.still, mistaken: w.mistaken,
		beat: w.beat, beatGuard: w.beatGuard, hands: hands,
	}
	if w.beat == 2 {
		w.beat = 0
	}
}

// beats lets a beat be sent, arrive at the store, and be answered.
func (m *model) beats(s *mState, i int) {
	w := &s.workers[i]
	switch w.beat {
	case 0:
		if w.on != 0 && (w.sent > 0 || w.seen != w.revision || w.member != mIn) {
			m.beatArrives(s, i, w.version, 0)
		}
	case 1:
		m.beatArrives(s, i, w.beatGuard, w.beatAge)
	case 2:
		m.do(s, beatAnswered, i+1, 0, func(n *mState) string { n.workers[i].beaten(&m.mConfig); return "" })
		if m.lost {
			m.do(s, answerLost, i+1, 0, func(n *mState) string { n.workers[i].beat = 0; return "" })
		}
	}
}

func (m *model) beatArrives(s *mState, i int, guard, age int8) {
	w := &s.workers[i]
	fits := w.member == mIn && w.version == guard
	if w.member == mFenced && m.without == beatOverFence {
		fits = true
	}
	write := func(n *mState, w *mWorker) {
		if w.member == mGone { // beatCreates: the row comes back as the beat has it
			w.member, w.version = mIn, guard
		}
		w.version++
		w.still = age // by the clock of who sent it, as an observer reckons
		w.beat, w.beatAge, w.beatRev = 2, age, w.revision
	}
	switch {
	case w.on == 0:
		m.do(s, beatArrives, i+1, 0, func(n *mState) string {
			if w := &n.workers[i]; fits {
				write(n, w)
			}
			n.workers[i].beat = 0
			return ""
		})
	case fits || w.member == mGone && m.without == beatCreates:
		m.do(s, beatArrives, i+1, 0, func(n *mState) string {
			w := &n.workers[i]
			write(n, w)
			if !m.late {
				w.beaten(&m.mConfig)
			}
			return ""
		})
	case w.member == mGone && m.without == beatOverAbsence:
		m.do(s, beatArrives, i+1, 0, func(n *mState) string {
			w := &n.workers[i]
			w.beatRev, w.beatAge = w.seen, age
			w.beaten(&m.mConfig)
			return ""
		})
	case w.member == mIn: // it was bumped, or an answer was lost: another one follows
		m.do(s, beatConflicts, i+1, 0, func(n *mState) string { n.workers[i].beat = 0; return "" })
	default:
		m.do(s, learnsItIsOut, i+1, 0, func(n *mState) string {
			n.workers[i].beat = 0
			n.workers[i].stop()
			return ""
		})
	}
	if m.lost && w.on != 0 {
		m.do(s, answerLost, i+1, 0, func(n *mState) string {
			w := &n.workers[i]
			if fits {
				write(n, w)
			}
			w.beat = 0
			if m.without == beatTakenForAnswered {
				w.beatAge, w.beatRev = age, w.seen
				w.beaten(&m.mConfig)
			}
			return ""
		})
	}
}

// beaten is session.beaten.
func (w *mWorker) beaten(m *mConfig) {
	sent := w.beatAge
	if m.without == beatFromAnswer {
		sent = 0
	}
	r := w.right(m)
	r.beaten(mAgo(sent), int64(w.beatRev))
	w.keep(r)
	w.beat, w.beatAge, w.beatGuard, w.beatRev = 0, 0, 0, 0
}

// rereads is session.reread, in two steps: reading, and making something of it.
func (m *model) rereads(s *mState, i int) {
	w := &s.workers[i]
	if w.on == 0 {
		return
	}
	if r := w.right(&m.mConfig); w.read == 0 && r.stale() {
		m.do(s, rereads, i+1, 0, func(n *mState) string {
			w := &n.workers[i]
			reading := r.read()
			w.read, w.readRev, w.readAge = 1, int8(reading.revision), mAge(reading.shown)
			for k := range m.shards {
				h := &w.hands[k]
				if h.phase == mNothing || h.phase == mTaking && m.without == noPendingReread {
					continue
				}
				h.seen = n.shards[k].row.seenBy(int8(i + 1))
			}
			return ""
		})
	}
	if w.read == 0 {
		return
	}
	m.do(s, appliesReread, i+1, 0, func(n *mState) string {
		w := &n.workers[i]
		for k := range m.shards {
			h := &w.hands[k]
			if h.seen.there != 0 {
				row := h.seen
				h.seen = mRow{}
				row.term = max(h.term, h.takes) // as it was, if it says that this term goes on
				w.observe(&m.mConfig, h, row, mMe)
			}
		}
		r := w.right(&m.mConfig)
		reading := reading{int64(w.readRev), mAgo(w.readAge)}
		if m.without == appliesLate {
			reading = r.read()
		}
		r.apply(reading)
		w.keep(r)
		w.read, w.readRev, w.readAge, w.news = 0, 0, 0, 1
		return ""
	})
	if m.lost {
		m.do(s, answerLost, i+1, 0, func(n *mState) string {
			w := &n.workers[i]
			w.read, w.readRev, w.readAge = 0, 0, 0
			for k := range w.hands {
				w.hands[k].seen = mRow{}
			}
			return ""
		})
	}
}

// seenBy returns the row as one incarnation sees it: itself, others, nobody.
func (r mRow) seenBy(me int8) mRow {
	if r.there == 0 {
		return mRow{there: 2}
	}
	for _, who := range []*int8{&r.owner, &r.co} {
		switch *who {
		case 0:
		case me:
			*who = mMe
		default:
			*who = mOther
		}
	}
	return r
}

// messages lets a write that was sent arrive at the store.
func (m *model) messages(s *mState, i, k int) {
	h, row := &s.workers[i].hands[k], &s.shards[k].row
	if h.msg == 0 || row.there == 0 || h.base != row.counter && m.without != noGuard {
		return
	}
	m.do(s, writeArrives, i+1, k, func(n *mState) string {
		h, sh := &n.workers[i].hands[k], &n.shards[k]
		msg, term := h.msg, h.msgTerm
		h.msg, h.base, h.msgTerm = 0, 0, 0
		old := sh.row.lease()
		next, broken := old, ""
		switch msg {
		case mTake:
			next = Taken(old, mNames[i+1])
			if h.phase == mTaking && int64(h.takes) == next.Term {
				h.won = 1
			}
			broken = n.mayBeTaken(k, int8(next.Term))
		case mRelease:
			h.past = 0
			next = Released(old, mNames[i+1])
			if m.without == termKept {
				next.Term = old.Term
			}
		case mSave, mFinish:
			if StandingOf(old, mNames[i+1], int64(term)) == Lost {
				broken = "a former holder's checkpoint is stored"
			}
			if msg == mSave {
				state := old.Checkpoint
				state.Position = mPositions[mSome]
				var err error
				if next, err = Checkpointed(old, state); err != nil {
					return "" // it is refused before it is sent
				}
			} else {
				next = Ended(old, mNames[i+1], nil)
			}
		}
		return m.write(n, k, next, broken)
	})
}

// write replaces a row.
func (m *model) write(s *mState, k int, next Lease, broken string) string {
	sh := &s.shards[k]
	was := sh.row
	sh.row.write(next)
	forgets := m.without != forceOther
	if (sh.row.co != was.co && was.co != 0 || sh.row.term != was.term || sh.row.co == 0) && forgets {
		sh.told = 0
	}
	sh.top = max(sh.top, sh.row.counter)
	if sh.row.at < was.at && broken == "" {
		broken = "a checkpoint goes back"
	}
	sh.furthest = max(sh.furthest, sh.row.at)
	return broken
}

// mayBeTaken tells what is wrong with a take, and takes note of its term.
func (s *mState) mayBeTaken(k int, term int8) string {
	sh := &s.shards[k]
	last := sh.terms
	sh.terms = term
	switch {
	case term <= last:
		return "a term does not grow"
	case sh.furthest == mEnd:
		return "a shard that is finished is taken again"
	}
	return ""
}

// hand lets an incarnation deal with one shard.
func (m *model) hand(s *mState, i, k int) {
	w, row := &s.workers[i], &s.shards[k].row
	if w.on == 0 {
		return
	}
	me := int8(i + 1)
	switch h := &w.hands[k]; h.phase {
	case mNothing:
		if h.msg == 0 {
			m.reachFor(s, i, k, *row)
			if lag := s.shards[k].lag; m.lag && lag != *row {
				m.reachFor(s, i, k, lag)
			}
		}
		if h.msg == 0 && row.there == 1 && row.at != mEnd && (row.co == me || w.leaving != 0 && row.owner == me && row.co == 0) {
			m.do(s, letsGo, i+1, k, func(n *mState) string {
				return m.write(n, k, Released(n.shards[k].row.lease(), mNames[me]), "")
			})
		}
	case mTaking:
		m.taking(s, i, k)
	case mHolding:
		m.holding(s, i, k)
	}
}

// reachFor is session.occupy and the sending of the take.
func (m *model) reachFor(s *mState, i, k int, row mRow) {
	w := &s.workers[i]
	me, h := int8(i+1), &w.hands[k]
	mine := row.owner == me && (m.without != noPolling || w.news != 0)
	adopts := m.lineage && k == 1 && row.owner == 0 && s.shards[0].row.there == 1 && s.shards[0].row.at == mEnd
	if row.there != 1 || row.at == mEnd || !mine && !adopts || row.co != 0 && m.without != takesEarly ||
		w.leaving != 0 || !w.fresh(&m.mConfig) || row.counter < h.past && m.without != noPast {
		return
	}
	if m.lineage && k == 1 && m.without != childEarly && s.shards[0].row.there == 1 && s.shards[0].row.at != mEnd && row.at == mBegin {
		return // it waits for its parent
	}
	m.do(s, reachesFor, i+1, k, func(n *mState) string {
		n.workers[i].news = 0
		h := &n.workers[i].hands[k]
		*h = mHand{phase: mTaking, known: row.counter, takes: row.counter + 1, msg: mTake, base: row.counter}
		if m.lineage && k == 1 && n.shards[0].furthest != mEnd {
			return "a child is begun before its parent has ended"
		}
		return ""
	})
}

// taking lets a take be answered, or read back, and begins the term.
func (m *model) taking(s *mState, i, k int) {
	row := s.shards[k].row
	me, h := int8(i+1), &s.workers[i].hands[k]
	begins := func(n *mState) string {
		w := &n.workers[i]
		h := &w.hands[k]
		leaving := w.leaving != 0 && m.without != endsTaking
		if h.moved == 0 && !leaving && w.fresh(&m.mConfig) {
			h.phase, h.term, h.takes, h.won = mHolding, h.takes, 0, 0
			sh := &n.shards[k]
			before := sh.begun
			if sh.begun = h.term; m.lag && h.term <= before {
				return "a term is begun twice"
			}
			return n.twoHold(k)
		}
		h.vacate(true)
		h.msg, h.base = mRelease, n.shards[k].row.counter
		return ""
	}
	if h.won != 0 {
		m.do(s, takeAnswered, i+1, k, func(n *mState) string {
			if h := &n.workers[i].hands[k]; m.lag || m.lineage { // else its Counter is one of four
				h.known = max(h.known, h.takes)
			}
			return begins(n)
		})
	}
	// Its answer was lost, or it was a conflict.
	if row.there != 1 || row.counter != h.takes-1 {
		m.do(s, takeReadBack, i+1, k, func(n *mState) string {
			w := &n.workers[i]
			h := &w.hands[k]
			if row.there != 1 || StandingOf(row.lease(), mNames[me], int64(h.takes)) == Lost {
				h.vacate(true)
				return ""
			}
			w.observe(&m.mConfig, h, row, me)
			return begins(n)
		})
	}
	m.learns(s, i, k)
}

// learns lets the hand see the row as it is.
func (m *model) learns(s *mState, i, k int) {
	row, h := &s.shards[k].row, &s.workers[i].hands[k]
	if row.there == 1 && row.counter <= h.known && (m.without != drainExtended || h.drain == 0) {
		return
	}
	m.do(s, learns, i+1, k, func(n *mState) string {
		w := &n.workers[i]
		h := &w.hands[k]
		if m.without == drainExtended && h.drain != 0 && n.shards[k].row.there == 1 {
			h.drain = w.shown + 1
		}
		w.observe(&m.mConfig, h, n.shards[k].row, int8(i+1))
		return ""
	})
}

// holding lets the holder store, end and let go. Its callbacks have returned when
// it lets go.
func (m *model) holding(s *mState, i, k int) {
	w, row := &s.workers[i], &s.shards[k].row
	h := &w.hands[k]
	m.learns(s, i, k)
	if h.msg != 0 || h.known != row.counter {
		return // it waits for what it has sent, or would be told of a conflict
	}
	send := func(what mWhat, msg int8) {
		m.do(s, what, i+1, k, func(n *mState) string {
			h := &n.workers[i].hands[k]
			h.msg, h.base, h.msgTerm = msg, h.known, h.term
			if msg == mRelease && m.without != releaseTakenForLost {
				past, base, term := h.term, h.known, h.term
				*h = mHand{past: past, msg: mRelease, base: base, msgTerm: term}
			}
			return ""
		})
	}
	may := w.fresh(&m.mConfig)
	if m.saves && may && row.at == mBegin {
		send(saves, mSave)
	}
	if may && (!m.lineage || k == 1 || s.split != 0) {
		send(finishes, mFinish)
	}
	if h.drain != 0 || w.leaving != 0 {
		send(releases, mRelease)
	}
}

// twoHold reports whether the promise of one holder is broken.
func (s *mState) twoHold(k int) string {
	holders := 0
	for i := range s.workers {
		if s.workers[i].hands[k].phase == mHolding {
			holders++
		}
	}
	if holders > 1 {
		return "two hold one shard"
	}
	return ""
}
