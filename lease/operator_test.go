package lease_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/internal/check"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/lease/leasetest"
	"github.com/millrace/millrace/stream"
)

// theatre is a fleet in virtual time with an operator, and a producer that never
// rests.
type theatre struct {
	*sim
	*testing.T
	ops    *lease.Operator
	street context.CancelFunc // ends the producer
}

// stage runs a scene with some workers w0-0, w1-0, … over some shards, and then
// sees that everything put is processed, and that no invariant broke.
func stage(t *testing.T, workers, shards int, scene func(th *theatre)) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(1, shards)
		s.check.Remember()
		s.obliging = true
		ops, err := lease.NewOperator(s.store.AsOperator("operator"), lease.OperatorConfig{
			Actor: "ada", Streams: []stream.Stream{s.stream}, FailoverTime: s.failover, Logger: s.log,
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		th := &theatre{sim: s, T: t, ops: ops, street: cancel}
		produced := make(chan struct{})
		go func() {
			defer close(produced)
			for i := 0; ctx.Err() == nil; i++ {
				shard, n := s.stream.put(i)
				s.check.Put(lease.Key(s.stream.id.ID(), shard), sequence(n))
				select {
				case <-time.After(100 * time.Millisecond):
				case <-ctx.Done():
				}
			}
		}()
		for i := range workers {
			th.start(i)
		}
		if workers > 0 {
			th.calm()
		}
		scene(th)
		cancel()
		<-produced
		if err := s.rest(); err != nil {
			t.Error(err)
		}
		s.mu.Lock()
		procs := slices.Collect(maps.Values(s.procs))
		s.mu.Unlock()
		for _, p := range procs {
			p.stop()
		}
		s.lives.Wait()
		s.check.AtRest()
		if err := s.err(); err != nil {
			t.Error(err)
		}
	})
}

func (th *theatre) start(slot int) *proc {
	return th.sim.start(th.actor("start", slot), slot, 0, leasetest.Faults{Latency: 5 * time.Millisecond})
}

// worker returns the one in a slot.
func (th *theatre) worker(slot int) *proc {
	th.mu.Lock()
	defer th.mu.Unlock()
	return th.procs[slot]
}

// end takes a worker out of the fleet, by a stop or a crash.
func (th *theatre) end(slot int, how func(*proc)) {
	p := th.worker(slot)
	how(p)
	<-p.done
	th.mu.Lock()
	defer th.mu.Unlock()
	delete(th.procs, slot)
}

func (th *theatre) do(a lease.Action) lease.Change {
	th.Helper()
	c, err := th.ops.Do(th.Context(), a)
	if err != nil {
		th.Fatalf("%v: %v", a, err)
	}
	return c
}

func (th *theatre) undo(c lease.Change) lease.Change {
	th.Helper()
	var kept lease.Change // as one would keep it in a file
	text, err := json.Marshal(c)
	if err == nil {
		err = json.Unmarshal(text, &kept)
	}
	if err != nil {
		th.Fatal(err)
	}
	undone, err := th.ops.Undo(th.Context(), kept)
	if err != nil {
		th.Fatalf("undo %v: %v", c.Action, err)
	}
	return undone
}

// calm waits until every shard that may be is held.
func (th *theatre) calm() {
	th.Helper()
	th.until("every shard is held", func() bool {
		return !slices.ContainsFunc(th.look().Shards, func(s lease.ShardStatus) bool {
			return s.State != lease.ShardHeld && s.State != lease.ShardFinished || s.State == lease.ShardHeld && s.Lease.Term == 0
		})
	})
}

func (th *theatre) until(what string, so func() bool) {
	th.Helper()
	for range 400 {
		if so() {
			return
		}
		time.Sleep(th.failover / 20)
	}
	for _, s := range th.look().Shards {
		th.Log(s)
	}
	th.Fatalf("it never came to this: %s", what)
}

// look tells how the fleet stands at this moment.
func (th *theatre) look() lease.Fleet {
	th.Helper()
	fleet, err := lease.NewObserver(th.store.Memory, th.failover).Look(th.Context())
	if err != nil {
		th.Fatal(err)
	}
	if len(fleet.Shards) == 0 {
		fleet.Shards = append(fleet.Shards, lease.ShardStatus{State: lease.ShardFree, Reason: "there are no rows yet"})
	}
	return fleet
}

