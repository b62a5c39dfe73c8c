package lease

// liveness asks of states whether everything will be processed once the faults
// are over: nobody crashes or stops, answers arrive, and one leader makes its
// passes. Nothing that went wrong before is undone.
type liveness struct {
	*model
	good   table // states from which everything is processed
	asked  int
	nobody int // states in which no worker is left, and none can join: there is nothing to ask
}

func newLiveness(c mConfig) *liveness {
	return &liveness{model: newModel(c), good: newTable(1 << 16)}
}

// rounds is how many ticks everything may take: a member has to be taken for
// dead, a handoff to be forced, and then the same again.
const rounds = 40

// asks reports whether to ask of the state with that number: of all among the
// first ones, and of some of the others, since each answer takes many steps.
func (v *liveness) asks(s *mState, number uint32) bool {
	if number >= 20_000 && hash(s).hi%64 != 0 {
		return false
	}
	v.asked++
	return true
}

// from reports whether a state is stuck.
func (v *liveness) from(s *mState) (stuck bool) {
	var way []print
	state := *s
	for range rounds {
		p := hash(&state)
		if _, known := v.good.find(p); known || v.processed(&state) {
			for _, p := range way {
				v.good.add(p, 0)
			}
			return false
		}
		way = append(way, p)
		if !v.round(&state) {
			v.nobody++
			return false
		}
	}
	return true
}

// order is what is done first, when several things can be done. What is not
// named is a fault, or a move for balance.
var order = [...]mWhat{
	beatAnswered, learnsItIsOut, beatConflicts, takeReadBack, takeAnswered, appliesReread, writeArrives,
	indexCatchesUp, endsItsRow, joins, streamSplits, rereads, learns, letsGo, reachesFor, finishes, releases,
	fences, forces, creates, retires, assigns, bumps, looks, beatArrives, timePasses,
}

// urgency are the places in order, from 1.
var urgency = func() (of [len(mWords)]int) {
	for i, what := range order {
		of[what] = i + 1
	}
	return of
}()

// round lets everybody do what there is to do, until time passes. It reports
// whether there is anybody.
func (v *liveness) round(s *mState) bool {
	for range 1000 {
		v.successors(s)
		best := -1
		anybody := false
		for i := range v.next {
			what, who, k := v.next[i].step.what, v.next[i].step.who, v.next[i].step.shard
			anybody = anybody || what == joins || what == beatArrives || what == beatConflicts || what == learnsItIsOut || s.anybody()
			switch {
			case urgency[what] == 0,
				what == timePasses && who != 0, // with beats under way
				what == assigns && !v.next[i].state.assignedWell(k),
				what == creates && s.shards[k].furthest != mBegin,
				what == bumps && !s.isToBeTold(k),
				what == beatArrives && s.workers[who-1].beat == 0 && s.workers[who-1].sent == 0:
				continue
			}
			if best < 0 || urgency[what] < urgency[v.next[best].step.what] {
				best = i
			}
		}
		if !anybody {
			return false
		}
		what := v.next[best].step.what
		*s = v.next[best].state
		v.canon(s)
		if what == timePasses {
			break
		}
	}
	return true
}

// assignedWell reports whether the owner of a lease may take it.
func (s *mState) assignedWell(k int8) bool {
	w := &s.workers[s.shards[k].row.owner-1]
	return w.member == mIn && w.leaving == 0
}

// isToBeTold reports whether that incarnation does not know of a handoff yet.
func (s *mState) isToBeTold(i int8) bool {
	for k := range s.shards {
		if sh := &s.shards[k]; sh.row.co == i+1 && sh.told == 0 {
			return true
		}
	}
	return false
}

func (s *mState) anybody() bool {
	for i := range s.workers {
		if s.workers[i].on != 0 {
			return true
		}
	}
	return false
}
