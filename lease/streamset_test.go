package lease

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/stream"
)

func TestASetOfStreamsHasWhatItWasMadeOf(t *testing.T) {
	set := NewStreamSet("b:2", "a:1", "b:2", "c:3")
	if got := set.IDs(); !slices.Equal(got, []string{"a:1", "b:2", "c:3"}) {
		t.Errorf("%q", got)
	}
	if set != NewStreamSet("c:3", "b:2", "a:1") || !set.Has("b:2") || set.Has("b") || NewStreamSet() != "" {
		t.Errorf("%q", set)
	}
	for _, test := range []struct {
		a, b StreamSet
		want bool
	}{
		{set, NewStreamSet("a:1", "c:3"), true},
		{set, "", true},
		{set, set, false},
		{set, NewStreamSet("a:1", "d:4"), false},
		{NewStreamSet("a:1", "c:3"), set, false},
	} {
		if got := test.a.beyond(test.b); got != test.want {
			t.Errorf("%q beyond %q: %v", test.a.IDs(), test.b.IDs(), got)
		}
	}
}

// born is a stream that a test deletes and creates again.
type born struct {
	noStream
	mu  sync.Mutex // guards what follows
	at  int64
	err error
}

func (b *born) set(at int64, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.at, b.err = at, err
}

func (b *born) Identity(context.Context) (stream.Identity, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return stream.Identity{Name: "s", Created: time.UnixMilli(b.at)}, b.err
}

