package lease

import (
	"fmt"
	"strings"
)

// mWhat is a kind of step.
type mWhat int8

const (
	timePasses mWhat = iota
	streamSplits
	indexCatchesUp
	joins
	crashes
	isToStop
	endsItsRow
	beatArrives
	beatConflicts
	beatAnswered
	learnsItIsOut
	rereads
	appliesReread
	writeArrives
	reachesFor
	takeAnswered
	takeReadBack
	learns
	saves
	finishes
	releases
	letsGo
	answerLost
	looks
	fences
	buries
	bumps
	forces
	handsOff
	assigns
	creates
	retires
	assignsAndDies
)

var mWords = [...]string{
	"time passes", "the stream splits", "the index catches up", "joins", "crashes", "is to stop", "ends its member row",
	"beats", "its beat conflicts", "its beat is answered", "learns that it is out",
	"re-reads", "applies what it re-read", "its write arrives", "sends a take", "its take is answered: holds",
	"reads its take back", "sees the row", "sends a checkpoint", "sends the end", "lets go", "lets go what it never held",
	"an answer is lost", "leader looks again", "leader fences", "leader buries", "leader bumps",
	"leader forces", "leader hands off", "leader assigns", "leader creates", "leader retires", "leader assigns, and is over",
}

// search visits every state that can be reached, nearest first.
type search struct {
	*model
	visited table
	parents []uint32 // of each state, by its number
	queue   queue    // those that are still to be gone on from
	first   uint32   // the number of the first of them
	deepest int
	stuck   *liveness // whether everything can still be processed, nil not to ask
}

// found is what a search has found.
type found struct {
	states   int
	steps    int    // of the furthest state, or to the broken one
	complete bool   // every state was visited
	asked    int    // of how many it was asked whether everything can still be processed
	broken   string // what was promised, and is not so
	trace    []string
}

// explore visits at most that many states.
func explore(c mConfig, most int, live bool) found {
	m := newModel(c)
	x := &search{model: m, visited: newTable(1 << 16)}
	if live {
		x.stuck = newLiveness(c)
	}
	start := c.start()
	m.canon(&start)
	x.add(&start, 0)
	level := uint32(1)
	for s, ok := x.queue.take(); ok; s, ok = x.queue.take() {
		if len(x.parents) >= most {
			return x.result(false)
		}
		if x.first == level {
			level = uint32(len(x.parents))
			x.deepest++
		}
		at := x.first
		x.first++
		if x.stuck != nil && x.stuck.asks(&s, at) && x.stuck.from(&s) {
			return x.fault(at, &start, nil, "a stuck state: not everything will be processed")
		}
		m.successors(&s)
		for i := range m.next {
			n := &m.next[i]
			if n.broken != "" {
				last := *n // successors are about to be overwritten
				return x.fault(at, &start, &last, n.broken)
			}
			m.canon(&n.state)
			x.add(&n.state, at)
		}
	}
	return x.result(true)
}

func (x *search) result(complete bool) found {
	f := found{states: len(x.parents), steps: x.deepest, complete: complete}
	if x.stuck != nil {
		f.asked = x.stuck.asked
	}
	return f
}

// start is the first state.
func (c mConfig) start() mState {
	var s mState
	for i := range c.joined {
		s.workers[i] = mWorker{member: mIn, version: 1, on: 1}
	}
	for k := range c.shards {
		if k == 0 || !c.lineage {
			s.shards[k].row = mRow{there: 1, counter: 2}
			s.shards[k].top = 2
		}
		if c.held && s.shards[k].row.there != 0 {
			s.shards[k].row = mRow{there: 1, owner: 1, counter: 4, term: 4}
			s.shards[k].top, s.shards[k].terms, s.shards[k].begun = 4, 4, 4
			s.workers[0].hands[k] = mHand{phase: mHolding, known: 4, term: 4}
		}
		if s.shards[k].lag = s.shards[k].row; c.held {
			s.shards[k].lag = mRow{there: 1, owner: 1, counter: 3}
		}
	}
	return s
}

// add takes note of a state, unless it is known.
func (x *search) add(s *mState, parent uint32) {
	if x.visited.add(hash(s), uint32(len(x.parents))) {
		x.parents = append(x.parents, parent)
		x.queue.add(s)
	}
}

