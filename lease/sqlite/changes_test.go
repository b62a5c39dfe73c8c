package sqlite

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/stream"
)

// listener counts how often it is woken.
type listener struct {
	t     *testing.T
	woken chan struct{}
}

var errStopped = errors.New("stopped by hand")

// listen starts Changes, and returns when it listens. It ends with the test.
func listen(t *testing.T, s *Store) *listener {
	t.Helper()
	ctx, stop := context.WithCancelCause(context.WithoutCancel(t.Context()))
	l := &listener{t: t, woken: make(chan struct{}, 1000)}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Changes(ctx, func() { l.woken <- struct{}{} }); !errors.Is(err, errStopped) {
			t.Errorf("a watcher ended with %v, want the cause of its context", err)
		}
	})
	t.Cleanup(func() { stop(errStopped); wg.Wait() })
	l.hears("that it listens")
	return l
}

func (l *listener) hears(what string) {
	l.t.Helper()
	select {
	case <-l.woken:
	case <-time.After(30 * time.Second):
		l.t.Fatalf("nobody was woken by %s", what)
	}
}

// hearsOnly fails the test unless what is told wakes exactly once.
func (l *listener) hearsOnly(what string, tell func()) {
	l.t.Helper()
	tell()
	l.hears(what)
	select {
	case <-l.woken:
		l.t.Errorf("somebody was woken by more than %s", what)
	case <-time.After(50 * time.Millisecond):
	}
}

func TestOthersHearOfWhatMovesAndNotOfBeatsAndCheckpoints(t *testing.T) {
	path := file(t)
	s := open(t, path, Config{Application: "app"})
	l := listen(t, open(t, path, Config{Application: "app", PollInterval: time.Millisecond}))
	stranger := listen(t, open(t, path, Config{Application: "stranger", PollInterval: time.Millisecond}))
	ctx := t.Context()
	row, member := lease.Lease{Key: "a", Counter: 1}, lease.Member{Incarnation: "w/1"}
	swap := func(change func(*lease.Lease)) {
		next := row
		change(&next)
		var err error
		if row, err = s.Swap(ctx, row, next); err != nil {
			t.Error(err)
		}
	}
	swapMember := func(change func(*lease.Member)) {
		next := member
		change(&next)
		var err error
		if member, err = s.SwapMember(ctx, member, next); err != nil {
			t.Error(err)
		}
	}

	l.hearsOnly("a creation", func() {
		if err := s.Create(ctx, row); err != nil {
			t.Error(err)
		}
	})
	l.hearsOnly("a new owner", func() { swap(func(l *lease.Lease) { l.Owner = "w/1" }) })
	l.hearsOnly("a hand-over in a transaction, after a take, checkpoints and a creation of nothing new", func() {
		swap(func(l *lease.Lease) {
			l.Checkpoint = checkpoint.State{Position: stream.TrimHorizon, Progress: []byte("some")}
			l.Load.BytesPerSecond = 7
		})
		if err := s.Create(ctx, row); err != nil {
			t.Error(err)
		}
		swap(func(l *lease.Lease) { l.Term = row.Counter + 1 })
		db := users(t, path, immediate)
		for _, next := range []lease.Lease{savedAt(row, 1), lease.Released(row, "w/1")} {
			tx := begin(t, db)
			var err error
			if row, err = s.SwapIn(ctx, tx, row, next); err != nil {
				t.Error(err)
			}
			if err := tx.Commit(); err != nil {
				t.Error(err)
			}
		}
	})
	l.hearsOnly("an end", func() { swap(func(l *lease.Lease) { l.Checkpoint.Position = stream.ShardEnd }) })
	l.hearsOnly("a join", func() {
		var err error
		if member, err = s.SwapMember(ctx, lease.Member{}, member); err != nil {
			t.Error(err)
		}
	})
	l.hearsOnly("a bump, after beats", func() {
		for range 3 {
			swapMember(func(m *lease.Member) { m.Beats++; m.Load.RecordsPerSecond++ })
		}
		swapMember(func(m *lease.Member) { m.Revision++ })
	})
	l.hearsOnly("an end of a member, after one of an older row", func() {
		if _, err := s.SwapMember(ctx, lease.Member{Incarnation: "w/1"}, lease.Member{}); !errors.Is(err, lease.ErrConflict) {
			t.Errorf("an end with another version: %v", err)
		}
		if _, err := s.SwapMember(ctx, member, lease.Member{}); err != nil {
			t.Error(err)
		}
	})
	l.hearsOnly("a delete, after a refused one, and reads", func() {
		if err := s.Delete(ctx, lease.Lease{Key: "a"}); !errors.Is(err, lease.ErrConflict) {
			t.Errorf("a delete with another counter: %v", err)
		}
		if _, err := s.Read(ctx, "a"); err != nil {
			t.Error(err)
		}
		if err := s.Delete(ctx, row); err != nil {
			t.Error(err)
		}
	})
	select {
	case <-stranger.woken:
		t.Error("another application was woken")
	default:
	}
}

func TestAStoreMayBeWatchedByManyWithoutKeepingReadsOut(t *testing.T) {
	s := open(t, file(t), Config{Application: "app"})
	for range 2 * readers { // watchers have connections of their own
		listen(t, s)
	}
	if _, err := s.Members(t.Context()); err != nil {
		t.Error(err)
	}
}