// held returns how many shards each worker has.
func (th *theatre) held() map[string]int {
	held := map[string]int{}
	for _, s := range th.look().Shards {
		if s.State == lease.ShardHeld {
			held[check.WorkerOf(s.Lease.Owner)]++
		}
	}
	return held
}

// quiet fails the test if anything is delivered in a while.
func (th *theatre) quiet() {
	th.Helper()
	before := th.check.Stats().Deliveries
	time.Sleep(5 * th.failover)
	if now := th.check.Stats().Deliveries; now != before {
		th.Errorf("%d records were delivered while all was paused", now-before)
	}
}

func all(state lease.ShardState) func(lease.Fleet) bool {
	return func(f lease.Fleet) bool {
		return !slices.ContainsFunc(f.Shards, func(s lease.ShardStatus) bool { return s.State != state || s.From != "" })
	}
}

func TestAPauseStopsEverythingCleanlyAndAResumeGoesOn(t *testing.T) {
	stage(t, 3, 6, func(th *theatre) {
		c := th.do(lease.Action{Kind: lease.ActionPause, Reason: "bad deploy"})
		if len(c.Leases) != 6 {
			th.Errorf("%d leases are said to be taken, want 6: %v", len(c.Leases), c.Leases)
		}
		th.until("all are paused", func() bool { return all(lease.ShardPaused)(th.look()) })
		if text := th.look().Shards[0].String(); !strings.Contains(text, "paused by ada since ") || !strings.Contains(text, ": bad deploy") {
			th.Errorf("a paused shard is told of as %q", text)
		}
		th.quiet()
		if stats := th.check.Stats(); stats.Repeats > 0 || stats.Terms != stats.Clean+stats.Cancelled {
			th.Errorf("the pause was not clean: %+v", stats)
		}
		th.do(lease.Action{Kind: lease.ActionResume})
		th.calm()
	})
}

func TestAPauseOutlivesTheLeaderAndNewcomersObeyIt(t *testing.T) {
	stage(t, 2, 4, func(th *theatre) {
		th.do(lease.Action{Kind: lease.ActionPause, Scope: lease.Scope{Stream: "sim"}})
		th.until("all are paused", func() bool { return all(lease.ShardPaused)(th.look()) })
		leader := check.WorkerOf(th.look().Leader)
		slot := int(leader[1] - '0')
		th.end(slot, (*proc).crash)
		th.start(7)
		th.until("somebody else leads", func() bool {
			next := check.WorkerOf(th.look().Leader)
			return next != "" && next != leader
		})
		th.quiet()
		th.do(lease.Action{Kind: lease.ActionResume, Scope: lease.Scope{Stream: "sim"}})
		th.calm()
	})
}

func TestAPausedShardIsHeldByNobodyWhileTheOthersGoOn(t *testing.T) {
	stage(t, 2, 4, func(th *theatre) {
		scope := lease.Scope{Stream: "sim", Shard: "shard-0002"}
		c := th.do(lease.Action{Kind: lease.ActionPause, Scope: scope})
		th.until("it is paused and the others are held", func() bool {
			states := map[lease.ShardState]int{}
			for _, s := range th.look().Shards {
				states[s.State]++
			}
			return states[lease.ShardPaused] == 1 && states[lease.ShardHeld] == 3
		})
		before := th.check.Stats().Deliveries
		time.Sleep(3 * th.failover)
		if th.check.Stats().Deliveries == before {
			th.Error("nothing else goes on")
		}
		if undone := th.undo(c); len(undone.Notes) != 1 {
			th.Errorf("undone: %+v", undone)
		}
		th.calm()
		if undone := th.undo(c); len(undone.Notes) != 0 {
			th.Errorf("undone a second time: %+v", undone)
		}
	})
}

func TestChildrenOfAPausedShardAreNotBegun(t *testing.T) {
	stage(t, 2, 2, func(th *theatre) {
		// The shard ends in the moment in which it is paused.
		th.stream.split(0)
		th.do(lease.Action{Kind: lease.ActionPause, Scope: lease.Scope{Stream: "sim", Shard: "shard-0000"}})
		th.until("its children are paused", func() bool {
			paused := 0
			for _, s := range th.look().Shards {
				if s.State == lease.ShardPaused && slices.Contains(s.Lease.Parents, "shard-0000") && s.From == "" {
					paused++
				}
			}
			return paused == 2
		})
		time.Sleep(5 * th.failover)
		for _, s := range th.look().Shards {
			if slices.Contains(s.Lease.Parents, "shard-0000") && (s.State != lease.ShardPaused || s.From != "") {
				th.Errorf("a child of the paused shard: %v", s)
			}
		}
		th.do(lease.Action{Kind: lease.ActionResume, Scope: lease.Scope{Stream: "sim", Shard: "shard-0000"}})
		th.calm()
	})
}

