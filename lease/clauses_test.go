package lease

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/stream"
)

// These tests follow the rules of the protocol one by one; those that need an
// unlucky moment are scenarios in rules_test.go.

// in runs a test in virtual time.
func in(f func(t *testing.T)) func(t *testing.T) {
	return func(t *testing.T) { synctest.Test(t, f) }
}

func after(n uint64) stream.Position { return stream.After(stream.MakeSequence(0, 0, n)) }

func saved(n uint64) checkpoint.State { return checkpoint.State{Position: after(n)} }

// holdOne returns a worker that holds one lease.
func holdOne(t *testing.T, p *puppet) (*actor, string, Hold) {
	t.Helper()
	a := newActor(t, "a", p)
	key := owned(t, p.Store, a.me, "1")[0]
	if err := a.pollOnce(a.life); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	if !a.holding(key) {
		t.Fatal("the lease was not taken")
	}
	return a, key, a.begun[key]
}

func TestTheRightEndsAMarginBeforeFailoverTimeFromWhenTheLastBeatWasSent(t *testing.T) {
	in(func(t *testing.T) {
		p := &puppet{Store: NewMemory()}
		a, key, h := holdOne(t, p)
		// The answer takes its time; only the sending counts.
		p.afterSwapMember = func(Member) error { time.Sleep(2 * time.Second); return nil }
		time.Sleep(time.Second)
		sent := time.Now()
		if err := a.beatOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Until(sent.Add(9*time.Second - time.Millisecond)))
		if !a.holding(key) {
			t.Error("the hold ended too early")
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if a.holding(key) || !errors.Is(a.cause(key), ErrExpired) {
			t.Errorf("the hold goes on, cause %v", a.cause(key))
		}
		if err := h.Save(t.Context(), saved(1)); !errors.Is(err, checkpoint.ErrLeaseLost) || !errors.Is(err, ErrExpired) {
			t.Errorf("save after the end: %v", err)
		}
	})(t)
}

func TestABeatWithoutAnAnswerProvesNothing(t *testing.T) {
	in(func(t *testing.T) {
		p := &puppet{Store: NewMemory()}
		a, key, _ := holdOne(t, p)
		p.afterSwapMember = func(Member) error { return errCut }
		for range 3 {
			time.Sleep(3 * time.Second)
			if err := a.beatOnce(t.Context()); err == nil {
				t.Fatal("the beat had an answer")
			}
		}
		synctest.Wait()
		if a.holding(key) {
			t.Error("the hold outlives its last acknowledged beat")
		}
	})(t)
}

func TestAfterALapseAWorkerDoesNotBeatUntilItsCallbacksHaveReturned(t *testing.T) {
	in(func(t *testing.T) {
		p := &puppet{Store: NewMemory()}
		stuck := make(chan struct{})
		a := newActorWith(t, Config{Worker: "a", Store: p}, func(ctx context.Context, h Hold) error {
			select {
			case <-stuck: // a later term
				<-ctx.Done()
			default:
				<-stuck
			}
			return nil
		})
		key := owned(t, p.Store, a.me, "1")[0]
		if err := a.pollOnce(a.life); err != nil {
			t.Fatal(err)
		}
		time.Sleep(testF) // nobody beats
		synctest.Wait()
		before, _ := memberRow(t, p.Store, a.me)
		beating, stop := context.WithCancel(a.life)
		ended := make(chan struct{})
		go func() { a.beat(beating); close(ended) }()
		time.Sleep(testF * 8 / 10) // for longer nobody waits
		if m, _ := memberRow(t, p.Store, a.me); m.Beats != before.Beats {
			t.Error("it beats while an old callback runs")
		}
		term := row(t, p.Store, key).Term
		close(stuck)
		time.Sleep(testF)
		if m, _ := memberRow(t, p.Store, a.me); m.Beats == before.Beats {
			t.Error("it never beats again")
		}
		if err := a.pollOnce(a.life); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if now := row(t, p.Store, key).Term; now <= term {
			t.Errorf("the lease was not taken anew: term %d", now)
		}
		stop()
		<-ended
	})(t)
}

