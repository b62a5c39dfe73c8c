package lease

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millrace/millrace/stream"
)

// These tests are about what hangs and heeds no context, as a logger may, and
// about what is told, and when.

// door is where calls wait while it is shut.
type door struct{ closed atomic.Pointer[chan struct{}] }

// shut shuts the door until open is called.
func (d *door) shut() (open func()) {
	c := make(chan struct{})
	d.closed.Store(&c)
	return func() {
		d.closed.Store(nil)
		close(c)
	}
}

func (d *door) pass() {
	if c := d.closed.Load(); c != nil {
		<-*c
	}
}

// journal is a log handler that keeps what a person is told; while it is shut
// its every call waits.
type journal struct {
	door
	mu   sync.Mutex
	said []string
}

func (j *journal) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }

func (j *journal) Handle(_ context.Context, r slog.Record) error {
	j.pass()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.said = append(j.said, r.Message)
	return nil
}

func (j *journal) WithAttrs([]slog.Attr) slog.Handler { return j }
func (j *journal) WithGroup(string) slog.Handler      { return j }

// order returns which of these messages were told, in the order in which that
// began.
func (j *journal) order(messages ...string) (told []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, m := range j.said {
		if slices.Contains(messages, m) && !slices.Contains(told, m) {
			told = append(told, m)
		}
	}
	return told
}

