package lease

import (
	"context"
	"errors"
	"slices"
	"sync"
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
		store := NewMemory()
		var fleet sync.WaitGroup
		ctx, stop := context.WithCancel(t.Context())
		start := func(name string, streams ...stream.Stream) *Coordinator {
			c, err := NewCoordinator(Config{Worker: name, Store: store, Streams: streams, Seed: uint64(len(name)), FailoverTime: testF, Logger: quiet})
			if err != nil {
				t.Fatal(err)
			}
			fleet.Go(func() { _ = c.Run(ctx, untilDrained) })
			return c
		}
		many := func() (shards []stream.Shard, err error) {
			for i, r := range stream.SplitHashSpace(6) {
				shards = append(shards, stream.Shard{ID: string(rune('0' + i)), Hash: r})
			}
			return shards, nil
		}
		orders, refunds := listed{name: "orders", shards: many}, listed{name: "refunds", shards: many}
		old := start("old", orders)
		time.Sleep(time.Minute)
		if !old.Status().Leading {
			t.Fatal("the only worker does not lead")
		}
		start("new-1", orders, refunds)
		start("newer-2", orders, refunds)
		time.Sleep(5 * time.Minute)
		owners := map[string]int{}
		for l, err := range store.Leases(t.Context()) {
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
		stop()
		fleet.Wait()
	})(t)
}

// An engine's handle of a stream that was deleted never finds the one that was
// created under its name.
func TestALeaderWithTheHandleOfADeletedStreamMakesWay(t *testing.T) {
	in(func(t *testing.T) {
		store := NewMemory()
		former := &born{at: 1}
		var fleet sync.WaitGroup
		ctx, stop := context.WithCancel(t.Context())
		start := func(name string, s stream.Stream) *Coordinator {
			c, err := NewCoordinator(Config{Worker: name, Store: store, Streams: []stream.Stream{s}, Seed: uint64(len(name)), FailoverTime: testF, Logger: quiet})
			if err != nil {
				t.Fatal(err)
			}
			fleet.Go(func() { _ = c.Run(ctx, untilDrained) })
			return c
		}
		start("old", former)
		time.Sleep(time.Minute)
		former.set(1, stream.ErrStreamNotFound)
		heir := start("new", listed{name: "s", shards: oneShard})
		time.Sleep(3 * time.Minute)
		if rows, err := store.Read(t.Context(), Key("s:5", "0")); err != nil || len(rows) != 1 || rows[0].Owner != heir.Status().Incarnation {
			t.Errorf("the new stream is not begun: %+v, %v", rows, err)
		}
		stop()
		fleet.Wait()
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
