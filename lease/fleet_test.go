package lease

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/stream"
)

func TestTheFleetsStatusTellsWhyEachShardIsNotProcessed(t *testing.T) {
	const leader = "w-1#a"
	member := func(incarnation string, change func(*Member)) Member {
		name, _, _ := strings.Cut(incarnation, separator)
		m := Member{Incarnation: incarnation, Worker: name, Beats: 1}
		if change != nil {
			change(&m)
		}
		return m
	}
	led := Member{Incarnation: leaderKey, Worker: leader, Beats: 1}
	taken := func(l Lease) Lease { l.Term = 7; return l }
	moving := func(l Lease, from string) Lease { l.CheckpointOwner = from; return l }
	blocked := NewBlockedSet(Blocked{Key: "s:1/1", What: "process records", Record: stream.MakeSequence(0, 0, 9), Since: time.UnixMilli(0), Attempts: 4, Err: "no"})
	many := NewBlockedSet(Blocked{Key: "a"}, Blocked{Key: "b"}, Blocked{Key: "c"}, Blocked{Key: "s:1/1"})
	drain := Action{Kind: ActionDrain, Worker: "w-1", Reason: "old disk"}
	for _, test := range []struct {
		name    string
		rows    []Lease // the first is looked at
		members []Member
		given   []Action
		want    string
	}{
		{"held", []Lease{taken(leaseOf("1", "w-1#a", after(5)))}, []Member{member("w-1#a", nil), led}, nil,
			"1: held by w-1#a since term 7, at AFTER:5"},
		{"not taken yet", []Lease{leaseOf("1", "w-1#a", after(5))}, []Member{member("w-1#a", nil), led}, nil,
			"1: moving to w-1#a, who has not taken it yet"},
		{"not taken yet from one that is gone", []Lease{Assigned(taken(leaseOf("1", "w-9#a", after(5))), "w-1#a")}, []Member{member("w-1#a", nil), led}, nil,
			"1: moving to w-1#a, who has not taken it yet"},
		{"blocked", []Lease{taken(leaseOf("1", "w-1#a", after(5)))}, []Member{member("w-1#a", func(m *Member) { m.Blocked = blocked }), led}, nil,
			"1: blocked on record 9 since 1970-01-01T00:00:00Z: process records failed 4 times: no, held by w-1#a"},
		{"perhaps blocked", []Lease{taken(leaseOf("1", "w-1#a", after(5)))}, []Member{member("w-1#a", func(m *Member) { m.Blocked = many }), led}, nil,
			"1: held, perhaps blocked, by w-1#a since term 7, at AFTER:5"},
		{"blocked when another had it", []Lease{taken(leaseOf("1", "w-2#b", after(5)))}, []Member{member("w-1#a", func(m *Member) { m.Blocked = blocked }), member("w-2#b", nil), led}, nil,
			"1: held by w-2#b since term 7, at AFTER:5"},
		{"finished", []Lease{leaseOf("1", "w-1#a", stream.ShardEnd)}, nil, nil,
			"1: finished"},
		{"waiting", []Lease{leaseOf("3", "", stream.TrimHorizon, "1", "2"), taken(leaseOf("1", "w-2#b", after(1))), leaseOf("2", "", stream.ShardEnd)}, []Member{member("w-2#b", nil), led}, nil,
			"3: waiting for parent 1, held by w-2#b"},
		{"waiting for a parent that waits", []Lease{leaseOf("3", "", stream.TrimHorizon, "2"), leaseOf("2", "", stream.TrimHorizon, "1"), leaseOf("1", "", after(1))}, []Member{led}, nil,
			"3: waiting for parent 2, which waits itself"},
		{"waiting for a parent that is free", []Lease{leaseOf("2", "", stream.TrimHorizon, "1"), leaseOf("1", "", after(1))}, []Member{led}, nil,
			"2: waiting for parent 1, which nobody holds"},
		{"waiting for a parent that is paused", []Lease{leaseOf("2", "", stream.AtTime(time.UnixMilli(1)), "1"), leaseOf("1", "", after(1))}, []Member{led}, []Action{pausing("s", "1")},
			"2: paused by ada since 2023-11-14T22:13:20Z"},
		{"moving", []Lease{moving(taken(leaseOf("1", "w-2#b", after(5))), "w-1#a")}, []Member{member("w-1#a", nil), member("w-2#b", nil), led}, nil,
			"1: moving from w-1#a to w-2#b"},
		{"moving from one that is gone", []Lease{moving(taken(leaseOf("1", "w-2#b", after(5))), "w-9#a")}, []Member{member("w-2#b", nil), led}, nil,
			"1: moving from w-9#a (gone) to w-2#b"},
		{"free, and nobody is there", []Lease{leaseOf("1", "", after(5))}, nil, nil,
			"1: free, no worker lives"},
		{"free, and all are fenced", []Lease{leaseOf("1", "w-1#a", after(5))}, []Member{member("w-1#a", func(m *Member) { m.Fenced = true }), led}, nil,
			"1: free, its owner is w-1#a (gone); no worker lives"},
		{"free, and all drain", []Lease{leaseOf("1", "", after(5))}, []Member{member("w-1#a", func(m *Member) { m.Draining = true }), led}, nil,
			"1: free, all workers are draining"},
		{"free, and only a drained one is there", []Lease{leaseOf("1", "", after(5))}, []Member{member("w-1#a", nil), member("w-2#b", func(m *Member) { m.Draining = true }), led}, []Action{drain},
			"1: free, the leader has not given it to anybody yet"},
		{"free, and who serves it drains", []Lease{leaseOf("1", "", after(5))},
			[]Member{member("w-1#a", func(m *Member) { m.Streams, m.Draining = NewStreamSet("s:1"), true }), member("w-2#b", func(m *Member) { m.Streams = NewStreamSet("t:1") }), led}, nil,
			"1: free, no worker that takes shards serves its stream"},
		{"free, and all are full", []Lease{leaseOf("1", "", after(5)), leaseOf("2", "w-1#a", after(5))}, []Member{member("w-1#a", func(m *Member) { m.MaxLeases = 1 }), led}, nil,
			"1: free, all workers that serve its stream have as many shards as they take"},
		{"free, and whoever led is out", []Lease{leaseOf("1", "", after(5))}, []Member{member("w-1#a", func(m *Member) { m.Fenced = true }), member("w-2#b", nil), led}, nil,
			"1: free, nobody leads the fleet"},
		{"free, and new", []Lease{leaseOf("1", "", stream.TrimHorizon)}, []Member{member("w-1#a", nil), led}, nil,
			"1: free, it has yet to begin, and the leader gives it away when its stream has told of it"},
		{"free, and its place is not known", []Lease{leaseOf("1", "java", stream.Latest)}, []Member{member("w-1#a", nil), led}, nil,
			"1: free, its owner is java (gone); it has yet to begin, and the leader gives it away when its stream has told of it"},
		{"free, and nobody leads", []Lease{leaseOf("1", "", after(5))}, []Member{member("w-1#a", nil)}, nil,
			"1: free, nobody leads the fleet"},
		{"free for a moment", []Lease{leaseOf("1", "", after(5))}, []Member{member("w-1#a", nil), led}, nil,
			"1: free, the leader has not given it to anybody yet"},
		{"paused", []Lease{leaseOf("1", "", after(5))}, nil, []Action{pausing("s")},
			"1: paused by ada since 2023-11-14T22:13:20Z"},
		{"paused, and not yet let go", []Lease{moving(taken(leaseOf("1", "", after(5))), "w-1#a")}, []Member{member("w-1#a", nil), led}, []Action{pausing("s")},
			"1: paused by ada since 2023-11-14T22:13:20Z, still held by w-1#a"},
		{"paused, and its owner is gone", []Lease{taken(leaseOf("1", "w-9#a", after(5)))}, nil, []Action{pausing("s")},
			"1: paused by ada since 2023-11-14T22:13:20Z"},
		{"sought", []Lease{leaseOf("1", "", after(5))}, nil, []Action{{Kind: ActionSeek, Scope: Scope{"s", "1"}, To: after(2), Reason: "again"}},
			"1: sought to AFTER:2 by ada since 2023-11-14T22:13:20Z: again"},
	} {
		store := NewMemory()
		if err := store.Create(t.Context(), test.rows...); err != nil {
			t.Fatal(err)
		}
		for _, m := range test.members {
			if _, err := store.SwapMember(t.Context(), Member{}, m); err != nil {
				t.Fatal(err)
			}
		}
		for _, n := range notesOf(test.given...) {
			if _, err := store.SwapNote(t.Context(), Note{}, n); err != nil {
				t.Fatal(err)
			}
		}
		fleet, err := NewObserver(store, testF).Look(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range fleet.Shards {
			if s.Lease.Key != test.rows[0].Key {
				continue
			}
			if got := s.String(); got != test.want {
				t.Errorf("%s:\n got %q\nwant %q", test.name, got, test.want)
			}
			if attrs := s.LogValue().Group(); s.LogValue().Kind() != slog.KindGroup || len(attrs) < 6 {
				t.Errorf("%s: log value %v", test.name, attrs)
			}
		}
	}
}

func TestWhoLivesIsSeenFromTheSecondLookOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := NewMemory()
		rows := map[string]Member{}
		swap := func(m Member) {
			t.Helper()
			row, err := store.SwapMember(t.Context(), rows[m.Incarnation], m)
			if err != nil {
				t.Fatal(err)
			}
			rows[m.Incarnation] = row
		}
		for _, name := range []string{"live", "dead", "fenced", leaderKey} {
			swap(Member{Incarnation: name, Worker: map[string]string{leaderKey: "live"}[name], Beats: 1, Fenced: name == "fenced"})
		}
		o := NewObserver(store, testF)
		look := func(want string) {
			t.Helper()
			fleet, err := o.Look(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, m := range fleet.Members {
				got = append(got, m.Member.Incarnation+" "+string(m.State))
			}
			if fleet.Leader == "" {
				got = append(got, "unled")
			}
			if text := strings.Join(got, ", "); text != want {
				t.Errorf("got %s, want %s", text, want)
			}
		}
		beat := func() {
			m := rows["live"]
			m.Beats++
			swap(m)
		}
		look("dead unknown, fenced fenced, live unknown")
		time.Sleep(testF / 2)
		beat()
		look("dead unknown, fenced fenced, live live")
		time.Sleep(testF / 2)
		beat()
		look("dead silent, fenced fenced, live live, unled")
		time.Sleep(2 * testF) // nobody looked: what was seen says nothing
		look("dead unknown, fenced fenced, live unknown")
	})
}

