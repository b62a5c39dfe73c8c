package lease

import (
	"cmp"
	"math/bits"
	"slices"
	"unsafe"
)

// canon replaces a state by the one that stands for all that differ from it only
// in what nobody can tell: the names of incarnations, numbers of
// which only the order matters, and what will never be looked at again. It
// returns which incarnation is where now.
func (m *model) canon(s *mState) (places [mSlots]int8) {
	for k := range m.shards {
		m.tidyShard(s, k)
	}
	for i := range s.workers {
		m.tidyWorker(s, i)
	}
	if m.followUp {
		m.forget(s)
	}
	return m.sortWorkers(s)
}

// tidyShard drops writes that can not take place any more, and makes the
// Counters of a shard small. Which are equal, which follow one another, and
// which come later stays as it was.
func (m *model) tidyShard(s *mState, k int) {
	sh := &s.shards[k]
	if !m.lag {
		sh.lag = mRow{}
	}
	for _, r := range []*mRow{&sh.row, &sh.lag} {
		if r.at == mEnd {
			r.owner = 0 // a note
		}
	}
	if !m.lineage {
		sh.terms, sh.top = min(sh.terms, sh.row.term), sh.row.counter
	}
	switch {
	case m.without == countersFromOne || m.without == noGuard:
		return
	case !m.lag && !m.lineage:
		m.tidyNumbers(s, k)
		return
	}
	var values [64]*int8
	n := 0
	add := func(v *int8) {
		if *v != 0 {
			values[n] = v
			n++
		}
	}
	add(&sh.row.counter)
	add(&sh.row.term)
	add(&sh.top)
	add(&sh.terms)
	add(&sh.begun)
	add(&sh.lag.counter)
	add(&sh.lag.term)
	for i := range s.workers {
		h := &s.workers[i].hands[k]
		if h.msg != 0 && h.base != sh.row.counter && (h.base < sh.row.counter || sh.row.there == 0) {
			h.msg, h.base, h.msgTerm = 0, 0, 0
		}
		if !m.lag || h.past != 0 && h.past < sh.lag.counter {
			h.past = 0
		}
		h.seen.tidy(h)
		if h.msg != 0 && m.without != noGuard {
			h.msgTerm = 0
			if h.msg == mSave || h.msg == mFinish {
				h.msgTerm = sh.row.term
			}
		}
		add(&h.known)
		add(&h.takes)
		add(&h.term)
		add(&h.past)
		add(&h.base)
		add(&h.msgTerm)
		add(&h.seen.counter)
		add(&h.seen.term)
	}
	used := values[:n]
	slices.SortFunc(used, func(a, b *int8) int { return cmp.Compare(*a, *b) })
	last, small := int8(0), int8(0)
	for _, v := range used {
		if *v != last {
			small += min(*v-last, 2)
			last = *v
		}
		*v = small
	}
}

// The numbers of a shard whose row is there for ever, and seen by all as it is:
// its Counter and Term, the Term of a take under way, and one that is over.
const mCounter, mTerm, mComing, mOver = 10, 5, 11, 1

// tidyNumbers makes the Counters of such a shard one of those. A number that is
// not the row's now never will be again.
func (m *model) tidyNumbers(s *mState, k int) {
	sh := &s.shards[k]
	counter, term := sh.row.counter, sh.row.term
	for i := range s.workers {
		h := &s.workers[i].hands[k]
		if h.base != counter {
			h.msg, h.base, h.msgTerm = 0, 0, 0
		}
		if h.msg != 0 {
			h.base, h.msgTerm = mCounter, mTerm
		}
		if h.past = 0; h.phase == mNothing {
			h.seen = mRow{}
			continue
		}
		if h.seen.there == 1 {
			h.seen.tidy(h)
			if h.seen.there == 1 && h.seen.counter == counter {
				h.seen.counter = mCounter
			} else if h.seen.there == 1 {
				h.seen.counter = mOver
			}
			h.seen.term, h.seen.at = 0, 0
		}
		if h.known == counter {
			h.known = mCounter
		} else {
			h.known = 0
		}
		of := func(t *int8) {
			switch {
			case *t == 0:
			case *t == term:
				*t = mTerm
			case *t == counter+1:
				*t = mComing
			default:
				*t = mOver
			}
		}
		of(&h.takes)
		of(&h.term)
	}
	sh.row.counter, sh.top, sh.terms = mCounter, mCounter, 0
	sh.begun = 0
	if term != 0 {
		sh.row.term = mTerm
	}
}

// tidy leaves of a row that was read what it says of the hand's term.
func (r *mRow) tidy(h *mHand) {
	if r.there != 1 {
		return
	}
	if r.counter <= h.known || h.phase == mNothing {
		*r = mRow{}
		return
	}
	switch StandingOf(r.lease(), mNames[mMe], int64(max(h.term, h.takes))) {
	case Held:
		r.owner, r.co = mMe, 0
	case Leaving:
		r.owner, r.co = mOther, mMe
	default:
		r.owner, r.co, r.term, r.at = mOther, 0, 0, 0
	}
}