// A log that goes to a full disk, or to a pipe that nobody reads, holds up what
// is told, and not the end of the right to process, the second time no less.
func TestALoggerThatHangsLetsNobodyProcessForLonger(t *testing.T) {
	in(func(t *testing.T) {
		var cut atomic.Bool
		p := &puppet{Store: NewMemory(), beforeSwapMember: func(_, _ Member) error {
			if cut.Load() {
				return errCut
			}
			return nil
		}}
		logs := &journal{}
		c, err := NewCoordinator(Config{
			Worker: "a", Store: p, Streams: []stream.Stream{listed{name: "s", shards: oneShard}},
			FailoverTime: testF, HandoffTimeout: testH, Seed: 1, Logger: slog.New(logs),
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		held := make(chan context.Context, 1)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = c.Run(ctx, func(ctx context.Context, _ Hold) error {
				held <- ctx
				<-ctx.Done()
				return context.Cause(ctx)
			})
		}()
		for range 2 {
			holding := <-held
			cut.Store(true)
			open := logs.shut()
			time.Sleep(testF)
			if !errors.Is(context.Cause(holding), ErrExpired) {
				t.Errorf("a shard is processed on: %v", context.Cause(holding))
			}
			open()
			cut.Store(false)
		}
		stop()
		<-ended
	})(t)
}

// slowLister is a store whose list of leases waits at a door, whatever becomes of
// the caller.
type slowLister struct {
	Store
	door
}

func (s *slowLister) Leases(ctx context.Context) iter.Seq2[Lease, error] {
	s.pass()
	return s.Store.Leases(ctx)
}

// One that beats and plans nothing would keep everybody else from planning.
func TestALeaderWhosePassHangsLosesTheOffice(t *testing.T) {
	for name, hang := range map[string]func(*journal, *slowLister) (open func()){
		"in its logger": func(logs *journal, _ *slowLister) func() { return logs.shut() },
		"in its store":  func(_ *journal, store *slowLister) func() { return store.shut() },
	} {
		t.Run(name, in(func(t *testing.T) {
			memory := NewMemory()
			ctx, stop := context.WithCancel(t.Context())
			var fleet sync.WaitGroup
			start := func(name string, store Store, log slog.Handler) *Coordinator {
				c, err := NewCoordinator(Config{
					Worker: name, Store: store, Streams: []stream.Stream{listed{name: "s", shards: sixShards}},
					FailoverTime: testF, HandoffTimeout: testH, Seed: uint64(name[0]), Logger: slog.New(log),
				})
				if err != nil {
					t.Fatal(err)
				}
				fleet.Go(func() { _ = c.Run(ctx, untilDrained) })
				return c
			}
			logs, lister := &journal{}, &slowLister{Store: memory}
			a := start("a", lister, logs)
			time.Sleep(testF)
			var dead atomic.Bool
			b := start("b", &puppet{Store: memory, beforeSwapMember: func(Member, Member) error {
				if dead.Load() {
					return errCut
				}
				return nil
			}}, slog.DiscardHandler)
			c := start("c", memory, slog.DiscardHandler)
			time.Sleep(2 * time.Minute)
			gone := b.Status().Incarnation
			if rows, err := memory.Owned(ctx, gone); err != nil || len(rows) == 0 || !a.Status().Leading {
				t.Fatalf("b has %d leases, error %v, and a leads: %v", len(rows), err, a.Status().Leading)
			}

			open := hang(logs, lister)
			dead.Store(true)
			time.Sleep(3 * time.Minute)
			if rows, err := memory.Owned(ctx, gone); err != nil || len(rows) > 0 {
				t.Errorf("%d leases are still those of the dead, error %v", len(rows), err)
			}
			if a.Status().Leading || !c.Status().Leading {
				t.Errorf("a leads: %v, c leads: %v", a.Status().Leading, c.Status().Leading)
			}
			open()
			time.Sleep(time.Second)
			if hangs := "leading no more: a pass hangs"; len(logs.order(hangs)) == 0 {
				t.Errorf("%q is not told", hangs)
			}
			dead.Store(false)
			stop()
			fleet.Wait()
		}))
	}
}

func sixShards() (shards []stream.Shard, err error) {
	for i, r := range stream.SplitHashSpace(6) {
		shards = append(shards, stream.Shard{ID: fmt.Sprint(i), Hash: r})
	}
	return shards, nil
}

// Each stream that hangs may take FailoverTime, and whoever comes next would be
// no faster.
func TestALeaderWhosePassesTakeLongAndGoOnKeepsTheOffice(t *testing.T) {
	in(func(t *testing.T) {
		var streams []stream.Stream
		for i := range 12 {
			streams = append(streams, listed{name: fmt.Sprint(i), shards: oneShard}) // its shard cannot be pinned
		}
		fleet := newCrew(t)
		fleet.initial = stream.Latest
		fleet.start("a", streams...)
		fleet.start("bb", streams...)
		time.Sleep(20 * time.Minute)
		if n := fleet.reigns(); n != 1 {
			t.Errorf("%d reigns in 20 minutes", n)
		}
	})(t)
}

// A callback that ignores its context must not keep its shard from the fleet,
// even if nobody can be told of it.
func TestAWorkerThatCannotStopFallsSilentThoughItsLoggerHangs(t *testing.T) {
	in(func(t *testing.T) {
		store, logs := NewMemory(), &journal{}
		c, err := NewCoordinator(Config{
			Worker: "a", Store: store, Streams: []stream.Stream{listed{name: "s", shards: oneShard}},
			FailoverTime: testF, HandoffTimeout: testH, Drain: testF, Seed: 1, Logger: slog.New(logs),
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		held, let, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			_ = c.Run(ctx, func(context.Context, Hold) error {
				close(held)
				<-let
				return nil
			})
		}()
		<-held
		me := c.Status().Incarnation
		open := logs.shut()
		stop()
		time.Sleep(3 * testF)
		before, _ := memberRow(t, store, me)
		time.Sleep(testF)
		if now, there := memberRow(t, store, me); !there || now.Beats != before.Beats {
			t.Errorf("it beats on: %d, then %d", before.Beats, now.Beats)
		}
		open()
		close(let)
		<-ended
	})(t)
}

// The right to process expires while a beat is under way, whose answer comes
// after it, or while the worker waits to beat again, and stops.
func TestALapseIsToldBeforeWhatComesOfIt(t *testing.T) {
	const lapse = "no beat was answered in time, stopping all shards"
	for _, test := range []struct {
		outcome         string
		fenced, stopped bool
	}{
		{outcome: "back after the right to process had expired"},
		{outcome: "out of the fleet, coming back as a new incarnation", fenced: true},
		{outcome: "stopped without telling the fleet: the store does not answer, so that others wait for FailoverTime", stopped: true},
	} {
		t.Run(test.outcome, in(func(t *testing.T) {
			store, logs := NewMemory(), &journal{}
			var away atomic.Bool
			var last time.Time // of the last good beat
			p := &puppet{Store: store, beforeSwapMember: func(old, _ Member) error {
				switch {
				case old.Worker != "a":
				case !away.Load():
					last = time.Now()
				case test.stopped || time.Since(last) < testF*8/10:
					return errCut
				default:
					time.Sleep(testF * 3 / 10)
					if away.Store(false); test.fenced {
						fence(t, store, old.Incarnation)
					}
				}
				return nil
			}}
			c, err := NewCoordinator(Config{
				Worker: "a", Store: p, Streams: []stream.Stream{listed{name: "s", shards: oneShard}},
				FailoverTime: testF, HandoffTimeout: testH, Seed: 1, Logger: slog.New(logs),
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				_ = c.Run(ctx, func(ctx context.Context, _ Hold) error {
					<-ctx.Done()
					return context.Cause(ctx)
				})
			}()
			time.Sleep(time.Minute)
			away.Store(true)
			if test.stopped {
				stop()
			}
			time.Sleep(time.Minute)
			if told := logs.order(lapse, test.outcome); !slices.Equal(told, []string{lapse, test.outcome}) {
				t.Errorf("told: %q", told)
			}
			stop()
			<-ended
		}))
	}
}

func fence(t *testing.T, store Store, incarnation string) {
	t.Helper()
	row, _ := memberRow(t, store, incarnation)
	fenced := row
	fenced.Fenced = true
	if _, err := store.SwapMember(t.Context(), row, fenced); err != nil {
		t.Error(err)
	}
}

// unlisted is a store whose index hangs when it is told to.
type unlisted struct {
	Store
	hangs atomic.Bool
}

func (u *unlisted) Owned(ctx context.Context, incarnation string) ([]Lease, error) {
	if u.hangs.Load() {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	return u.Store.Owned(ctx, incarnation)
}

// A worker that cannot ask what was given to it leaves the fleet all the same, so
// that nobody has to wait for its silence.
func TestAWorkerLeavesThoughItsLeasesCannotBeListed(t *testing.T) {
	in(func(t *testing.T) {
		store := &unlisted{Store: NewMemory()}
		c, err := NewCoordinator(Config{
			Worker: "a", Store: store, Streams: []stream.Stream{listed{name: "s", shards: oneShard}},
			FailoverTime: testF, HandoffTimeout: testH, Seed: 1, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		held, ended := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			_ = c.Run(ctx, func(_ context.Context, h Hold) error {
				close(held)
				<-h.Draining()
				return nil
			})
		}()
		<-held
		store.hangs.Store(true)
		stop()
		<-ended
		members, err := store.Members(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range members {
			if m.Incarnation != leaderKey {
				t.Errorf("the row of %s is left", m.Incarnation)
			}
		}
	})(t)
}
