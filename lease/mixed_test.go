package lease

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millrace/millrace/stream"
)

// These tests are about fleets whose workers do not have the same FailoverTime and
// HandoffTimeout, as during a rollout that changes them.

func TestWhoeverWatchesWaitsForTheLongerFailoverTime(t *testing.T) {
	began := time.Unix(1000, 0)
	for _, test := range []struct {
		own, told, dies time.Duration
	}{
		{10 * time.Second, 0, 10 * time.Second}, // an earlier program's row
		{10 * time.Second, 10 * time.Second, 10 * time.Second},
		{10 * time.Second, 60 * time.Second, 60 * time.Second},
		{60 * time.Second, 10 * time.Second, 60 * time.Second},
		{10 * time.Second, -time.Second, 10 * time.Second},
	} {
		member := Member{Incarnation: "a", Worker: "a", Beats: 1, FailoverTime: test.told}
		leader := Member{Incarnation: leaderKey, Worker: "b", Beats: 1, FailoverTime: test.told}
		for _, row := range []Member{member, leader} {
			w := newWatch(test.own, time.Hour)
			look := func(after time.Duration) {
				if at := began.Add(after); row.Incarnation == leaderKey {
					w.observeLeader(at, at, row)
				} else {
					w.observe(at, at, row)
				}
			}
			for _, l := range []struct {
				part  float64 // of the time after which it is dead
				fate  fate
				stale bool
				due   float64 // when the next look is, as such a part
			}{{0, alive, false, 1}, {0.3, alive, false, 1}, {0.4, late, false, 0.5}, {0.5, missing, false, 1}, {0.61, missing, true, 1}, {0.99, missing, true, 1}, {1, dead, true, 0}} {
				after := time.Duration(float64(test.dies) * l.part)
				look(after)
				due := began.Add(time.Duration(float64(test.dies) * l.due))
				if l.due == 0 {
					due = time.Time{}
				}
				if got := w.fate(row.Incarnation); got != l.fate || w.stale(row.Incarnation) != l.stale || w.dead(row.Incarnation) != (l.fate == dead) ||
					!w.due(row.Incarnation == leaderKey).Equal(due) {
					t.Errorf("own %v, told %v: %s after %v: fate %v, stale %v, due %v; want %v, %v, %v",
						test.own, test.told, row.Incarnation, after, got, w.stale(row.Incarnation), w.due(row.Incarnation == leaderKey), l.fate, l.stale, due)
				}
			}
		}
	}
}

func TestAHandoffIsForcedAfterTheLongerHandoffTimeout(t *testing.T) {
	began := time.Unix(1000, 0)
	moving := Lease{Key: "k", Term: 7, Owner: "b", CheckpointOwner: "a"}
	for told, want := range map[time.Duration]time.Duration{0: testH, testH / 2: testH, 3 * testH: 3 * testH, -1: testH} {
		h := newHandoffs(testH)
		h.acknowledged(moving, began)
		from := Member{Incarnation: "a", HandoffTimeout: told}
		if h.due(moving, from, began.Add(want-1)) || !h.due(moving, from, began.Add(want)) {
			t.Errorf("told %v: it is not due %v after it was announced", told, want)
		}
	}
}

// What a row tells is never less than what the worker keeps to.
func TestARowTellsWholeMillisecondsAndNoneTooFew(t *testing.T) {
	for d, want := range map[time.Duration]time.Duration{0: 0, time.Second: time.Second, time.Second + 1: time.Second + time.Millisecond, time.Second - 1: time.Second} {
		if got := tellable(d); got != want {
			t.Errorf("%v is told as %v, want %v", d, got, want)
		}
	}
}

// clocked are workers with times of their own, on one store.
type clocked struct {
	t     *testing.T
	store *Memory
	lost  atomic.Int64 // holds that did not end because they were asked to
	slow  atomic.Int64 // for how long a hold goes on that was asked to let go
}