func TestAFleetsStatusTakesAsLongAsItTakesToSeeWhoLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := NewMemory()
		ctx, cancel := context.WithCancel(t.Context())
		c, err := NewCoordinator(Config{Worker: "a", Store: store, Streams: []stream.Stream{noStream{}}, FailoverTime: testF, Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error)
		go func() { ended <- c.Run(ctx, untilDrained) }()
		time.Sleep(testF)
		began := time.Now()
		fleet, err := FleetStatus(t.Context(), store, testF)
		if err != nil || fleet.Members[0].State != MemberLive || fleet.Leader == "" || time.Since(began) > testF/2 {
			t.Errorf("with a live worker: %v, %v, after %v", fleet.Members, err, time.Since(began))
		}
		cancel()
		<-ended
		if _, err := store.SwapMember(t.Context(), Member{}, Member{Incarnation: "dead", Worker: "dead", Beats: 1}); err != nil {
			t.Fatal(err)
		}
		began = time.Now()
		lists := 0
		fleet, err = FleetStatus(t.Context(), &puppet{Store: store, beforeLeases: func() { lists++ }}, testF)
		if err != nil || fleet.Members[0].State != MemberSilent || time.Since(began) > testF || lists > 2 {
			t.Errorf("with a dead one: %v, %v, after %v and %d lists of all leases", fleet.Members, err, time.Since(began), lists)
		}
		if text := fleet.Members[0].String(); text != "dead: silent for 7s, 0 shards" {
			t.Errorf("it is told as %q", text)
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := FleetStatus(ctx, store, testF); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("interrupted: %v", err)
		}
	})
}