func TestABeatOnAFencedOrAbsentRowFailsAndNeverCreatesIt(t *testing.T) {
	for _, absent := range []bool{false, true} {
		in(func(t *testing.T) {
			p := &puppet{Store: NewMemory()}
			a, key, _ := holdOne(t, p)
			m, _ := memberRow(t, p.Store, a.me)
			next := m
			next.Fenced = true
			if absent {
				next = Member{}
			}
			if _, err := p.Store.SwapMember(t.Context(), m, next); err != nil {
				t.Fatal(err)
			}
			if err := a.beatOnce(t.Context()); !errors.Is(err, errOut) {
				t.Errorf("absent %v: beat: %v", absent, err)
			}
			if a.holding(key) {
				t.Error("it holds on")
			}
			if m, has := memberRow(t, p.Store, a.me); has == absent || m.Fenced == absent {
				t.Errorf("the row is %+v", m)
			}
		})(t)
	}
}

func TestMembersAreReadAfterTheLeases(t *testing.T) {
	in(func(t *testing.T) {
		s := setStage(t)
		// Between the two reads a new worker joins and takes a lease that was
		// nobody's when the leader read it.
		s.leads.afterMembers = func() {}
		var joined *actor
		counting := &orderedStore{puppet: s.leads, between: func() {
			joined = newActor(t, "late", s.store)
			l := row(t, s.store, s.keys[0])
			if _, err := s.store.Swap(t.Context(), l, Taken(Assigned(l, joined.me), joined.me)); err != nil {
				t.Error(err)
			}
		}}
		s.leader.store, s.leader.Coordinator.store = counting, counting
		if err := s.leader.pass(t.Context()); err != nil {
			t.Fatal(err)
		}
		if l := row(t, s.store, s.keys[0]); l.Owner != joined.me && l.CheckpointOwner != joined.me {
			t.Errorf("taken from a worker that had joined: %+v", l)
		}
		if order := strings.Join(counting.order, " "); order != "leases members" {
			t.Errorf("the leader read %s", order)
		}
	})(t)
}

type orderedStore struct {
	*puppet
	between func()
	order   []string
}

func (o *orderedStore) Leases(ctx context.Context) iter.Seq2[Lease, error] {
	return func(yield func(Lease, error) bool) {
		o.order = append(o.order, "leases")
		for l, err := range o.puppet.Leases(ctx) {
			if !yield(l, err) {
				return
			}
		}
		o.between()
	}
}

func (o *orderedStore) Members(ctx context.Context) ([]Member, error) {
	o.order = append(o.order, "members")
	return o.puppet.Members(ctx)
}

func TestADrainsDeadlineIsFixedWhenItIsLearnedAndNeverExtended(t *testing.T) {
	in(func(t *testing.T) {
		s := setStage(t)
		s.take(t)
		began := time.Now()
		var learned time.Time
		for time.Since(began) < 2*testH {
			if err := s.a.beatOnce(t.Context()); err != nil {
				t.Fatal(err)
			}
			if time.Since(began) > 5*time.Second && learned.IsZero() {
				learned = time.Now()
				if err := s.leader.pass(t.Context()); err != nil {
					t.Fatal(err)
				}
				// Learned again and again, with fresher beats.
			}
			_ = s.a.pollOnce(s.a.life)
			synctest.Wait()
			var moved string
			for _, key := range s.keys {
				if row(t, s.store, key).CheckpointOwner != "" || !s.a.holding(key) {
					moved = key
				}
			}
			if moved != "" {
				want := learned.Add(testH - testH/margin)
				if holding := s.a.holding(moved); holding != time.Now().Before(want) {
					t.Fatalf("at %v after it was learned: holding is %v", time.Since(learned), holding)
				}
				if !s.a.holding(moved) {
					if !errors.Is(s.a.cause(moved), ErrDrained) {
						t.Errorf("cause %v", s.a.cause(moved))
					}
					return
				}
			}
			time.Sleep(time.Second)
		}
		t.Error("the hold never ended")
	})(t)
}