func (c *clocked) start(name string, failover, handoff time.Duration) (w *Coordinator, stop func()) {
	c.t.Helper()
	w, err := NewCoordinator(Config{
		Worker: name, Store: c.store, Seed: uint64(len(name)), Logger: quiet, FailoverTime: failover, HandoffTimeout: handoff, Drain: handoff,
		Streams: []stream.Stream{listed{name: "s", shards: func() ([]stream.Shard, error) {
			var all []stream.Shard
			for i := range 4 {
				all = append(all, stream.Shard{ID: fmt.Sprint(i), Hash: stream.FullRange})
			}
			return all, nil
		}}},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(c.t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = w.Run(ctx, func(ctx context.Context, h Hold) error {
			select {
			case <-h.Draining():
				select {
				case <-time.After(time.Duration(c.slow.Load())):
					return nil
				case <-ctx.Done():
				}
			case <-ctx.Done():
			}
			c.lost.Add(1)
			return context.Cause(ctx)
		})
	}()
	stop = func() { cancel(); <-ended }
	c.t.Cleanup(stop)
	return w, stop
}

func TestARolloutThatChangesFailoverTimeTakesNothingFromAnybodyWhoLives(t *testing.T) {
	for _, times := range [][2]time.Duration{{testF, 3 * testF}, {testF, 6 * testF}, {testF / 5, testF}, {3 * testF, testF}} {
		t.Run(fmt.Sprint(times[0], " to ", times[1]), in(func(t *testing.T) {
			c := &clocked{t: t, store: NewMemory()}
			handoff := max(times[0], times[1])
			former, _ := c.start("a", times[0], handoff)
			time.Sleep(3 * handoff)
			next, _ := c.start("bb", times[1], handoff)
			for range 100 {
				time.Sleep(handoff / 5)
				if !former.Status().Leading {
					t.Fatal("who leads, and lives, was replaced")
				}
				for _, m := range must(c.store.Members(t.Context()))(t) {
					if m.Fenced {
						t.Fatalf("%s is fenced, and lives", m.Incarnation)
					}
				}
			}
			if c.lost.Load() != 0 || len(former.Status().Leases) != 2 || len(next.Status().Leases) != 2 {
				t.Errorf("%d holds were lost; %d and %d leases are held, want 2 and 2", c.lost.Load(), len(former.Status().Leases), len(next.Status().Leases))
			}
		}))
	}
}

func TestARolloutThatChangesHandoffTimeoutForcesNobodyWhoKeepsToHisOwn(t *testing.T) {
	in(func(t *testing.T) {
		c := &clocked{t: t, store: NewMemory()}
		c.start("a", testF, testF)
		time.Sleep(3 * testF)
		_, stop := c.start("bb", testF, 6*testF)
		time.Sleep(6 * testF)
		c.slow.Store(int64(4 * testF)) // four times as long as the leader has for handoffs
		stop()
		if lost := c.lost.Load(); lost != 0 {
			t.Errorf("%d holds were forced out, which had time left", lost)
		}
		c.slow.Store(0)
	})(t)
}

// An operator that knows nothing of a fleet's FailoverTime finds it in the rows.
func TestAnOperatorFencesNobodyBeforeItsOwnFailoverTimeIsOver(t *testing.T) {
	const long = 6 * testF
	for _, leads := range []bool{false, true} {
		t.Run(fmt.Sprint("a leader's row ", leads), in(func(t *testing.T) {
			store := NewMemory()
			l := leaseOf("1", "a", after(5))
			l.Term = 7
			if err := store.Create(t.Context(), l); err != nil {
				t.Fatal(err)
			}
			member := must(store.SwapMember(t.Context(), Member{}, Member{Incarnation: "a", Worker: "a", Beats: 1, FailoverTime: long}))(t)
			if leads { // it beats no more, and is no leader when its own time is over
				must(store.SwapMember(t.Context(), Member{}, Member{Incarnation: leaderKey, Worker: "a", Beats: 1, FailoverTime: long}))(t)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 4*long)
			defer cancel()
			beating, silence := context.WithTimeout(ctx, 2*long)
			defer silence()
			go func() {
				for wait(beating, long/3, nil) {
					next := member
					next.Beats++
					member, _ = store.SwapMember(ctx, member, next)
				}
			}()
			o := must(NewOperator(store, OperatorConfig{Logger: quiet}))(t)
			began := time.Now()
			_, err := o.Do(ctx, Action{Kind: ActionSeek, To: stream.TrimHorizon})
			if took := time.Since(began); err != nil || took < 2*long+long/2 {
				t.Errorf("it went past a worker whose FailoverTime is %v, and who beat for %v, after %v: %v", long, 2*long, took, err)
			}
		}))
	}
}

func TestTheStatusOfAFleetGivesEachMemberItsOwnFailoverTime(t *testing.T) {
	const long = 6 * testF
	in(func(t *testing.T) {
		c := &clocked{t: t, store: NewMemory()}
		c.start("a", long, long)
		time.Sleep(2 * long)
		if _, err := c.store.SwapMember(t.Context(), Member{}, Member{Incarnation: "x", Worker: "x", Beats: 1, FailoverTime: testF}); err != nil {
			t.Fatal(err)
		}
		var fleet Fleet
		for range 5 {
			began := time.Now()
			var err error
			fleet, err = FleetStatus(t.Context(), c.store, 0)
			if err != nil || fleet.Leader == "" || time.Since(began) > long || fleet.Members[0].State != MemberLive {
				t.Fatalf("leader %q, %v after %v: %v", fleet.Leader, fleet.Members, time.Since(began), err)
			}
			time.Sleep(testF / 3)
		}
		for _, m := range fleet.Members {
			if want := map[string]MemberState{"a": MemberLive, "x": MemberSilent}[m.Member.Worker]; m.State != want {
				t.Errorf("%v; want %s", m, want)
			}
		}
		if i := slices.IndexFunc(fleet.Shards, func(s ShardStatus) bool { return s.State != ShardHeld }); i >= 0 {
			t.Errorf("%v; want it held", fleet.Shards[i])
		}
		// However often one looks, as long as the worker's own time is not over in between.
		for _, every := range []time.Duration{testF / 5, 2 * testF} {
			o := NewObserver(c.store, 0)
			for began := time.Now(); time.Since(began) < 4*long; time.Sleep(every) {
				fleet, err := o.Look(t.Context())
				if err != nil || time.Since(began) > long && (fleet.Leader == "" || fleet.Members[0].State != MemberLive) {
					t.Fatalf("looking each %v: leader %q, %v: %v", every, fleet.Leader, fleet.Members, err)
				}
			}
		}
	})(t)
}

// must returns what a call has returned, unless with an error.
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		return v
	}
}
