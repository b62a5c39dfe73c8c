package lease

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/internal/proof"
)

// clause is a part of a rule of DESIGN.md, section 4, that can be left out of the
// model. The product has no such switches.
type clause int8

const (
	nothing clause = iota
	noSelfFence
	noMargin
	beatFromAnswer
	noFence
	fenceUnguarded
	beatOverFence
	beatOverAbsence
	beatCreates
	membersFirst
	endsHolding
	endsTaking
	bumpFirst
	noPendingReread
	appliesLate
	noUnreadLimit
	drainExtended
	forceEarly
	forceAtOnce
	forceOther
	checkpointOwnerDropped
	checkpointOwnerReplaced
	takesEarly
	beatTakenForAnswered
	releaseTakenForLost
	bumpTakenForAnswered
	fenceTakenForDone
	noMoved
	noPolling
	noPast
	termKept
	countersFromOne
	childEarly
	revenants
	noGuard
	stopTakenForEnd
	failoverNotTold
	handoffNotTold
)

// handing is two workers, and a shard that one of them holds at the beginning.
func handing() mConfig {
	return mConfig{joined: 2, slots: 2, alive: 2, shards: 1, handoff: mF, held: true}
}

func with(change func(*mConfig)) mConfig {
	c := handing()
	change(&c)
	return c
}

var (
	lossy  = with(func(c *mConfig) { c.lost = true })
	slow   = with(func(c *mConfig) { c.late = true })
	parted = with(func(c *mConfig) { c.leave = true })
	three  = with(func(c *mConfig) { c.joined, c.slots, c.alive = 3, 3, 3 })
	lagged = with(func(c *mConfig) { c.lag = true })
	family = with(func(c *mConfig) { c.shards, c.lineage = 2, true })
	hasty  = with(func(c *mConfig) { c.leaderF = mF - 1 })
	curt   = with(func(c *mConfig) { c.handoff, c.leaderH = mF+1, mF })
	alone  = with(func(c *mConfig) { c.joined, c.slots, c.alive, c.shards, c.lineage = 1, 1, 1, 2, true })
)