func TestAHandoffIsTimedFromWhenItWasFirstSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := NewMemory()
		l, given := leaseOf("1", "b", after(5)), leaseOf("2", "b", after(5))
		l.CheckpointOwner, l.Term = "a", 7
		if _, err := store.SwapMember(t.Context(), Member{}, Member{Incarnation: "b", Worker: "b"}); err != nil {
			t.Fatal(err)
		}
		if err := store.Create(t.Context(), l, given); err != nil {
			t.Fatal(err)
		}
		o := NewObserver(store, testF)
		for want := time.Duration(0); want < time.Minute; want += 20 * time.Second {
			fleet, err := o.Look(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if s := fleet.Shards[0]; s.For != want || s.From != "a" || s.To != "b" || s.State != ShardMoving {
				t.Errorf("%+v, want for %v", s, want)
			}
			if s := fleet.Shards[1]; want < testF && (s.For != want || s.From != "" || s.To != "b" || s.State != ShardMoving) {
				t.Errorf("%+v, want for %v", s, want)
			}
			time.Sleep(20 * time.Second)
		}
	})
}

// A worker that ends a shard claims its children at once; not when they are paused.
func TestAWorkerThatEndsAPausedShardDoesNotBeginItsChildren(t *testing.T) {
	for name, paused := range map[string]bool{"paused": true, "not paused": false} {
		t.Run(name, in(func(t *testing.T) {
			store := NewMemory()
			if paused {
				for _, n := range notesOf(pausing("s", "1")) {
					if _, err := store.SwapNote(t.Context(), Note{}, n); err != nil {
						t.Fatal(err)
					}
				}
			}
			a, key, h := holdOne(t, &puppet{Store: store})
			children := []stream.Shard{{ID: "1.1", Parents: []string{"1"}, Hash: stream.FullRange}}
			if err := h.End(t.Context(), children); err != nil {
				t.Fatal(err)
			}
			a.mu.Lock()
			row := a.slots[key].row
			a.mu.Unlock()
			a.adopt(a.life, row, children)
			synctest.Wait()
			if got := a.holding("s:1/1.1"); got == paused {
				t.Errorf("it holds the child: %v", got)
			}
		}))
	}
}