// fault tells of what is broken, and how it came to that: by going there again.
func (x *search) fault(at uint32, start *mState, last *mNext, broken string) found {
	var path []uint32
	for n := at; n != 0; n = x.parents[n] {
		path = append(path, n)
	}
	f := found{states: len(x.parents), broken: broken}
	names := [mSlots]string{"a", "b", "c", "d"}
	say := func(step mStep) {
		if step.what == timePasses && len(f.trace) > 0 && strings.HasPrefix(f.trace[len(f.trace)-1], mWords[timePasses]) {
			f.trace[len(f.trace)-1] += ", again"
			return
		}
		f.trace = append(f.trace, step.say(names, x.mConfig))
	}
	s := *start
	for i := len(path) - 1; i >= 0; i-- {
		x.successors(&s)
		for j := range x.next {
			n := &x.next[j]
			places := x.canon(&n.state)
			if number, _ := x.visited.find(hash(&n.state)); number == path[i] {
				say(n.step)
				was := names
				for to, from := range places {
					names[to] = was[from]
				}
				if n.step.what == joins {
					for to, from := range places {
						if from == n.step.who-1 {
							names[to] += "'"
						}
					}
				}
				s = n.state
				break
			}
		}
	}
	f.steps = len(path)
	if last != nil {
		say(last.step)
		f.steps++
	}
	return f
}

func (p mStep) say(names [mSlots]string, c mConfig) string {
	text := mWords[p.what]
	switch {
	case p.what == timePasses || p.what == streamSplits || p.what == indexCatchesUp:
		return text
	case p.what == fences || p.what == buries || p.what == bumps:
		return fmt.Sprintf("%s %s", text, names[p.shard])
	case p.what == looks:
		return text
	case p.what >= forces || p.what == answerLost:
		return fmt.Sprintf("%s (%d)", text, p.shard)
	}
	text = names[p.who-1] + " " + text
	if c.shards > 1 {
		text += fmt.Sprintf(" (%d)", p.shard)
	}
	return text
}

// queue holds states in the order in which they came, and no room of those that
// were taken.
type queue struct{ chunks [][]mState }

func (q *queue) add(s *mState) {
	const chunk = 4096
	if n := len(q.chunks); n == 0 || len(q.chunks[n-1]) == cap(q.chunks[n-1]) {
		q.chunks = append(q.chunks, make([]mState, 0, chunk))
	}
	last := &q.chunks[len(q.chunks)-1]
	*last = append(*last, *s)
}

func (q *queue) take() (s mState, ok bool) {
	if len(q.chunks) == 0 || len(q.chunks[0]) == 0 {
		return s, false
	}
	s = q.chunks[0][0]
	q.chunks[0] = q.chunks[0][1:]
	if len(q.chunks[0]) == 0 {
		q.chunks = q.chunks[1:]
	}
	return s, true
}

// table is the set of states that were seen, and their numbers.
type table struct {
	prints  []print
	numbers []uint32
	n       int
}

func newTable(size int) table {
	return table{prints: make([]print, size), numbers: make([]uint32, size)}
}

// slot returns where a print is, or belongs.
func (t *table) slot(p print) int {
	i := int(p.lo) & (len(t.prints) - 1)
	for t.prints[i] != (print{}) && t.prints[i] != p {
		i = (i + 1) & (len(t.prints) - 1)
	}
	return i
}

func (t *table) find(p print) (number uint32, ok bool) {
	i := t.slot(p)
	return t.numbers[i], t.prints[i] == p
}

// add reports whether the print is new.
func (t *table) add(p print, number uint32) bool {
	i := t.slot(p)
	if t.prints[i] == p {
		return false
	}
	t.prints[i], t.numbers[i] = p, number
	if t.n++; t.n > len(t.prints)/4*3 {
		t.grow()
	}
	return true
}

func (t *table) grow() {
	old := *t
	*t = newTable(2 * len(old.prints))
	t.n = old.n
	for i, p := range old.prints {
		if p != (print{}) {
			j := t.slot(p)
			t.prints[j], t.numbers[j] = p, old.numbers[i]
		}
	}
}