// leftOut are the clauses, where the model has to fail without them.
var leftOut = []struct {
	rule    string
	says    string // the clause
	instead string // what is done without it
	clause  clause
	in      mConfig
	far     bool // it takes a long search
}{
	{"1", "a worker fences itself first", "it holds on until somebody tells it", noSelfFence, handing(), false},
	{"1", "… a margin before F", "a timer that fires late fires too late", noMargin, handing(), false},
	{"1", "… F after the beat was sent", "after its answer came", beatFromAnswer, slow, true},
	{"2", "fence the member, then move its leases", "its silence is enough", noFence, handing(), false},
	{"2", "whoever fences waits for the F of the row, too", "for his own, which is shorter", failoverNotTold, hasty, false},
	{"2", "guarded by the Version observed", "by none", fenceUnguarded, handing(), true},
	{"2", "a beat on a fenced row fails", "it is written", beatOverFence, handing(), false},
	{"2", "a beat on an absent row fails", "the worker goes on", beatOverAbsence, handing(), true},
	{"2", "… and never creates it", "it does", beatCreates, handing(), true},
	{"2", "members are read after the lease row", "before", membersFirst, with(func(c *mConfig) { c.joined = 1 }), false},
	{"2", "a worker ends its row with nothing held", "it does not look", endsHolding, parted, false},
	{"2", "… and no take pending", "it does not look, nor when the answer comes", endsTaking, parted, true},
	{"3", "after the swap, never before, the bump", "before", bumpFirst, handing(), false},
	{"3", "takes that are pending are re-read", "only what is held", noPendingReread, handing(), true},
	{"3", "what is applied is the Revision seen before the read", "that seen after it", appliesLate, handing(), true},
	{"3", "a Revision not applied ends the right with H", "it does not", noUnreadLimit, handing(), false},
	{"3", "a drain's deadline is never extended", "every look at the row extends it", drainExtended, handing(), false},
	{"4", "force late", "as soon as the bump is acknowledged", forceEarly, handing(), false},
	{"4", "H after its own bump", "no bump is waited for", forceAtOnce, handing(), false},
	{"4", "acknowledged", "a bump that was never written counts", bumpTakenForAnswered, lossy, false},
	{"4", "for this lease, Term and CheckpointOwner", "for this lease", forceOther, handing(), true},
	{"4", "… H, and that of the checkpoint owner's row, too", "the leader's own, which is shorter", handoffNotTold, curt, false},
	{"5", "CheckpointOwner is only ever cleared", "a second move replaces it", checkpointOwnerReplaced, three, false},
	{"5", "… by its incarnation, or when that is fenced or forced", "it goes with an Owner who is fenced", checkpointOwnerDropped, three, true},
	{"5", "what a worker has that stops is handed off, like what anybody has who lives", "it is assigned", stopTakenForEnd, parted, false},
	{"5", "a take waits for CheckpointOwner to be empty", "it does not", takesEarly, handing(), false},
	{"6", "a write without an answer is unknown: a beat", "it counts", beatTakenForAnswered, lossy, false},
	{"6", "… a release", "it is taken for lost", releaseTakenForLost, lossy, false},
	{"6", "… a fence", "it is taken for done", fenceTakenForDone, handing(), false},
	{"6", "a move that was seen overrides the answer to a take", "the answer counts", noMoved, handing(), true},
	{"7", "bumps only speed things up: workers poll", "only when bumped", noPolling, handing(), false},
	{"", "a term that is over is not begun again from a row that lags", "it is not remembered", noPast, lagged, false},
	{"", "a row forgets its Term when it is given up, or to another", "it keeps it", termKept, lagged, false},
	{"", "Counters of new rows are ahead of all former ones", "they begin at one", countersFromOne, alone, true},
	{"", "a child waits for its parents' SHARD_END", "it does not", childEarly, family, false},
	{"", "a row that was created is looked at again before it is given", "it is given at once", revenants, alone, false},
	{"", "a swap is guarded by the Counter", "it is not", noGuard, with(func(c *mConfig) { c.saves = true }), false},
}

// states is how many states one search visits at most: MILLRACE_MODEL_STATES,
// which makes all searches long.
func states(t testing.TB) (most int, long bool) {
	text := os.Getenv("MILLRACE_MODEL_STATES")
	if text == "" {
		return 60_000, false
	}
	most, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("MILLRACE_MODEL_STATES: %v", err)
	}
	return most, true
}

func TestTheModelFailsWithoutAnyOfTheClauses(t *testing.T) {
	_, long := states(t)
	table := make([]string, len(leftOut))
	var tried sync.WaitGroup
	turns := make(chan struct{}, 2)
	noticed := 0
	for i, l := range leftOut {
		if (l.far || testing.Short()) && !long && (l.far || i%6 != 0) {
			continue
		}
		noticed++
		turns <- struct{}{}
		tried.Go(func() {
			defer func() { <-turns }()
			l.in.without = l.clause
			l.in.held = l.in.held && l.clause != noPolling
			f := explore(l.in, 2_000_000, l.clause == noPolling)
			if f.broken == "" {
				t.Errorf("rule %s, %s: %s; nothing is broken in %d states", l.rule, l.says, l.instead, f.states)
				return
			}
			table[i] = fmt.Sprintf("| %s | %s | %s | %s | %d | %d |\n", l.rule, l.says, l.instead, f.broken, f.steps, f.states)
			if long {
				table[i] += fmt.Sprintf("|   | | | %s | | |\n", strings.Join(f.trace, " · "))
			}
		})
	}
	tried.Wait()
	t.Logf("\n| rule | clause | without it | what is broken | steps | states |\n|---|---|---|---|---:|---:|\n%s", strings.Join(table, ""))
	proof.Report(t, "clauses left out of the model", "clauses", noticed, "in which the model fails", noticed)
}

