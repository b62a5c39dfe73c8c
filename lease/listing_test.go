package lease

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/millrace/millrace/stream"
)

// lateStore does something just before rows are created.
type lateStore struct {
	Store
	before func()
}

func (s lateStore) Create(ctx context.Context, rows ...Lease) error {
	s.before()
	return s.Store.Create(ctx, rows...)
}

// The leader was stopped between looking and creating. Meanwhile the child of
// its parent, which it is about to create, was processed and retired. When it
// wants to look again, the stream may hang.
func TestALeaderGivesOutNoRowThatCameTooLate(t *testing.T) {
	for name, hangs := range map[string]time.Duration{"and the stream answers": 0, "and the stream hangs": testF} {
		t.Run(name, in(func(t *testing.T) { giveOutNoLateRow(t, hangs) }))
	}
}

func giveOutNoLateRow(t *testing.T, hangs time.Duration) {
	store := NewMemory()
	parent, child, heir := rowOf("a", stream.ShardEnd), rowOf("b", stream.TrimHorizon, "a"), rowOf("c", after(3), "b")
	if err := store.Create(t.Context(), parent); err != nil {
		t.Fatal(err)
	}
	shards := []stream.Shard{shardOf("a", true), shardOf("b", true, "a"), shardOf("c", false, "b")}
	asked := 0
	late := lateStore{store, func() {
		_ = store.Delete(t.Context(), parent)
		_ = store.Create(t.Context(), heir)
	}}
	l, _ := leading(t, late, func() ([]stream.Shard, error) {
		if asked++; asked > 1 {
			time.Sleep(hangs)
		}
		return shards, nil
	})
	defer l.calls.Wait()
	for range 6 {
		if err := l.pass(t.Context()); err != nil {
			t.Fatal(err)
		}
		for row := range store.Leases(t.Context()) {
			if row.Key == child.Key && row.Owner != "" {
				t.Errorf("the row that came too late was given to %s", row.Owner)
			}
		}
		time.Sleep(l.cfg.PlanInterval)
	}
	if rows, err := store.Read(t.Context(), child.Key); err != nil || len(rows) > 0 {
		t.Errorf("the row that came too late is still there after the next pass: %v, %v", rows, err)
	}
}

// The request that created the row was under way for so long that its shard was
// finished and retired before it arrived, and the stream cannot say so.
func TestALeaderGivesOutNoNewRowOfAStreamThatItCannotList(t *testing.T) {
	for name, c := range map[string]struct{ fails, leaves bool }{
		"since the stream fails":    {fails: true},
		"since the leader is going": {leaves: true},
	} {
		t.Run(name, in(func(t *testing.T) {
			store := NewMemory()
			child, heir := rowOf("b", stream.TrimHorizon, "a"), rowOf("c", after(3), "b")
			child.Term = 0
			if err := store.Create(t.Context(), heir); err != nil {
				t.Fatal(err)
			}
			fails := false
			l, _ := leading(t, store, func() ([]stream.Shard, error) {
				if fails {
					return nil, errors.New("not now")
				}
				return []stream.Shard{shardOf("b", true, "a"), shardOf("c", false, "b")}, nil
			})
			defer l.calls.Wait()
			pass := func() {
				t.Helper()
				if err := l.pass(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			pass()
			fails = c.fails
			listers := l.listers
			if c.leaves {
				l.listers = nil
			}
			if err := store.Create(t.Context(), child); err != nil {
				t.Fatal(err)
			}
			pass()
			if late := row(t, store, child.Key); late.Owner != "" {
				t.Errorf("the row that came too late was given to %s", late.Owner)
			}
			fails, l.listers = false, listers
			pass()
			if rows, err := store.Read(t.Context(), child.Key); err != nil || len(rows) > 0 {
				t.Errorf("the row that came too late is still there when the stream was listed: %v, %v", rows, err)
			}
		}))
	}
}

// leading returns a leader over a store and a stream, that has joined, and keeps
// its log.
func leading(t *testing.T, store Store, shards func() ([]stream.Shard, error)) (l *leader, log *bytes.Buffer) {
	t.Helper()
	log = new(bytes.Buffer)
	c, err := NewCoordinator(Config{
		Worker: "w", Store: store, Streams: []stream.Stream{listed{name: "s", shards: shards}}, FailoverTime: testF,
		Logger: slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	s := newSession(c, func(context.Context, Hold) error { return nil })
	if !s.join(t.Context()) {
		t.Fatal("cannot join")
	}
	return s.newLeader(s.newWatch()), log
}

// A stream that hangs is waited for once, and for half of PlanInterval; what it
// says later is used in the pass after that.
func TestAStreamThatHangsHoldsUpNoPassForLong(t *testing.T) {
	in(func(t *testing.T) {
		const slow = 8 * time.Second
		hangs := listed{name: "s", shards: func() ([]stream.Shard, error) {
			time.Sleep(slow)
			return []stream.Shard{shardOf("a", false)}, nil
		}}
		c, err := NewCoordinator(Config{
			Worker: "w", Store: NewMemory(), Streams: []stream.Stream{hangs}, FailoverTime: testF, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		l := newSession(c, nil).newLeader(nil)
		ctx, cancel := context.WithCancel(t.Context())
		defer l.calls.Wait()
		defer cancel()
		for n, want := range []struct {
			takes  time.Duration
			listed int
		}{{c.cfg.PlanInterval / 2, 0}, {0, 0}, {0, 1}, {c.cfg.PlanInterval / 2, 0}} {
			began := time.Now()
			listings := l.list(ctx)
			if took := time.Since(began); took != want.takes || len(listings) != want.listed {
				t.Errorf("pass %d waits %v for %d listings, want %v and %d", n+1, took, len(listings), want.takes, want.listed)
			}
			time.Sleep(slow / 2)
		}
	})(t)
}

// Each listing takes longer than a pass waits, so that every second pass has none.
// A worker that has the shard may still be busy with what it read of it.
func TestAShardThatLeftASlowStreamIsGivenUpOnUnlessAWorkerHasIt(t *testing.T) {
	for _, paused := range []bool{true, false} {
		in(func(t *testing.T) {
			store := NewMemory()
			gone, child := rowOf("a", after(3)), rowOf("b", stream.TrimHorizon, "a")
			if err := store.Create(t.Context(), gone, child); err != nil {
				t.Fatal(err)
			}
			if paused {
				order := Order{Action: Action{Kind: ActionPause, Scope: Scope{Stream: "s"}}}
				if _, err := store.SwapNote(t.Context(), Note{}, order.note()); err != nil {
					t.Fatal(err)
				}
			}
			l, _ := leading(t, store, func() ([]stream.Shard, error) {
				time.Sleep(3 * testF / 8)
				return []stream.Shard{shardOf("b", false, "a")}, nil
			})
			defer l.calls.Wait()
			for range 20 {
				if err := l.pass(t.Context()); err != nil {
					t.Fatal(err)
				}
				time.Sleep(l.cfg.PlanInterval)
			}
			if l := row(t, store, gone.Key); l.Finished() != paused {
				t.Errorf("with an owner: %v; it is finished: %v", !paused, l.Finished())
			}
		})(t)
	}
}