// tidyWorker drops what an incarnation will never look at, and makes the numbers
// of its member row small: of Versions it matters only which is the present one,
// of Revisions only which are equal.
func (m *model) tidyWorker(s *mState, i int) {
	w := &s.workers[i]
	if w.beat == 1 && (w.member != mIn || w.version != w.beatGuard) && m.without != beatCreates && m.without != beatOverFence && m.without != beatOverAbsence {
		w.beat = 0 // that it arrives makes no difference
	}
	if w.member != mIn {
		w.still = 0
	}
	if m.without != noPolling {
		w.news = 0
	}
	if w.beat == 0 {
		w.beatAge, w.beatGuard, w.beatRev = 0, 0, 0
	}
	if w.on == 0 {
		w.beatAge = 0
	}
	if w.read == 0 {
		w.readAge, w.readRev = 0, 0
	}
	if m.without != beatCreates {
		present := w.version
		small := func(v *int8) {
			if *v == present && present != 0 {
				*v = 1
			} else {
				*v = 0
			}
		}
		if w.member == mGone || w.member == mUnborn {
			present = -1
		}
		small(&w.beatGuard)
		small(&w.version)
	}
	if w.on == 0 {
		w.seen, w.applied, w.revision = 0, 0, 0
	}
	if w.seen == w.applied {
		w.shown = w.sent
	}
	revisions := []*int8{&w.revision, &w.seen, &w.applied, &w.readRev, &w.beatRev}
	if w.beat != 2 {
		revisions = revisions[:4]
	}
	if w.read == 0 {
		revisions = slices.Delete(revisions, 3, 4)
	}
	slices.SortFunc(revisions, func(a, b *int8) int { return cmp.Compare(*a, *b) })
	last, small := *revisions[0], int8(0)
	for _, v := range revisions {
		if *v != last {
			small++
			last = *v
		}
		*v = small
	}
}

// forget makes room of incarnations that are over and that nobody can name.
func (m *model) forget(s *mState) {
	for i := range m.slots {
		w := &s.workers[i]
		if w.member != mGone || w.on != 0 || w.beat != 0 {
			continue
		}
		me, named := int8(i+1), false
		names := func(r mRow) bool { return r.owner == me || r.co == me }
		for k := range m.shards {
			named = named || names(s.shards[k].row) || names(s.shards[k].lag) || w.hands[k].msg != 0
		}
		if named {
			continue
		}
		*w = mWorker{}
	}
}

// face is an incarnation as others see it, and itself.
type face struct {
	self   mWorker
	shards [mShards]int8
}

// sortWorkers puts the incarnations into the order of their faces.
func (m *model) sortWorkers(s *mState) (places [mSlots]int8) {
	var rank [mSlots]uint64
	for i := range m.slots {
		me := int8(i + 1)
		f := face{self: s.workers[i]}
		role := func(r mRow) (as int8) {
			if r.owner == me {
				as |= 1
			}
			if r.co == me {
				as |= 2
			}
			return as
		}
		for k := range m.shards {
			f.shards[k] = role(s.shards[k].row) | role(s.shards[k].lag)<<2
		}
		rank[i] = hash(&f).lo
		places[i] = int8(i)
	}
	for i := m.slots; i < mSlots; i++ {
		places[i] = int8(i)
	}
	order := places[:m.slots]
	slices.SortFunc(order, func(a, b int8) int { return cmp.Compare(rank[a], rank[b]) })
	if slices.IsSorted(order) {
		return places
	}
	was := *s
	var now [mOther + 1]int8 // of a name
	now[mMe], now[mOther] = mMe, mOther
	for to, from := range places {
		now[from+1] = int8(to + 1)
		s.workers[to] = was.workers[from]
	}
	rename := func(r *mRow) { r.owner, r.co = now[r.owner], now[r.co] }
	for k := range s.shards {
		rename(&s.shards[k].row)
		rename(&s.shards[k].lag)
	}
	return places
}

// print is a hash of a state that no other one of a search will have: of a
// billion of them two are the same with a chance of one in 10^21.
type print struct{ hi, lo uint64 }

// hash returns the print of a value that consists of bytes alone.
func hash[T mState | face](v *T) print {
	const a, b, c, d = 0x9e3779b97f4a7c15, 0xbf58476d1ce4e5b9, 0x94d049bb133111eb, 0xd6e8feb86659fd93
	data := unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v))
	x, y := uint64(len(data))*a, uint64(len(data))^c
	for len(data) > 0 {
		var word [16]byte
		n := copy(word[:], data)
		data = data[n:]
		lo := *(*uint64)(unsafe.Pointer(&word[0]))
		hi := *(*uint64)(unsafe.Pointer(&word[8]))
		h1, l1 := bits.Mul64(x^lo^a, y^hi^b)
		h2, l2 := bits.Mul64(x^hi^c, y^lo^d)
		x, y = h1^l1+bits.RotateLeft64(h2, 29), h2^l2+bits.RotateLeft64(l1, 41)
	}
	h, l := bits.Mul64(x^c, y^a)
	return print{h ^ x, l ^ y}
}