func TestASeekBackGivesEverythingAgainAndAnUndoOfItGoesOnWhereItWas(t *testing.T) {
	stage(t, 3, 4, func(th *theatre) {
		time.Sleep(time.Minute)
		put, delivered := th.check.Stats().Puts, th.check.Stats().Deliveries
		back := th.do(lease.Action{Kind: lease.ActionSeek, To: stream.TrimHorizon})
		if len(back.Leases) != 4 || len(back.Notes) != 0 {
			th.Errorf("changed: %d leases, notes %v", len(back.Leases), back.Notes)
		}
		time.Sleep(5 * time.Minute)
		if again := th.check.Stats().Deliveries - delivered; again < put {
			th.Errorf("%d records came after the seek, want at least the %d that had been put", again, put)
		}
		// Skip what there is, and take that back.
		skip := th.do(lease.Action{Kind: lease.ActionSeek, To: stream.Latest})
		for _, l := range skip.Leases {
			if _, after, ok := l.After.Checkpoint.Position.Sequence(); !ok || !after {
				th.Errorf("LATEST is %v, want a concrete position", l.After.Checkpoint.Position)
			}
		}
		time.Sleep(20 * time.Second)
		undone := th.undo(skip)
		for i, l := range undone.Leases {
			if l.After.Checkpoint.Position != skip.Leases[i].Before.Checkpoint.Position {
				th.Errorf("undone: %v, want the position of %v", l, skip.Leases[i].Before.Checkpoint.Position)
			}
		}
		th.calm()
		if len(th.look().Orders) > 0 {
			th.Errorf("orders are left: %v", th.look().Orders)
		}
	})
}

func TestASeekOfOneShardToASequenceNumber(t *testing.T) {
	stage(t, 2, 2, func(th *theatre) {
		time.Sleep(time.Minute)
		scope := lease.Scope{Stream: "sim", Shard: "shard-0001"}
		dry, err := th.ops.DryRun(th.Context(), lease.Action{Kind: lease.ActionSeek, Scope: scope, To: stream.TrimHorizon})
		if err != nil || len(dry.Leases) != 1 {
			th.Fatalf("dry run: %+v, %v", dry, err)
		}
		if got := len(th.look().Orders); got != 0 {
			th.Errorf("the dry run left %d orders", got)
		}
		// The stream refuses to be opened anywhere.
		if _, err := th.ops.Do(th.Context(), lease.Action{Kind: lease.ActionSeek, Scope: scope, To: stream.After(sequence(7))}); !errors.Is(err, errScript) {
			th.Errorf("a seek to where the stream cannot be opened: %v", err)
		}
		blind, err := lease.NewOperator(th.store.AsOperator("operator"), lease.OperatorConfig{FailoverTime: th.failover, Logger: th.log})
		if err != nil {
			th.Fatal(err)
		}
		if _, err := blind.Do(th.Context(), lease.Action{Kind: lease.ActionSeek, Scope: scope, To: stream.Latest}); !errors.Is(err, lease.ErrNotPossible) {
			th.Errorf("a seek to the end of a stream that is not given: %v", err)
		}
		term := dry.Leases[0].Before.Term
		c, err := blind.Do(th.Context(), lease.Action{Kind: lease.ActionSeek, Scope: scope, To: stream.After(sequence(7))})
		if err != nil || len(c.Leases) != 1 || c.Leases[0].After.Checkpoint.Position != stream.After(sequence(7)) {
			th.Fatalf("%+v, %v", c, err)
		}
		th.calm()
		for _, s := range th.look().Shards {
			if s.Lease.Shard == "shard-0001" && s.Lease.Term <= term {
				th.Errorf("term %d goes on from term %d", s.Lease.Term, term)
			}
		}
	})
}

