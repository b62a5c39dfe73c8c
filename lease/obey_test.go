package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/stream"
)

func TestTheLeaderTellsOfOrdersAndDeeds(t *testing.T) {
	in(func(t *testing.T) {
		store := NewMemory()
		ops := func(actor string) *Operator {
			o, err := NewOperator(store, OperatorConfig{Actor: actor, FailoverTime: testF, Logger: quiet})
			if err != nil {
				t.Fatal(err)
			}
			return o
		}
		do := func(actor string, a Action) Change {
			t.Helper()
			c, err := ops(actor).Do(t.Context(), a)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		if err := store.Create(t.Context(), leaseOf("0", "", after(5))); err != nil {
			t.Fatal(err)
		}
		do("eve", Action{Kind: ActionPause, Scope: Scope{Stream: "s"}, Reason: "before"})
		l, log := leading(t, store, nil)
		pass := func(want ...string) {
			t.Helper()
			log.Reset()
			if err := l.hurriedPass(t.Context()); err != nil {
				t.Fatal(err)
			}
			var got []string
			for line := range strings.Lines(log.String()) {
				if strings.Contains(line, "order") || strings.Contains(line, "operator") {
					got = append(got, line)
				}
			}
			if len(got) != len(want) {
				t.Errorf("told %q, want %q", got, want)
				return
			}
			for i, parts := range want {
				for part := range strings.SplitSeq(parts, "|") {
					if !strings.Contains(got[i], part) {
						t.Errorf("told %q, want %q", got[i], part)
					}
				}
			}
		}
		pass(`order in force|of="stream s"|paused by eve since|: before`)
		pass()
		c := do("ada", Action{Kind: ActionSeek, To: stream.TrimHorizon, Reason: "wrong prices"})
		pass("an operator has acted|seek the application to TRIM_HORIZON by ada at |1 shards: wrong prices")
		do("bob", Action{Kind: ActionResume, Scope: Scope{Stream: "s"}})
		if _, err := ops("cyd").Undo(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		pass(`order is over|paused by eve`, "an operator has acted|resume stream s by bob", "an operator has acted|undo seek the application to TRIM_HORIZON by cyd")
		pass()

		// Whoever looks later sees the last of them.
		for i := range 30 {
			do(fmt.Sprint("actor-", i), Action{Kind: []ActionKind{ActionPause, ActionResume}[i%2], Reason: strings.Repeat("why ", 2000)})
		}
		f, err := NewObserver(store, testF).Look(t.Context())
		if err != nil || f.Unreadable != nil || len(f.Deeds) != mostDeeds || f.Deeds[mostDeeds-1].Actor != "actor-29" || f.Deeds[0].Actor != "actor-10" {
			t.Errorf("%d deeds, the last of %v: %v, %v", len(f.Deeds), f.Deeds[len(f.Deeds)-1], err, f.Unreadable)
		}
		if len(f.Orders) > 0 {
			t.Errorf("orders: %v", f.Orders)
		}
	})(t)
}

func TestWhatChangedNothingIsNoDeedAndABrokenOffSeekIsOne(t *testing.T) {
	in(func(t *testing.T) {
		store := NewMemory()
		if err := store.Create(t.Context(), leaseOf("0", "java", after(5))); err != nil {
			t.Fatal(err)
		}
		if _, err := store.SwapMember(t.Context(), Member{}, Member{Incarnation: "java", Worker: "java", Beats: 1}); err != nil {
			t.Fatal(err)
		}
		o, err := NewOperator(store, OperatorConfig{Actor: "ada", FailoverTime: testF, Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := o.Do(t.Context(), Action{Kind: ActionPause}); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), testF/2)
		defer cancel()
		if _, err := o.Do(ctx, Action{Kind: ActionSeek, To: stream.TrimHorizon}); err == nil {
			t.Fatal("the seek was not broken off")
		}
		f, err := NewObserver(store, testF).Look(t.Context())
		if err != nil || len(f.Deeds) != 2 || f.Deeds[1].Err == "" || !strings.Contains(f.Deeds[1].String(), "broken off") {
			t.Errorf("deeds %v, %v", f.Deeds, err)
		}
	})(t)
}

func TestADrainHoldsForRestartsAndIsForgottenWhenItsWorkerIsLongGone(t *testing.T) {
	in(func(t *testing.T) {
		store := NewMemory()
		pod := Member{Incarnation: "pod-1#a", Worker: "pod-1", Beats: 1}
		join := func() Member {
			t.Helper()
			m, err := store.SwapMember(t.Context(), Member{}, pod)
			if err != nil {
				t.Fatal(err)
			}
			return m
		}
		leave := func(m Member) {
			t.Helper()
			if _, err := store.SwapMember(t.Context(), m, Member{}); err != nil {
				t.Fatal(err)
			}
		}
		m := join()
		o, err := NewOperator(store, OperatorConfig{Actor: "ada", FailoverTime: testF, Logger: quiet})
		if err == nil {
			_, err = o.Do(t.Context(), Action{Kind: ActionDrain, Worker: "pod-1"})
		}
		if err != nil {
			t.Fatal(err)
		}
		l, log := leading(t, store, nil)
		// The leader of this test does not beat, and fences nobody.
		during := func(d time.Duration) (drained bool) {
			t.Helper()
			for until := time.Now().Add(d); time.Now().Before(until); time.Sleep(time.Minute) {
				if err := l.obey(t.Context(), membersOf(t, store)); err != nil {
					t.Fatal(err)
				}
			}
			_, drained = l.wants.drains["pod-1"]
			return drained
		}
		if !during(3 * time.Hour) {
			t.Error("a drain was forgotten while its worker was there")
		}
		leave(m)
		if !during(50 * time.Minute) {
			t.Error("a drain was forgotten soon")
		}
		pod.Incarnation = "pod-1#b"
		m = join()
		during(10 * time.Minute)
		leave(m)
		if !during(50 * time.Minute) {
			t.Error("a drain was forgotten soon after a restart")
		}
		if during(20 * time.Minute) {
			t.Error("the drain of a worker that has been gone for an hour is still there")
		}
		if !strings.Contains(log.String(), "drain is forgotten") {
			t.Errorf("nobody is told:\n%s", log)
		}
	})(t)
}

func TestAWorkerWithNothingToDoTellsByWhoseOrder(t *testing.T) {
	in(func(t *testing.T) {
		store := NewMemory()
		for _, a := range []Action{{Kind: ActionDrain, Worker: "w", Reason: "old disk"}, {Kind: ActionDrain, Worker: "x"}, pausing("s")} {
			n := Order{Action: a, Actor: "ada", Since: time.Now()}.note()
			if _, err := store.SwapNote(t.Context(), Note{}, n); err != nil {
				t.Fatal(err)
			}
		}
		var said lockedLog
		runFor(t, time.Minute, Config{Worker: "w", Store: store, Streams: []stream.Stream{listed{name: "s", shards: oneShard}}, Logger: slog.New(slog.NewTextHandler(&said, nil))})
		text := said.String()
		if strings.Count(text, "nothing to do by an operator's order") != 2 || !strings.Contains(text, `of="worker w" order="drained by ada since`) || !strings.Contains(text, `of="stream s" order="paused by ada`) {
			t.Errorf("told:\n%s", text)
		}
	})(t)
}

// What is noted down of what was done makes no difference to what was done.
func TestADeedThatCannotBeNotedDownIsDone(t *testing.T) {
	in(func(t *testing.T) {
		store := &noDeeds{NewMemory()}
		o, err := NewOperator(store, OperatorConfig{FailoverTime: testF, Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		if c, err := o.Do(t.Context(), Action{Kind: ActionPause}); err != nil || len(c.Notes) != 1 {
			t.Errorf("%+v, %v", c, err)
		}
	})(t)
}

type noDeeds struct{ Store }

func (s *noDeeds) SwapNote(ctx context.Context, old, next Note) (Note, error) {
	if next.Name == deedsNote {
		return Note{}, errors.New("no room")
	}
	return s.Store.SwapNote(ctx, old, next)
}

func membersOf(t *testing.T, store Store) []Member {
	t.Helper()
	members, err := store.Members(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return members
}
