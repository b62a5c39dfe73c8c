package lease

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A scenario is a course of events that a rule exists for. a and b are
// workers, of whom a has been given two leases; one of them will be moved to b
// by the leader. It reports whether the rule was broken.
type scenario struct {
	name  string
	drive func(t *testing.T, s *stage) (broken bool)
}

type stage struct {
	store  *Memory
	a, b   *actor
	leader *leader
	// What a sees, and what the leader sees, of the store.
	as, leads *puppet
	keys      []string
}

func setStage(t *testing.T) *stage {
	s := &stage{store: NewMemory()}
	s.as, s.leads = &puppet{Store: s.store}, &puppet{Store: s.store}
	s.a = newActor(t, "a", s.as)
	s.b = newActor(t, "b", s.store)
	l := newActor(t, "leader", s.leads)
	// The leader itself takes nothing.
	l.session.leaving = true
	if err := l.beatOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.leader = l.newLeader(l.newWatch())
	s.leader.calm = newCalm(0) // it balances at once
	s.keys = owned(t, s.store, s.a.me, "1", "2")
	return s
}

// take lets a take what it was given.
func (s *stage) take(t *testing.T) {
	t.Helper()
	if err := s.a.pollOnce(s.a.life); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	for _, key := range s.keys {
		if !s.a.holding(key) {
			t.Fatalf("a does not hold %s", key)
		}
	}
}

// overlap lets time pass, in which all beat and the leader makes its passes. a
// re-reads what a bump announces, and nothing else tells it anything. It
// reports whether a lease became free for b while a still held it.
func (s *stage) overlap(t *testing.T) bool {
	t.Helper()
	for second := range 90 {
		if second%3 == 0 {
			s.beats(t)
		}
		if second%5 == 0 {
			_ = s.leader.pass(t.Context())
		}
		synctest.Wait()
		for _, key := range s.keys {
			l := row(t, s.store, key)
			if l.Owner == s.b.me && l.CheckpointOwner == "" && s.a.holding(key) {
				return true
			}
		}
		time.Sleep(time.Second)
	}
	return false
}

func (s *stage) beats(t *testing.T) {
	t.Helper()
	for _, w := range []*session{s.a.session, s.b.session, s.leader.session} {
		if err := w.beatOnce(t.Context()); err != nil && !errors.Is(err, errOut) {
			t.Fatalf("%s: %v", w.me, err)
		}
	}
	_ = s.a.reread(s.a.life)
}

// once makes a function that works the first time only.
func once(f func()) func() {
	done := false
	return func() {
		if !done {
			done = true
			f()
		}
	}
}

var scenarios = []scenario{
	{"ABumpComesAfterTheChangeThatItAnnounces", func(t *testing.T, s *stage) bool {
		s.take(t)
		hurry := once(func() { s.beats(t) }) // a beats, and re-reads, just before the change
		s.leads.beforeSwap = func(Lease, Lease) error { hurry(); return nil }
		return s.overlap(t)
	}},
	{"AReReadAppliesTheRevisionSeenBeforeItBegan", func(t *testing.T, s *stage) bool {
		s.take(t)
		m, _ := memberRow(t, s.store, s.a.me)
		s.leader.bump(t.Context(), m)
		if err := s.a.beatOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.as.afterRead = once(func() { // while the answer of the re-read is under way
			_ = s.leader.pass(t.Context())
			_ = s.a.beatOnce(t.Context())
		})
		return s.overlap(t)
	}},
	{"AReReadCoversPendingTakes", func(t *testing.T, s *stage) bool {
		answer := make(chan struct{})
		s.as.afterSwap = func(Lease) error { <-answer; return nil }
		if err := s.a.pollOnce(s.a.life); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // both takes have taken place, and a does not know
		_ = s.leader.pass(t.Context())
		s.beats(t)
		close(answer)
		synctest.Wait()
		return s.overlap(t)
	}},
	{"AHandoffIsForcedOnlyAfterTheLeadersOwnAcknowledgedBump", func(t *testing.T, s *stage) bool {
		s.take(t)
		s.leads.beforeSwapMember = func(old, next Member) error {
			if old.Revision != next.Revision {
				return errCut
			}
			return nil
		}
		return s.overlap(t)
	}},
	{"ALateBeatMakesTheFenceFailAndTheWorkerKeepsAll", func(t *testing.T, s *stage) bool {
		s.take(t)
		late := once(func() {
			synctest.Wait() // its callbacks have returned
			if err := s.a.beatOnce(t.Context()); err != nil {
				t.Error(err)
			}
		})
		for second := range 12 {
			if second%5 == 0 {
				if second == 10 {
					s.leads.afterMembers = late
				}
				_ = s.leader.pass(t.Context())
			}
			_ = s.b.beatOnce(t.Context())
			_ = s.leader.session.beatOnce(t.Context())
			time.Sleep(time.Second)
		}
		m, has := memberRow(t, s.store, s.a.me)
		kept := 0
		for _, key := range s.keys {
			if row(t, s.store, key).Owner == s.a.me {
				kept++
			}
		}
		return !has || m.Fenced || kept == 0
	}},
	{"ALiveOwnerIsAskedBeforeItsLeaseMoves", func(t *testing.T, s *stage) bool {
		s.take(t)
		return s.overlap(t)
	}},
	{"AWorkerFencesItself", func(t *testing.T, s *stage) bool {
		s.take(t)
		s.as.beforeSwapMember = func(Member, Member) error { return errCut }
		for range 40 {
			_ = s.a.beatOnce(t.Context())
			_ = s.b.beatOnce(t.Context())
			_ = s.leader.session.beatOnce(t.Context())
			_ = s.leader.pass(t.Context())
			synctest.Wait()
			for _, key := range s.keys {
				if l := row(t, s.store, key); l.Owner == s.b.me && l.CheckpointOwner == "" && s.a.holding(key) {
					return true
				}
			}
			time.Sleep(time.Second)
		}
		return false
	}},
}

// That each scenario does meet what its rule is for, the table of mutants shows
// (internal/mutants).
func TestRule(t *testing.T) {
	for _, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if sc.drive(t, setStage(t)) {
					t.Error("broken")
				}
			})
		})
	}
}
