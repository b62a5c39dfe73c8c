package postgres

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/internal/testpg"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/stream"
)

// listener counts how often it is woken.
type listener struct {
	t     *testing.T
	woken chan struct{}
	ended chan error
	stop  context.CancelCauseFunc
}

var errStopped = errors.New("stopped by hand")

// listen starts Changes, and returns when it listens. It ends with the test.
func listen(t *testing.T, s *Store) *listener {
	t.Helper()
	ctx, stop := context.WithCancelCause(t.Context())
	l := &listener{t: t, woken: make(chan struct{}, 1000), ended: make(chan error, 1), stop: stop}
	var wg sync.WaitGroup
	wg.Go(func() { l.ended <- s.Changes(ctx, func() { l.woken <- struct{}{} }) })
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
	server := testpg.Shared(t)
	for name, mode := range modes {
		t.Run(name, func(t *testing.T) {
			s := open(t, server, Config{Application: "app"}, in(mode))
			l := listen(t, beside(t, server, Config{Application: "app", Schema: s.schema}, in(mode)))
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
			l.hearsOnly("an end, after a take, a checkpoint and a creation of nothing new", func() {
				swap(func(l *lease.Lease) {
					l.Checkpoint = checkpoint.State{Position: stream.TrimHorizon, Progress: []byte("some")}
					l.Load.BytesPerSecond = 7
				})
				if err := s.Create(ctx, row); err != nil {
					t.Error(err)
				}
				swap(func(l *lease.Lease) { l.Term = row.Counter + 1 })
				swap(func(l *lease.Lease) { l.Checkpoint.Position = stream.ShardEnd })
			})
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
			l.hearsOnly("an end of a member", func() {
				if _, err := s.SwapMember(ctx, member, lease.Member{}); err != nil {
					t.Error(err)
				}
			})
			l.hearsOnly("a delete, after a refused one", func() {
				if err := s.Delete(ctx, lease.Lease{Key: "a"}); !errors.Is(err, lease.ErrConflict) {
					t.Errorf("a delete with another counter: %v", err)
				}
				if err := s.Delete(ctx, row); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestOtherApplicationsAndSchemasHearNothing(t *testing.T) {
	server := testpg.Shared(t)
	s := open(t, server, Config{Application: "app"})
	others := []*listener{
		listen(t, beside(t, server, Config{Application: "App", Schema: s.schema})),
		listen(t, open(t, server, Config{Application: "app"})),
	}
	mine := listen(t, s)
	if err := s.Create(t.Context(), lease.Lease{Key: "a"}); err != nil {
		t.Fatal(err)
	}
	mine.hears("a creation")
	for i, l := range others {
		select {
		case <-l.woken:
			t.Errorf("listener %d was woken", i)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func TestNotificationsThatComeWhileSomebodyIsBeingWokenAreOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		told, broken := 0, errors.New("the connection broke")
		next := func(context.Context) error { // ten a second, for two seconds
			if told++; told > 20 {
				time.Sleep(time.Hour)
				return broken
			}
			time.Sleep(100 * time.Millisecond)
			return nil
		}
		var woken []time.Duration
		err := relay(t.Context(), next, func() {
			woken = append(woken, time.Since(began).Round(100*time.Millisecond))
			time.Sleep(950 * time.Millisecond)
		})
		if !errors.Is(err, broken) {
			t.Errorf("ended with %v, want %v", err, broken)
		}
		// At the beginning, and then for all that came during the last call.
		if len(woken) != 4 || woken[0] != 0 || woken[3] < 2*time.Second {
			t.Errorf("woken at %v, want four times, and once after the last notification", woken)
		}
	})
}

func TestAListenerWhoseConnectionIsCutSaysSo(t *testing.T) {
	server := testpg.Shared(t)
	s := open(t, server, Config{Application: "app"})
	l := listen(t, s)
	if _, err := s.pool.Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = $1", `LISTEN "`+s.channel+`"`); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-l.ended:
		if err == nil || errors.Is(err, errStopped) {
			t.Errorf("it ended with %v, want an error that says what happened", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("it did not notice")
	}
}

func TestAListenerEndsWithTheCauseOfItsContextAndTakesNothingFromThePool(t *testing.T) {
	server := testpg.Shared(t)
	for name, config := range map[string]Config{"listening": {Application: "app"}, "polling only": {Application: "app", PollOnly: true}} {
		s := open(t, server, config, atMost(1)) // a pool of one, of which it would be all
		ctx, stop := context.WithCancelCause(t.Context())
		ended := make(chan error, 1)
		var wg sync.WaitGroup
		began := make(chan struct{}, 1)
		wg.Go(func() { ended <- s.Changes(ctx, func() { began <- struct{}{} }) })
		if !config.PollOnly {
			<-began
		}
		if err := s.Create(t.Context(), lease.Lease{Key: "a"}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		stop(errStopped)
		if err := <-ended; !errors.Is(err, errStopped) {
			t.Errorf("%s: ended with %v, want the cause of its context", name, err)
		}
		wg.Wait()
	}
}

func TestWhoOnlyPollsNotifiesNobody(t *testing.T) {
	server := testpg.Shared(t)
	s := open(t, server, Config{Application: "app"})
	l := listen(t, s)
	quiet := beside(t, server, Config{Application: "app", Schema: s.schema, PollOnly: true}, in(modes["Simple"]))
	for _, call := range calls(quiet) {
		if err := call(t.Context()); err != nil && !errors.Is(err, lease.ErrConflict) {
			t.Error(err)
		}
	}
	select {
	case <-l.woken:
		t.Error("somebody was woken")
	case <-time.After(50 * time.Millisecond):
	}
}

// A panic is seen, and not waited for.
func TestAWakeThatPanicsIsHeardOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer func() {
			if recover() != "woken" {
				t.Error("the panic is gone")
			}
		}()
		_ = relay(t.Context(), func(ctx context.Context) error {
			<-ctx.Done()
			return context.Cause(ctx)
		}, func() { panic("woken") })
	})
}