// Where somebody leads, fencing is left to him: an operator may have been given
// another FailoverTime than the fleet.
func TestAnOperatorFencesOnlyWhereNobodyLeads(t *testing.T) {
	for name, led := range map[string]bool{"led": true, "led by a dead one": false, "leaderless": false} {
		t.Run(name, in(func(t *testing.T) {
			store := NewMemory()
			l := leaseOf("1", "a", after(5))
			l.Term = 7
			if err := store.Create(t.Context(), l); err != nil {
				t.Fatal(err)
			}
			leader := Member{Incarnation: leaderKey, Worker: "b", Beats: 1}
			if name == "leaderless" {
				leader.Worker = ""
			}
			for _, m := range []*Member{{Incarnation: "a", Worker: "a", Beats: 1}, &leader} {
				row, err := store.SwapMember(t.Context(), Member{}, *m)
				if err != nil {
					t.Fatal(err)
				}
				*m = row
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*testF)
			defer cancel()
			if led {
				go func() {
					for wait(ctx, testF/3, nil) {
						next := leader
						next.Beats++
						leader, _ = store.SwapMember(ctx, leader, next)
					}
				}()
			}
			o, err := NewOperator(store, OperatorConfig{FailoverTime: testF, Logger: quiet})
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			_, err = o.Do(ctx, Action{Kind: ActionSeek, To: stream.TrimHorizon})
			m, _ := memberRow(t, store, "a")
			if led && (!errors.Is(err, context.DeadlineExceeded) || m.Fenced) || !led && (err != nil || !m.Fenced || time.Since(began) < testF) {
				t.Errorf("after %v: %v, fenced %v", time.Since(began), err, m.Fenced)
			}
			if led {
				return
			}
			if got := row(t, store, l.Key); got.Owner != "" || got.Term != 0 || !sameState(got.Checkpoint, checkpoint.State{Position: stream.TrimHorizon}) {
				t.Errorf("the row is %+v", got)
			}
		}))
	}
}

// noting is a store that does something before a note is written.
type noting struct {
	Store
	before func()
}

func (n *noting) SwapNote(ctx context.Context, old, next Note) (Note, error) {
	n.before()
	return n.Store.SwapNote(ctx, old, next)
}