// whole are the models in which nothing may be broken. Time, the number of
// leaders, and the number of their moves and bumps have no bounds in any of them.
var whole = []struct {
	name string
	mConfig
}{
	{"two workers, one shard, answers lost", with(func(c *mConfig) { c.held, c.lost = false, true })},
	{"answers of beats that are late", with(func(c *mConfig) { c.late = true })},
	{"checkpoints under way", with(func(c *mConfig) { c.saves = true })},
	{"workers that stop in good order", with(func(c *mConfig) { c.leave = true })},
	{"two workers of two incarnations, crashes", with(func(c *mConfig) { c.slots, c.crash, c.held = 4, true, false })},
	{"workers that crash and come back for ever", with(func(c *mConfig) { c.slots, c.crash, c.followUp, c.held = 3, true, true, false })},
	{"three workers", with(func(c *mConfig) { c.joined, c.slots, c.alive = 3, 3, 3 })},
	{"three workers, of whom some stop", with(func(c *mConfig) { c.joined, c.slots, c.alive, c.leave = 3, 3, 3, true })},
	{"bumps that tell of all moves", with(func(c *mConfig) { c.touches, c.lost = true, true })},
	{"a longer HandoffTimeout", with(func(c *mConfig) { c.handoff, c.lost = mF+1, true })},
	{"a leader with a shorter FailoverTime and HandoffTimeout", with(func(c *mConfig) { c.handoff, c.leaderF, c.leaderH, c.leave = mF+1, mF-1, mF-1, true })},
	{"a leader with a longer FailoverTime and HandoffTimeout", with(func(c *mConfig) { c.leaderF, c.leaderH, c.leave = mF+1, mF+2, true })},
	{"Owned lags", with(func(c *mConfig) { c.lag, c.held = true, false })},
	{"a parent and its child, rows that come and go", with(func(c *mConfig) { c.shards, c.lineage, c.held = 2, true, false })},
	{"two shards", with(func(c *mConfig) { c.shards = 2 })},
	{"everything at once", mConfig{
		joined: 2, slots: 4, alive: 2, shards: 2, handoff: mF, lineage: true, lost: true, late: true, crash: true,
		leave: true, saves: true, lag: true, followUp: true, touches: true,
	}},
}

func TestNothingIsBrokenInAnyStateOfTheModel(t *testing.T) {
	most, long := states(t)
	for i, w := range whole {
		if !long && (i > 0 && testing.Short() || i%4 != 0 && !w.leave) {
			continue
		}
		t.Run(w.name, func(t *testing.T) {
			began := time.Now()
			f := explore(w.mConfig, most, true)
			if f.broken != "" {
				t.Errorf("%s: %s", f.broken, strings.Join(f.trace, " · "))
			}
			proof.Report(t, "states of the model: "+w.name, "states", f.states, "all there are", f.complete,
				"steps to the furthest", f.steps, "asked whether all is processed in the end", f.asked, "broken or stuck", 0, "seconds", int(time.Since(began).Seconds()))
		})
	}
}

// The model does not know why a leader moves a lease, nor when a worker that stops
// lets go. That it goes on until its leases are handed off is among what it visits.
func TestTheModelHandsOffWhatAWorkerHoldsThatStops(t *testing.T) {
	seen := false
	m := newModel(parted)
	visitor := &search{model: m, visited: newTable(1 << 16)}
	start := m.start()
	m.canon(&start)
	visitor.add(&start, 0)
	for s, ok := visitor.queue.take(); ok && !seen && len(visitor.parents) < 60_000; s, ok = visitor.queue.take() {
		row := &s.shards[0].row
		if row.co != 0 && row.owner != 0 && row.owner != row.co {
			from, to := &s.workers[row.co-1], &s.workers[row.owner-1]
			seen = from.leaving != 0 && from.hands[0].phase == mHolding && from.hands[0].drain != 0 && to.on != 0 && to.leaving == 0
		}
		m.successors(&s)
		for i := range m.next {
			m.canon(&m.next[i].state)
			visitor.add(&m.next[i].state, 0)
		}
	}
	if !seen {
		t.Error("no state in which a worker that stops still holds what it was told is handed off")
	}
}
