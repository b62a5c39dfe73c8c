package lease

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestAFormerOwnerGoesOnUntilItsSuccessorHasBeenTold(t *testing.T) {
	for _, c := range []struct {
		name  string
		to    string
		hears bool
		after time.Duration
	}{
		{"to another one, who beats", "b#1", false, testF * 2 / 5},
		{"to another one, who is notified", "b#1", true, testF * 3 / 20},
		{"to nobody", "", false, 0},
	} {
		t.Run(c.name, in(func(t *testing.T) {
			p := &puppet{Store: NewMemory()}
			a, key, h := holdOne(t, p)
			a.setHears(c.hears)
			l := row(t, p.Store, key)
			if _, err := p.Store.Swap(t.Context(), l, HandedOff(l, c.to)); err != nil {
				t.Fatal(err)
			}
			learned := time.Now()
			if err := a.pollOnce(a.life); err != nil {
				t.Fatal(err)
			}
			<-h.Draining()
			if took := time.Since(learned); took != c.after {
				t.Errorf("it let go after %v, want %v", took, c.after)
			}
			if !a.holding(key) {
				t.Error("it was cancelled")
			}
		}))
	}
}

func TestTheNoticeLeavesTheCallbacksHalfOfAHandoffsTime(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		handoff, drainBy, notice, want time.Duration // from now on
	}{
		{20 * time.Second, 18 * time.Second, 4 * time.Second, 4 * time.Second},
		{20 * time.Second, 10 * time.Second, 4 * time.Second, time.Second},
		{20 * time.Second, 9 * time.Second, 4 * time.Second, 0},
		{20 * time.Second, 2 * time.Second, 4 * time.Second, -7 * time.Second},
		{10 * time.Second, 9 * time.Second, 4 * time.Second, 4 * time.Second},
		{10 * time.Second, 6 * time.Second, 4 * time.Second, 1500 * time.Millisecond},
	} {
		r := newRight(10*time.Second, c.handoff)
		if got := r.letGo(now, now.Add(c.drainBy), c.notice).Sub(now); got != c.want {
			t.Errorf("HandoffTimeout %v, %v of it left, notice %v: lets go after %v, want %v", c.handoff, c.drainBy, c.notice, got, c.want)
		}
	}
}

func TestASuccessorLooksOftenAtWhatItWaitsForAndNotForEver(t *testing.T) {
	in(func(t *testing.T) {
		var reads atomic.Int64
		p := &puppet{Store: NewMemory()}
		b := newActor(t, "b", p)
		p.afterRead = func() { reads.Add(1) }
		keys := owned(t, p.Store, "a#1", "1", "2")
		for _, key := range keys {
			l := row(t, p.Store, key)
			if _, err := p.Store.Swap(t.Context(), l, HandedOff(l, b.me)); err != nil {
				t.Fatal(err)
			}
		}
		ended := make(chan struct{})
		looking, enough := context.WithCancel(b.life)
		go func() { b.succeed(looking); close(ended) }()
		defer func() { enough(); <-ended }()
		time.Sleep(5 * time.Second)
		if n := reads.Load(); n > 0 {
			t.Errorf("%d looks though nothing is coming", n)
		}
		look := func() {
			t.Helper()
			if err := b.pollOnce(b.life); err != nil {
				t.Fatal(err)
			}
			if err := b.beatOnce(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		look()
		released := func(key string, within time.Duration) {
			t.Helper()
			l := row(t, p.Store, key)
			if _, err := p.Store.Swap(t.Context(), l, Released(l, "a#1")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(within)
			synctest.Wait()
			if !b.holding(key) {
				t.Errorf("lease %s was not taken in %v", key, within)
			}
		}
		if synctest.Wait(); b.holding(keys[0]) {
			t.Error("it was taken while another one had it")
		}
		reads.Store(0)
		for range 5 {
			time.Sleep(time.Second)
			look()
		}
		if n := reads.Load(); n < 15 || n > 25 {
			t.Errorf("%d looks in 5 s", n)
		}
		if b.holding(keys[0]) || b.holding(keys[1]) {
			t.Error("a lease was taken while another one had it")
		}
		released(keys[0], glance*11/10)
		reads.Store(0)
		for range 30 {
			time.Sleep(time.Second)
			look()
		}
		if n := reads.Load(); n > 45 {
			t.Errorf("%d looks in half a minute", n)
		}
		released(keys[1], testF/5)
		reads.Store(0)
		for range 30 {
			time.Sleep(time.Second)
			look()
		}
		if n := reads.Load(); n > 0 {
			t.Errorf("%d looks when everything was taken", n)
		}
	})(t)
}

func TestManyRowsAreLookedAtLessOften(t *testing.T) {
	s := &session{Coordinator: &Coordinator{cfg: Config{FailoverTime: 10 * time.Second}}}
	for _, c := range []struct {
		rows  int
		known time.Duration
		want  time.Duration
	}{
		{1, 0, glance},
		{100, 9 * time.Second, glance},
		{1000, 0, 10 * glance},
		{1, 11 * time.Second, 10 * time.Second / 6},
	} {
		if got := s.glanceAfter(c.rows, c.known); got != c.want {
			t.Errorf("%d rows, known for %v: next look after %v, want %v", c.rows, c.known, got, c.want)
		}
	}
}

func TestWhoMayInherit(t *testing.T) {
	for _, c := range []struct {
		m    Member
		want bool
	}{
		{Member{Incarnation: "b#1"}, true},
		{Member{Incarnation: "a#1"}, false},
		{Member{Incarnation: "a#2"}, true},
		{Member{Incarnation: leaderKey, Worker: "b#1"}, false},
		{Member{Incarnation: "b#1", Fenced: true}, false},
		{Member{Incarnation: "b#1", Draining: true}, false},
	} {
		if got := mayInherit(c.m, "a#1"); got != c.want {
			t.Errorf("%+v may inherit: %v", c.m, got)
		}
	}
}

func TestALeaderThatStopsHandsItsOwnLeasesOffBeforeItLetsThemGo(t *testing.T) {
	in(func(t *testing.T) {
		store := NewMemory()
		a, b := newActor(t, "a", store), newActor(t, "b", store)
		keys := owned(t, store, a.me, "1", "2")
		if err := a.pollOnce(a.life); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		l := a.newLeader(a.newWatch())
		a.leave()
		if err := l.pass(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, key := range keys {
			if l := row(t, store, key); l.Owner != b.me || l.CheckpointOwner != a.me {
				t.Errorf("it is not handed off: %+v", l)
			}
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		for key, h := range a.slots {
			if h.letGo.IsZero() || h.leaves {
				t.Errorf("lease %s: told of its handoff %v, let go %v", key, !h.letGo.IsZero(), h.leaves)
			}
		}
		if !a.planned || len(a.slots) != 2 {
			t.Errorf("it holds %d leases, and has planned for itself: %v", len(a.slots), a.planned)
		}
	})(t)
}