func TestASeekOfAShardThatEndsMeanwhileSaysThatItDidNothing(t *testing.T) {
	store, l := NewMemory(), leaseOf("1", "", after(5))
	if err := store.Create(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	o, err := NewOperator(&noting{store, func() {
		if l := row(t, store, l.Key); !l.Finished() {
			if _, err := store.Swap(t.Context(), l, Ended(l, "a", nil)); err != nil {
				t.Error(err)
			}
		}
	}}, OperatorConfig{FailoverTime: testF, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	c, err := o.Do(t.Context(), Action{Kind: ActionSeek, Scope: Scope{"s", "1"}, To: stream.TrimHorizon})
	if !errors.Is(err, ErrMovedOn) || !strings.Contains(err.Error(), "it was finished meanwhile") || len(c.Leases) > 0 || len(c.Skipped) != 1 {
		t.Errorf("%+v, %v", c, err)
	}
	if notes, err := store.Notes(t.Context()); err != nil || len(notes) > 0 {
		t.Errorf("notes are left: %v, %v", notes, err)
	}
}

func TestASeekTellsWhyTheStoreDoesNotWriteARow(t *testing.T) {
	for _, test := range []struct {
		err   error
		waits bool
	}{{errCut, true}, {checkpoint.ErrTooLarge, false}} {
		in(func(t *testing.T) {
			store := NewMemory()
			if err := store.Create(t.Context(), leaseOf("1", "", after(5))); err != nil {
				t.Fatal(err)
			}
			p := &puppet{Store: store, beforeSwap: func(_, _ Lease) error { return test.err }}
			o, err := NewOperator(p, OperatorConfig{FailoverTime: testF, Logger: quiet})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), testF)
			defer cancel()
			_, err = o.Do(ctx, Action{Kind: ActionSeek, To: stream.TrimHorizon})
			if !errors.Is(err, test.err) || errors.Is(err, context.DeadlineExceeded) != test.waits {
				t.Errorf("got %v", err)
			}
		})(t)
	}
}

// A stream that is gone for example: the fleet's status would else tell of a shard
// that is held, and all well.
func TestAShardWhoseCallbacksFailIsBlockedUntilItIsGivenUp(t *testing.T) {
	in(func(t *testing.T) {
		store := NewMemory()
		a := newActorWith(t, Config{Worker: "a", Store: store}, func(context.Context, Hold) error { return errCut })
		key := owned(t, store, a.me, "1")[0]
		if err := a.pollOnce(a.life); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		_, beat := a.nextBeat(time.Now())
		if longest, _ := beat.Blocked.Longest(); len(longest) != 1 || longest[0].Key != key || longest[0].Err != errCut.Error() {
			t.Errorf("the beat tells %q", beat.Blocked)
		}
		a.holds.Wait()
		if _, beat := a.nextBeat(time.Now()); beat.Blocked != "" {
			t.Errorf("the beat tells %q of what was given up", beat.Blocked)
		}
	})(t)
}

// The process of the operator ended before it could say what it had done.
func TestWhatADryRunSaidUndoesASeekThatWroteNothingButItsNote(t *testing.T) {
	in(func(t *testing.T) {
		store := NewMemory()
		if err := store.Create(t.Context(), leaseOf("1", "a", after(5))); err != nil {
			t.Fatal(err)
		}
		if _, err := store.SwapMember(t.Context(), Member{}, Member{Incarnation: "a", Worker: "a", Beats: 1}); err != nil {
			t.Fatal(err)
		}
		o, err := NewOperator(store, OperatorConfig{FailoverTime: testF, Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		seek := Action{Kind: ActionSeek, To: stream.TrimHorizon}
		dry, err := o.DryRun(t.Context(), seek)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), testF/2)
		defer cancel()
		if _, err := o.Do(ctx, seek); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		for range 2 {
			c, err := o.Undo(t.Context(), dry)
			if err != nil || len(c.Leases) > 0 || len(c.Skipped) > 0 {
				t.Errorf("%+v, %v", c, err)
			}
			if f, err := NewObserver(store, testF).Look(t.Context()); err != nil || len(f.Orders) > 0 {
				t.Errorf("orders are left: %v, %v", f.Orders, err)
			}
		}
	})(t)
}

// Its holder goes on between the look at the stream and the pause.
func TestASeekToLatestTakesNoShardBack(t *testing.T) {
	for _, test := range []struct{ from, want stream.Position }{
		{after(9), after(9)},
		{after(6), after(7)},
		{stream.TrimHorizon, after(7)},
	} {
		store := NewMemory()
		l := NewLease(testStream.Name, testStream.ID(), shardOf("1", false), stream.TrimHorizon)
		if err := store.Create(t.Context(), l); err != nil {
			t.Fatal(err)
		}
		goesOn := func() {
			old := row(t, store, l.Key)
			next := old
			next.Checkpoint, next.Term = checkpoint.State{Position: test.from}, 5
			if _, err := store.Swap(t.Context(), old, next); err != nil {
				t.Error(err)
			}
		}
		o, err := NewOperator(&noting{store, sync.OnceFunc(goesOn)}, OperatorConfig{FailoverTime: testF, Logger: quiet, Streams: []stream.Stream{
			listed{name: "s", pin: func() (stream.Position, error) { return after(7), nil }},
		}})
		if err != nil {
			t.Fatal(err)
		}
		c, err := o.Do(t.Context(), Action{Kind: ActionSeek, To: stream.Latest})
		if err != nil || len(c.Leases) != 1 || c.Leases[0].After.Checkpoint.Position != test.want {
			t.Errorf("from %v: %v, %v, want %v", test.from, c.Leases, err, test.want)
		}
		if l := row(t, store, l.Key); l.Checkpoint.Position != test.want || l.Term != 0 {
			t.Errorf("from %v: the row is at %v in term %d, want %v", test.from, l.Checkpoint.Position, l.Term, test.want)
		}
		undone, err := o.Undo(t.Context(), c)
		if l := row(t, store, l.Key); err != nil || l.Checkpoint.Position != test.from {
			t.Errorf("undone: %v, %v, at %v, want %v", undone.Leases, err, l.Checkpoint.Position, test.from)
		}
	}
}