func TestAWorkerSaysWhichStreamsItServes(t *testing.T) {
	in(func(t *testing.T) {
		store := NewMemory()
		s := &born{at: 1}
		var said StreamSet
		done := make(chan struct{})
		ctx, stop := context.WithCancel(t.Context())
		c, err := NewCoordinator(Config{Worker: "w", Store: store, Streams: []stream.Stream{s, noStream{}}, Seed: 1, FailoverTime: testF, Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			defer close(done)
			_ = c.Run(ctx, untilDrained)
		}()
		for _, step := range []struct {
			name string
			at   int64
			err  error
			want StreamSet
		}{
			{"at its start", 1, nil, NewStreamSet("s:1")},
			{"after it was created again", 2, nil, NewStreamSet("s:2")},
			{"while it does not answer", 2, errCut, NewStreamSet("s:2")},
			{"after it was deleted", 2, stream.ErrStreamNotFound, ""},
		} {
			s.set(step.at, step.err)
			time.Sleep(2 * learnEvery * c.cfg.PlanInterval)
			m, _ := memberRow(t, store, c.session.Load().me)
			if said = m.Streams; said != step.want {
				t.Errorf("%s: %q, want %q", step.name, said, step.want)
			}
		}
		stop()
		<-done
	})(t)
}

func TestAStreamThatHangsDoesNotKeepAWorkerFromJoining(t *testing.T) {
	in(func(t *testing.T) {
		store := NewMemory()
		var joined time.Duration
		began := time.Now()
		p := &puppet{Store: store, afterSwapMember: func(m Member) error {
			if m.Worker == "w" && joined == 0 {
				joined = time.Since(began)
			}
			return nil
		}}
		runFor(t, time.Minute, Config{Worker: "w", Store: p, Streams: []stream.Stream{hanging{}}})
		if joined == 0 || joined > testF/2 {
			t.Errorf("it joined after %v", joined)
		}
	})(t)
}

// hanging is a stream that never answers.
type hanging struct{ noStream }

func (hanging) Identity(ctx context.Context) (stream.Identity, error) {
	<-ctx.Done()
	return stream.Identity{}, context.Cause(ctx)
}

// A rollout adds a stream: the shards of it go to those who know it, and one of
// them leads, or nobody would ever look at it.
func TestARolloutThatAddsAStreamGivesItToThoseWhoServeIt(t *testing.T) {
	in(func(t *testing.T) {
		fleet := newCrew(t)
		many := func() (shards []stream.Shard, err error) {
			for i, r := range stream.SplitHashSpace(6) {
				shards = append(shards, stream.Shard{ID: string(rune('0' + i)), Hash: r})
			}
			return shards, nil
		}
		orders, refunds := listed{name: "orders", shards: many}, listed{name: "refunds", shards: many}
		old := fleet.start("old", orders)
		time.Sleep(time.Minute)
		if !old.Status().Leading {
			t.Fatal("the only worker does not lead")
		}
		fleet.start("new-1", orders, refunds)
		fleet.start("newer-2", orders, refunds)
		time.Sleep(5 * time.Minute)
		owners := map[string]int{}
		for l, err := range fleet.store.Leases(t.Context()) {
			if err != nil || l.Owner == "" || l.Term == 0 {
				t.Errorf("%+v, %v", l, err)
			}
			if l.Stream == "refunds" && l.Owner == old.Status().Incarnation {
				t.Errorf("%s was given to a worker that does not serve it", l.Key)
			}
			owners[l.Owner]++
		}
		if len(owners) != 3 || owners[old.Status().Incarnation] < 3 {
			t.Errorf("12 leases are shared out as %v", owners)
		}
		if old.Status().Leading {
			t.Error("the old worker leads, and nobody looks after the new stream")
		}
	})(t)
}

// Leaders that cannot list a stream make way for one that can, and not all the
// time for others that cannot either.
func TestALeaderThatCannotSeeItsStreamMakesWay(t *testing.T) {
	refuses := func() ([]stream.Shard, error) { return nil, errCut }
	for name, shards := range map[string]func() ([]stream.Shard, error){"refuses": refuses, "hangs": nil} {
		t.Run(name, in(func(t *testing.T) {
			fleet := newCrew(t)
			begun := func() bool {
				rows, err := fleet.store.Read(t.Context(), Key("s:5", "0"))
				return err == nil && len(rows) == 1 && rows[0].Term > 0
			}
			const blind = 4
			for i := range blind {
				fleet.start(strings.Repeat("b", 1+i), listed{name: "s", shards: shards})
			}
			fleet.start("sees", listed{name: "s", shards: oneShard})
			time.Sleep(blind * (testF + testH + 2*testF)) // each tries once at most
			if !begun() {
				t.Error("the stream is not begun, though a worker sees it")
			}
			before := fleet.reigns()
			time.Sleep(time.Hour)
			if n := fleet.reigns() - before; n != 0 {
				t.Errorf("%d more reigns, though the leader sees everything", n)
			}
		}))
		t.Run(name+" all", in(func(t *testing.T) {
			fleet := newCrew(t)
			fleet.start("blind", listed{name: "s", shards: shards})
			fleet.start("too", listed{name: "s", shards: shards})
			time.Sleep(4 * time.Hour)
			if n := fleet.reigns(); n < 4 || n > 20 {
				t.Errorf("%d reigns in four hours in which nobody sees anything", n)
			}
		}))
	}
}

// No worker that can list a stream is kept from it by a leader that knows the
// stream as another one, or does not know it at all.
func TestALeaderMakesWayForOneWhoServesWhatItNeverReached(t *testing.T) {
	begins := func(t *testing.T, fleet *crew, keys ...string) {
		t.Helper()
		time.Sleep(10 * time.Minute)
		for _, key := range keys {
			if rows, err := fleet.store.Read(t.Context(), key); err != nil || len(rows) != 1 || rows[0].Term == 0 {
				t.Errorf("%s is not begun: %+v, %v", key, rows, err)
			}
		}
	}
	a, b := listed{name: "a", shards: oneShard}, listed{name: "b", shards: oneShard}
	t.Run("each reaches another one", in(func(t *testing.T) {
		fleet := newCrew(t)
		fleet.start("w", a, noStream{})
		fleet.start("ww", noStream{}, b)
		begins(t, fleet, Key("a:5", "0"), Key("b:5", "0"))
	}))
	t.Run("created again out of its reach", in(func(t *testing.T) {
		fleet := newCrew(t)
		former := &born{at: 1}
		fleet.start("w", a, former)
		time.Sleep(time.Minute)
		former.set(1, errCut)
		fleet.start("ww", a, listed{name: "s", shards: oneShard})
		begins(t, fleet, Key("a:5", "0"), Key("s:5", "0"))
	}))
}

func TestAStreamThatNobodySeesDoesNotHideOneThatTheLeaderAloneLost(t *testing.T) {
	in(func(t *testing.T) {
		fleet := newCrew(t)
		var back atomic.Bool
		dead := listed{name: "dead", shards: func() ([]stream.Shard, error) {
			if back.Load() {
				return oneShard()
			}
			return nil, errCut
		}}
		workers, lost := make([]*Coordinator, 2), make([]atomic.Bool, 2)
		for i := range workers {
			workers[i] = fleet.start(strings.Repeat("w", 1+i), dead, listed{name: "s", shards: func() ([]stream.Shard, error) {
				if lost[i].Load() {
					return nil, errCut
				}
				return oneShard()
			}})
		}
		time.Sleep(8 * time.Hour)                       // both have led in vain for the dead one, again and again
		for n := fleet.reigns(); fleet.reigns() == n; { // a leader with all its patience before it
			time.Sleep(time.Second)
		}
		time.Sleep(time.Second)
		leads := slices.IndexFunc(workers, func(w *Coordinator) bool { return w.Status().Leading })
		if leads < 0 {
			t.Fatal("nobody leads")
		}
		lost[leads].Store(true)
		time.Sleep(testH + testF + 5*testF)
		if !workers[1-leads].Status().Leading {
			t.Error("the leader does not make way for the one who sees the stream")
		}
		back.Store(true)
		time.Sleep(time.Minute)
		synctest.Wait()
		if s := workers[1-leads].session.Load(); s.madeWay || len(s.inVain) != 0 {
			t.Errorf("it leads and sees everything, and remembers %v, %v", s.madeWay, s.inVain)
		}
	})(t)
}

// Who made way could else come back before those who have not tried; but nobody
// is spared for them whose leader died.
func TestWhoMadeWayLetsOthersTryFirst(t *testing.T) {
	for name, test := range map[string]struct {
		madeWay bool
		leader  string
		looks   time.Duration // between two of them
		want    time.Duration
	}{
		"nobody leads, and it has not tried":     {false, "", testF / 4, 0},
		"nobody leads":                           {true, "", testF / 4, 2 * testF},
		"nobody leads, and the store is slow":    {true, "", testF, 2 * testF},
		"the leader died, and it has not tried":  {false, "b#1", testF / 4, testF},
		"the leader died":                        {true, "b#1", testF / 4, testF},
		"nobody knows yet that it leads no more": {true, "a", testF / 4, 2 * testF},
	} {
		t.Run(name, in(func(t *testing.T) {
			a := newActor(t, "a", NewMemory())
			a.madeWay = test.madeWay
			if test.leader == "a" {
				test.leader = a.me
			}
			if _, err := a.swapMember(t.Context(), Member{}, Member{Incarnation: leaderKey, Worker: test.leader, Beats: 1}); err != nil {
				t.Fatal(err)
			}
			leader, began := a.newWatch(), time.Now()
			var c candidacy
			for {
				if _, won := a.candidate(t.Context(), leader, &c); won {
					break
				}
				if time.Since(began) > time.Hour {
					t.Fatal("it never leads")
				}
				for range test.looks / (testF / 4) {
					time.Sleep(testF / 4)
					if err := a.beatOnce(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
			}
			if took := time.Since(began); took != test.want {
				t.Errorf("it leads after %v, want %v", took, test.want)
			}
		}))
	}
}

// An engine's handle of a stream that was deleted never finds the one that was
// created under its name.
func TestALeaderWithTheHandleOfADeletedStreamMakesWay(t *testing.T) {
	in(func(t *testing.T) {
		fleet := newCrew(t)
		former := &born{at: 1}
		old := fleet.start("old", former)
		time.Sleep(time.Minute)
		former.set(1, stream.ErrStreamNotFound)
		heir := fleet.start("new", listed{name: "s", shards: oneShard})
		time.Sleep(3 * time.Minute)
		if rows, err := fleet.store.Read(t.Context(), Key("s:5", "0")); err != nil || len(rows) != 1 || rows[0].Owner != heir.Status().Incarnation {
			t.Errorf("the new stream is not begun: %+v, %v", rows, err)
		}
		synctest.Wait()
		if !old.session.Load().madeWay {
			t.Error("it does not let others go first")
		}
	})(t)
}

func TestALastWriteThatAPollSawGoThroughIsNoLoss(t *testing.T) {
	in(func(t *testing.T) {
		p := &puppet{Store: NewMemory()}
		a, key, h := holdOne(t, p)
		away := false
		p.beforeList = func() error {
			if away {
				return errCut
			}
			return nil
		}
		p.afterSwap = func(Lease) error {
			p.afterSwap = nil
			if err := a.readAgain(a.life, []string{key}); err != nil { // somebody looks before the answer comes
				t.Error(err)
			}
			away = true // neither that nor what is read back arrives
			time.AfterFunc(time.Second, func() { away = false })
			return errCut
		}
		if err := h.Release(t.Context(), saved(4)); err != nil {
			t.Errorf("release: %v", err)
		}
		synctest.Wait()
		if l := row(t, p.Store, key); l.Owner != "" || l.Checkpoint.Position != after(4) {
			t.Errorf("%+v", l)
		}
		if err := h.Release(t.Context(), saved(4)); !errors.Is(err, ErrLost) && err == nil {
			t.Error("released twice")
		}
	})(t)
}

func TestWhatLastsIsNewsOnce(t *testing.T) {
	in(func(t *testing.T) {
		d := newDoubts(10 * time.Second)
		var told []int
		for second := range 120 {
			if second == 60 {
				d.turn() // a turn without it: it is over, and begins anew
			}
			if d.lastingNews("hole") {
				told = append(told, second)
			}
			d.turn()
			time.Sleep(time.Second)
		}
		if !slices.Equal(told, []int{10, 70}) {
			t.Errorf("told after %v seconds", told)
		}
	})(t)
}