func TestAnInterruptedSeekLeavesItsScopePausedAndIsRepeated(t *testing.T) {
	stage(t, 1, 2, func(th *theatre) {
		time.Sleep(30 * time.Second)
		frozen := th.worker(0)
		thaw := frozen.freeze() // nobody lets go
		seek := lease.Action{Kind: lease.ActionSeek, To: stream.TrimHorizon}
		ctx, cancel := context.WithTimeout(th.Context(), th.failover/4)
		defer cancel()
		c, err := th.ops.Do(ctx, seek)
		if !errors.Is(err, context.DeadlineExceeded) || len(c.Leases) != 0 || len(c.Notes) != 1 {
			th.Fatalf("an interrupted seek: %v, leases %v, notes %v", err, c.Leases, c.Notes)
		}
		thaw()
		th.until("all are paused", func() bool { return all(lease.ShardPaused)(th.look()) })
		th.quiet()
		if _, err := th.ops.Do(th.Context(), lease.Action{Kind: lease.ActionSeek, To: stream.Latest}); !errors.Is(err, lease.ErrNotPossible) {
			th.Errorf("another seek of the same scope: %v", err)
		}
		if c := th.do(seek); len(c.Leases) != 2 {
			th.Errorf("repeated: %v", c.Leases)
		}
		th.calm()
	})
}

func TestAnInterruptedSeekIsGivenUpByAResumeOrByItsUndo(t *testing.T) {
	for name, giveUp := range map[string]func(*theatre, lease.Change){
		"resume": func(th *theatre, _ lease.Change) { th.do(lease.Action{Kind: lease.ActionResume}) },
		"undo":   func(th *theatre, c lease.Change) { th.undo(c) },
	} {
		t.Run(name, func(t *testing.T) {
			stage(t, 1, 2, func(th *theatre) {
				ctx, cancel := context.WithCancel(th.Context())
				time.AfterFunc(time.Millisecond, cancel)
				c, err := th.ops.Do(ctx, lease.Action{Kind: lease.ActionSeek, To: stream.TrimHorizon})
				if !errors.Is(err, context.Canceled) {
					th.Fatal(err)
				}
				th.until("all are paused", func() bool { return all(lease.ShardPaused)(th.look()) })
				giveUp(th, c)
				th.calm()
				if orders := th.look().Orders; len(orders) > 0 {
					th.Errorf("orders are left: %v", orders)
				}
				if stats := th.check.Stats(); stats.Seeks != 0 {
					th.Errorf("%d shards were sought", stats.Seeks)
				}
			})
		})
	}
}

func TestASeekWorksWhileNoWorkerLives(t *testing.T) {
	for name, leaves := range map[string]func(*proc){"stopped": func(p *proc) { p.stop() }, "crashed": (*proc).crash} {
		t.Run(name, func(t *testing.T) {
			stage(t, 2, 4, func(th *theatre) {
				time.Sleep(30 * time.Second)
				th.end(0, leaves)
				th.end(1, leaves)
				began := time.Now()
				c := th.do(lease.Action{Kind: lease.ActionSeek, To: stream.TrimHorizon})
				if len(c.Leases) != 4 {
					th.Errorf("sought: %v, skipped %v", c.Leases, c.Skipped)
				}
				took := time.Since(began)
				if name == "crashed" && took < th.failover {
					th.Errorf("workers that may live were fenced after %v", took)
				}
				if took > 2*th.failover {
					th.Errorf("it took %v", took)
				}
				th.start(5)
				th.calm()
			})
		})
	}
}

func TestADrainedWorkerGivesAwayWhatItHasAndGetsNothing(t *testing.T) {
	stage(t, 3, 6, func(th *theatre) {
		c := th.do(lease.Action{Kind: lease.ActionDrain, Worker: "w1-0", Reason: "its disk is full"})
		if len(c.Leases) != 2 {
			th.Errorf("%d leases are said to go, want 2", len(c.Leases))
		}
		th.until("the others have all", func() bool { return th.held()["w1-0"] == 0 && th.held()["w0-0"] == 3 })
		th.start(3) // a newcomer, as in a rollout
		th.until("the newcomer has its share", func() bool { return th.held()["w3-0"] == 2 })
		for _, m := range th.look().Members {
			if m.Member.Worker == "w1-0" && (!m.Draining || !strings.Contains(m.String(), "drained by ada") || m.Leases != 0) {
				th.Errorf("the drained worker is told of as %v", m)
			}
		}
		th.end(0, func(p *proc) { p.stop() })
		th.until("the two others share", func() bool { return th.held()["w2-0"] == 3 && th.held()["w3-0"] == 3 })
		th.undo(c)
		th.until("it has its share again", func() bool { return th.held()["w1-0"] == 2 })
		if stats := th.check.Stats(); stats.Repeats > 0 {
			th.Errorf("the drain was not clean: %+v", stats)
		}
	})
}