func TestAnUnreadBumpEndsTheRightWithTheHandoffTimeout(t *testing.T) {
	in(func(t *testing.T) {
		s := setStage(t)
		s.take(t)
		s.as.afterRead = func() {}
		m, _ := memberRow(t, s.store, s.a.me)
		began := time.Now()
		s.leader.bump(t.Context(), m)
		for time.Since(began) < testH-testH/margin {
			synctest.Wait()
			if !s.a.holding(s.keys[0]) {
				t.Fatalf("the hold ended %v after the bump", time.Since(began))
			}
			// It beats, and cannot read.
			if err := s.a.beatOnce(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if s.a.holding(s.keys[0]) {
			t.Error("the hold goes on though a bump is not read")
		}
	})(t)
}

func TestANewLeaderBumpsAgainAndStartsItsOwnTime(t *testing.T) {
	in(func(t *testing.T) {
		s := setStage(t)
		s.take(t)
		if err := s.leader.pass(t.Context()); err != nil {
			t.Fatal(err)
		}
		moved := func() (keys []string) {
			for _, key := range s.keys {
				if row(t, s.store, key).CheckpointOwner != "" {
					keys = append(keys, key)
				}
			}
			return keys
		}
		if len(moved()) != 1 {
			t.Fatalf("%d leases are being handed over", len(moved()))
		}
		beat := func(d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second) {
				for _, w := range []*session{s.a.session, s.b.session, s.leader.session} {
					if err := w.beatOnce(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		beat(testH - 5*time.Second)
		before, _ := memberRow(t, s.store, s.a.me)
		heir := s.leader.session.newLeader(s.leader.session.newWatch())
		if err := heir.pass(t.Context()); err != nil {
			t.Fatal(err)
		}
		if m, _ := memberRow(t, s.store, s.a.me); m.Revision != before.Revision+1 {
			t.Errorf("the new leader did not bump: revision %d after %d", m.Revision, before.Revision)
		}
		beat(testH - time.Second)
		if err := heir.pass(t.Context()); err != nil || len(moved()) != 1 {
			t.Errorf("forced before the new leader's own time was over: %v", err)
		}
		beat(time.Second)
		if err := heir.pass(t.Context()); err != nil || len(moved()) != 0 {
			t.Errorf("not forced when the time was over: %v", err)
		}
	})(t)
}

func TestAWriteWithoutAnAnswerIsReadBack(t *testing.T) {
	for _, lost := range []string{"request", "answer", "answer, and the retry conflicts"} {
		in(func(t *testing.T) {
			p := &puppet{Store: NewMemory()}
			a, key, h := holdOne(t, p)
			cut := 2
			p.beforeSwap = func(old, next Lease) error {
				if cut--; cut >= 0 && lost == "request" {
					return errCut
				}
				return nil
			}
			p.afterSwap = func(Lease) error {
				if cut >= 0 && lost == "answer" {
					return errCut
				}
				if cut >= 0 && lost != "request" {
					return ErrConflict // a driver that tried again by itself
				}
				return nil
			}
			if err := h.Save(t.Context(), saved(7)); err != nil {
				t.Errorf("%s lost: save: %v", lost, err)
			}
			if got := row(t, p.Store, key).Checkpoint.Position; got != after(7) {
				t.Errorf("%s lost: stored is %v", lost, got)
			}
			cut = 2
			if err := h.Release(t.Context(), saved(9)); err != nil {
				t.Errorf("%s lost: release: %v", lost, err)
			}
			if l := row(t, p.Store, key); l.Checkpoint.Position != after(9) || l.Owner != "" {
				t.Errorf("%s lost: released is %+v", lost, l)
			}
			_ = a
		})(t)
	}
}

func TestATakeWithoutAnAnswerIsReadBack(t *testing.T) {
	in(func(t *testing.T) {
		p := &puppet{Store: NewMemory()}
		cut := 2
		p.afterSwap = func(Lease) error {
			if cut--; cut >= 0 {
				return errCut
			}
			return nil
		}
		a := newActor(t, "a", p)
		key := owned(t, p.Store, a.me, "1")[0]
		if err := a.pollOnce(a.life); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if l := row(t, p.Store, key); !a.holding(key) || a.begun[key].Term() != l.Term || l.Counter != l.Term {
			t.Errorf("holding %v, row %+v", a.holding(key), l)
		}
	})(t)
}

func TestAFormerOwnerCannotCheckpoint(t *testing.T) {
	in(func(t *testing.T) {
		p := &puppet{Store: NewMemory()}
		a, key, h := holdOne(t, p)
		l := row(t, p.Store, key)
		if _, err := p.Store.Swap(t.Context(), l, Taken(Assigned(l, "b#1"), "b#1")); err != nil {
			t.Fatal(err)
		}
		if err := h.Save(t.Context(), saved(3)); !errors.Is(err, checkpoint.ErrLeaseLost) {
			t.Errorf("save: %v", err)
		}
		if !errors.Is(a.cause(key), ErrLost) {
			t.Errorf("cause %v", a.cause(key))
		}
		if got := row(t, p.Store, key).Checkpoint.Position; got != stream.TrimHorizon {
			t.Errorf("stored %v", got)
		}
	})(t)
}

func TestACheckpointNeverGoesBack(t *testing.T) {
	in(func(t *testing.T) {
		p := &puppet{Store: NewMemory()}
		_, key, h := holdOne(t, p)
		if err := h.Save(t.Context(), saved(5)); err != nil {
			t.Fatal(err)
		}
		if err := h.Save(t.Context(), saved(4)); !errors.Is(err, checkpoint.ErrOutOfRange) {
			t.Errorf("going back: %v", err)
		}
		if err := h.Save(t.Context(), saved(5)); err != nil {
			t.Errorf("saving again: %v", err)
		}
		if got := row(t, p.Store, key).Checkpoint.Position; got != after(5) {
			t.Errorf("stored %v", got)
		}
	})(t)
}

func TestALeaderThatDiesBeforeItTellsLeavesNoShardIdle(t *testing.T) {
	in(func(t *testing.T) {
		p := &puppet{Store: NewMemory()}
		a := newActor(t, "a", p)
		polling, stop := context.WithCancel(a.life)
		ended := make(chan struct{})
		go func() { a.poll(polling); close(ended) }()
		time.Sleep(time.Second)
		key := owned(t, p.Store, a.me, "1")[0] // and nobody bumps
		if err := a.beatOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(a.cfg.PlanInterval * 11 / 10)
		if !a.holding(key) {
			t.Error("the lease is idle")
		}
		stop()
		<-ended
	})(t)
}

func TestALeaseThatWasNeverHeldIsLetGoAtOnce(t *testing.T) {
	in(func(t *testing.T) {
		p := &puppet{Store: NewMemory()}
		a := newActor(t, "a", p)
		key := owned(t, p.Store, a.me, "1")[0]
		l := row(t, p.Store, key)
		if _, err := p.Store.Swap(t.Context(), l, HandedOff(l, "b#1")); err != nil {
			t.Fatal(err)
		}
		if err := a.pollOnce(a.life); err != nil {
			t.Fatal(err)
		}
		if l := row(t, p.Store, key); l.CheckpointOwner != "" || l.Owner != "b#1" {
			t.Errorf("%+v", l)
		}
	})(t)
}

func TestTheNewOwnerWaitsForTheFormerOne(t *testing.T) {
	in(func(t *testing.T) {
		p := &puppet{Store: NewMemory()}
		b := newActor(t, "b", p)
		key := owned(t, p.Store, "a#1", "1")[0]
		l := row(t, p.Store, key)
		l, err := p.Store.Swap(t.Context(), l, HandedOff(l, b.me))
		if err != nil {
			t.Fatal(err)
		}
		err = b.pollOnce(b.life)
		awaited, _ := b.comingRows()
		if synctest.Wait(); err != nil || len(awaited) != 1 || b.holding(key) {
			t.Errorf("awaits %v, holding %v, err %v", awaited, b.holding(key), err)
		}
		if _, err := p.Store.Swap(t.Context(), l, Released(l, "a#1")); err != nil {
			t.Fatal(err)
		}
		err = b.pollOnce(b.life)
		if synctest.Wait(); err != nil || !b.holding(key) {
			t.Errorf("holding %v, err %v", b.holding(key), err)
		}
	})(t)
}

func TestAWorkerEndsItsRowWithNothingHeldAndNoTakePending(t *testing.T) {
	in(func(t *testing.T) {
		store := NewMemory()
		p := &puppet{Store: store}
		c, err := NewCoordinator(Config{Worker: "a", Store: p, Streams: []stream.Stream{noStream{}}, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		var holding atomic.Int32
		p.beforeSwapMember = func(old, next Member) error {
			if old != (Member{}) && next == (Member{}) {
				left, _ := store.Owned(t.Context(), old.Incarnation)
				if holding.Load() != 0 || len(left) != 0 {
					t.Errorf("the row ends with %d holds and %d leases", holding.Load(), len(left))
				}
			}
			return nil
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			if err := c.Run(ctx, func(ctx context.Context, h Hold) error {
				holding.Add(1)
				<-h.Draining()
				time.Sleep(3 * time.Second)
				if holding.Add(-1) == 0 {
					owned(t, store, c.session.Load().me, "3") // and no time to take it
				}
				return h.Release(ctx, saved(1))
			}); err != nil {
				t.Error(err)
			}
		}()
		time.Sleep(time.Second)
		me := c.session.Load().me
		owned(t, store, me, "1", "2")
		time.Sleep(time.Minute)
		stop()
		<-ended
		if members, _ := store.Members(t.Context()); slices.ContainsFunc(members, func(m Member) bool { return m.Incarnation == me }) {
			t.Error("the row is left behind")
		}
		for l := range store.Leases(t.Context()) {
			if l.Owner != "" || l.Shard != "3" && l.Checkpoint.Position != after(1) {
				t.Errorf("%+v", l)
			}
		}
	})(t)
}

// What keeps a leader's beats from being answered may keep those of all others
// from it, too: a full disk, for example.
func TestALeaderWhoseOwnBeatsAreNotAnsweredTakesNobodyForDead(t *testing.T) {
	in(func(t *testing.T) {
		store := NewMemory()
		silent, l := newActor(t, "a", store), newActor(t, "leader", store)
		members := l.newWatch()
		for second := range 40 {
			if second >= 30 { // from now on its own are answered
				if err := l.beatOnce(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := l.look(t.Context(), members); err != nil {
				t.Fatal(err)
			}
			if members.dead(silent.me) {
				t.Fatalf("taken for dead after %d s", second)
			}
			time.Sleep(time.Second)
		}
		time.Sleep(time.Second)
		if err := l.beatOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := l.look(t.Context(), members); err != nil || !members.dead(silent.me) {
			t.Errorf("not taken for dead either when it is time, %v", err)
		}
	})(t)
}

// What cut the leader off for a while, short of its right to process, may have
// cut off all others, who are not back at the same moment.
func TestALeaderThatWasCutOffWatchesAnew(t *testing.T) {
	in(func(t *testing.T) {
		store := NewMemory()
		silent, l := newActor(t, "a", store), newActor(t, "leader", store)
		members := l.newWatch()
		const back, failover = 8, int(testF / time.Second)
		for second := 0; second <= back+failover+1; second++ {
			if second >= back {
				if err := l.beatOnce(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := l.look(t.Context(), members); err != nil {
				t.Fatal(err)
			}
			if dead, want := members.dead(silent.me), second >= back+failover; dead != want {
				t.Errorf("%d s after the leader was back, the silent worker is dead: %v", second-back, dead)
			}
			time.Sleep(time.Second)
		}
	})(t)
}

func TestALoadThatFallsIsToldWithoutACheckpoint(t *testing.T) {
	in(func(t *testing.T) {
		p := &puppet{Store: NewMemory()}
		a, key, h := holdOne(t, p)
		stored := func() Load {
			t.Helper()
			if err := a.pollOnce(a.life); err != nil {
				t.Fatal(err)
			}
			return row(t, p.Store, key).Load
		}
		busy := Load{BytesPerSecond: 1000, RecordsPerSecond: 10}
		h.SetLoad(busy)
		if got := stored(); got != (Load{}) {
			t.Errorf("a load that rises waits for its checkpoint, and %v is stored", got)
		}
		if err := h.Save(t.Context(), saved(1)); err != nil {
			t.Fatal(err)
		}
		h.SetLoad(Load{BytesPerSecond: 900, RecordsPerSecond: 9})
		if got := stored(); got != busy {
			t.Errorf("a load that wavers is written: %v", got)
		}
		h.SetLoad(Load{})
		if got := stored(); got != (Load{}) {
			t.Errorf("the shard is idle, and %v is stored", got)
		}
		if l := row(t, p.Store, key); l.Checkpoint.Position != after(1) || !a.holding(key) {
			t.Errorf("%+v", l)
		}
	})(t)
}

// slowStore takes its time for each swap of a lease.
type slowStore struct {
	Store
	takes time.Duration
}

func (s *slowStore) Swap(ctx context.Context, old, next Lease) (Lease, error) {
	if !wait(ctx, s.takes, nil) {
		return Lease{}, context.Cause(ctx)
	}
	return s.Store.Swap(ctx, old, next)
}

// A thousand shards fall idle at once. The worker has to hear all the same of
// what the leader wants back.
func TestLoadsThatFallHoldUpNoPollForLong(t *testing.T) {
	in(func(t *testing.T) {
		store := &slowStore{Store: NewMemory()}
		a := newActor(t, "a", store)
		shards := make([]string, 1000)
		for i := range shards {
			shards[i] = strconv.Itoa(i)
		}
		keys := owned(t, store, a.me, shards...)
		if err := a.pollOnce(a.life); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for _, key := range keys {
			h := a.begun[key]
			h.SetLoad(Load{RecordsPerSecond: 10})
			if err := h.Save(t.Context(), saved(1)); err != nil {
				t.Fatal(err)
			}
			h.SetLoad(Load{})
		}
		store.takes = time.Second
		began := time.Now()
		if err := a.pollOnce(a.life); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > testF/3 {
			t.Errorf("the poll took %v", took)
		}
		store.takes = 0
		if err := a.pollOnce(a.life); err != nil {
			t.Fatal(err)
		}
		for _, key := range keys {
			if l := row(t, store, key); l.Load != (Load{}) {
				t.Fatalf("%s is idle, and %v is stored after the next poll", key, l.Load)
			}
		}
	})(t)
}

func TestARowThatCannotBeUnderstoodIsLostAndNoOther(t *testing.T) {
	in(func(t *testing.T) {
		p := &puppet{Store: NewMemory()}
		a := newActor(t, "a", p)
		keys := owned(t, p.Store, a.me, "1", "2", "3", "4", "5")
		if err := a.pollOnce(a.life); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		p.unreadable = keys[2]
		m, _ := memberRow(t, p.Store, a.me)
		next := m
		next.Revision++
		if _, err := p.Store.SwapMember(t.Context(), m, next); err != nil {
			t.Fatal(err)
		}
		if err := a.beatOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := a.reread(a.life); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for i, key := range keys {
			if a.holding(key) != (i != 2) {
				t.Errorf("lease %s: held %v", key, a.holding(key))
			}
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.right.stale() {
			t.Error("the others are not read")
		}
	})(t)
}