func TestAMovedLeaseIsHandedOverAndAnUndoneMoveGoesBack(t *testing.T) {
	stage(t, 2, 4, func(th *theatre) {
		shard := th.look().Shards[0].Lease
		from := check.WorkerOf(shard.Owner)
		to := map[string]string{"w0-0": "w1-0", "w1-0": "w0-0"}[from]
		scope := lease.Scope{Stream: "sim", Shard: shard.Shard}
		owner := func() string { return check.WorkerOf(th.look().Shards[0].Lease.Owner) }
		c := th.do(lease.Action{Kind: lease.ActionMove, Scope: scope, Worker: to})
		if owner() != to || len(c.Leases) != 1 {
			th.Fatalf("moved: %v, owner %s", c.Leases, owner())
		}
		th.until("it is taken", func() bool { s := th.look().Shards[0]; return s.State == lease.ShardHeld && s.Lease.Term > shard.Term })
		th.undo(c)
		if owner() != from {
			th.Errorf("undone: owner %s, want %s", owner(), from)
		}
		th.calm()
		if moves := th.store.Moves(); moves.Forced > 0 {
			th.Errorf("%+v", moves)
		}
		if stats := th.check.Stats(); stats.Repeats > 0 {
			th.Errorf("the moves were not clean: %+v", stats)
		}
		th.end(1, func(p *proc) { p.stop() })
		if _, err := th.ops.Do(th.Context(), lease.Action{Kind: lease.ActionMove, Scope: scope, Worker: "w1-0"}); !errors.Is(err, lease.ErrNotPossible) {
			th.Errorf("a move to one that has left: %v", err)
		}
	})
}

func TestWhatOthersHaveChangedSinceIsNotUndone(t *testing.T) {
	stage(t, 1, 2, func(th *theatre) {
		time.Sleep(20 * time.Second)
		pause := th.do(lease.Action{Kind: lease.ActionPause, Reason: "first"})
		th.do(lease.Action{Kind: lease.ActionResume})
		th.do(lease.Action{Kind: lease.ActionPause, Reason: "second"})
		if c, err := th.ops.Undo(th.Context(), pause); !errors.Is(err, lease.ErrMovedOn) || len(c.Skipped) != 1 {
			th.Errorf("undo of a pause that was lifted, and another one is there: %v, %+v", err, c)
		}
		if orders := th.look().Orders; len(orders) != 1 || orders[0].Reason != "second" {
			th.Errorf("orders: %v", orders)
		}
		th.do(lease.Action{Kind: lease.ActionResume})
		th.calm()
		scope := lease.Scope{Stream: "sim", Shard: "shard-0000"}
		seek := th.do(lease.Action{Kind: lease.ActionSeek, Scope: scope, To: stream.Latest})
		th.do(lease.Action{Kind: lease.ActionSeek, Scope: scope, To: stream.TrimHorizon})
		if c, err := th.ops.Undo(th.Context(), seek); !errors.Is(err, lease.ErrMovedOn) || len(c.Leases) != 0 {
			th.Errorf("undo of a seek after another one: %v, %+v", err, c)
		}
		th.calm()
	})
}

func TestOperatorConfigsAreChecked(t *testing.T) {
	for _, test := range []struct {
		store lease.Store
		cfg   lease.OperatorConfig
		want  string
	}{
		{nil, lease.OperatorConfig{}, "the store is nil"},
		{lease.NewMemory(), lease.OperatorConfig{Streams: []stream.Stream{nil}}, "Streams[0] is nil"},
		{lease.NewMemory(), lease.OperatorConfig{FailoverTime: time.Millisecond}, "use that of the fleet"},
	} {
		if _, err := lease.NewOperator(test.store, test.cfg); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("got %v, want %q", err, test.want)
		}
	}
	if _, err := lease.NewOperator(lease.NewMemory(), lease.OperatorConfig{}); err != nil {
		t.Error(err)
	}
}
