package lease_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/lease/leasetest"
	"github.com/millrace/millrace/stream"
)

func TestAWorkerThatLosesItsPresenceStopsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHall()
		link := leasetest.NewFaulty(lease.NewMemory(), leasetest.Faults{})
		c, err := lease.NewCoordinator(lease.Config{
			Worker: "w", Store: &attendant{link, h}, Streams: []stream.Stream{newScript("s", 1)},
			Logger: slog.New(slog.DiscardHandler), Seed: 1,
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		ended := make(chan struct{})
		holds := make(chan context.Context, 2)
		go func() {
			defer close(ended)
			defer link.Wait()
			_ = c.Run(ctx, func(ctx context.Context, l lease.Hold) error {
				holds <- ctx
				select {
				case <-ctx.Done():
				case <-l.Draining():
				}
				return context.Cause(ctx)
			})
		}()
		first := <-holds
		before := c.Status().Incarnation
		h.close("w")
		synctest.Wait()
		if cause := context.Cause(first); !errors.Is(cause, lease.ErrAbsent) || !errors.Is(cause, checkpoint.ErrLeaseLost) {
			t.Errorf("the hold ended with %v, want %v", cause, lease.ErrAbsent)
		}
		began := time.Now()
		select {
		case <-holds: // of the next incarnation
		case <-time.After(time.Minute):
		}
		if took := time.Since(began); took > time.Minute/2 || c.Status().Incarnation == before {
			t.Errorf("%s is back as %s after %v", before, c.Status().Incarnation, took)
		}
		stop()
		<-ended
	})
}

// slowScript is a stream whose lists take long.
type slowScript struct{ *script }

func (s slowScript) Shards(ctx context.Context) ([]stream.Shard, error) {
	select {
	case <-time.After(2400 * time.Millisecond): // a pass waits for a tenth of a second more
		return s.script.Shards(ctx)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// unfenced is a store in which no fence is answered for a while.
type unfenced struct {
	*attendant
	off *atomic.Bool
}

func (u unfenced) SwapMember(ctx context.Context, old, next lease.Member) (lease.Member, error) {
	if next.Fenced && !old.Fenced && u.off.Load() {
		return lease.Member{}, errors.New("no answer")
	}
	return u.attendant.SwapMember(ctx, old, next)
}

// A fleet of three, one of whom dies, while the lists of its stream take longer than
// a failover may.
func TestAFailoverWaitsForNoStream(t *testing.T) {
	const failover = 10 * time.Second
	for _, c := range []struct {
		name     string
		presence bool
		leader   bool          // it is who dies
		unfenced time.Duration // for how long nobody can be fenced then
		within   time.Duration
	}{
		{"a worker, by its silence", false, false, 0, failover + time.Second},
		{"the leader, by its silence", false, true, 0, failover + time.Second},
		{"a worker, by its presence", true, false, 0, 700 * time.Millisecond},
		{"the leader, by its presence", true, true, 0, 700 * time.Millisecond},
		{"a worker, whose fence is not answered", true, false, 3 * time.Second, 6 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				memory, shards, h := lease.NewMemory(), slowScript{newScript("s", 6)}, newHall()
				ctx, stop := context.WithCancel(context.Background())
				var fleet sync.WaitGroup
				var off atomic.Bool
				links := map[string]*leasetest.Faulty{}
				workers := map[string]*lease.Coordinator{}
				for i, name := range []string{"a", "b", "c"} {
					link := leasetest.NewFaulty(memory, leasetest.Faults{Seed: uint64(i + 1)})
					var store lease.Store = link
					if c.presence {
						store = unfenced{&attendant{link, h}, &off}
					}
					w, err := lease.NewCoordinator(lease.Config{
						Worker: name, Store: store, Streams: []stream.Stream{shards}, FailoverTime: failover,
						Logger: slog.New(slog.DiscardHandler), Seed: uint64(i + 1),
					})
					if err != nil {
						t.Fatal(err)
					}
					links[name], workers[name] = link, w
					fleet.Go(func() {
						defer link.Wait()
						_ = w.Run(ctx, func(ctx context.Context, l lease.Hold) error {
							select {
							case <-ctx.Done():
							case <-l.Draining():
							}
							return context.Cause(ctx)
						})
					})
					time.Sleep(20 * time.Second)
				}
				time.Sleep(2 * time.Minute)
				tried := false
				for name, w := range workers {
					if tried || w.Status().Leading != c.leader || len(w.Status().Leases) != 2 {
						continue
					}
					tried = true
					began, dead := time.Now(), w.Status().Incarnation
					off.Store(c.unfenced > 0)
					time.AfterFunc(c.unfenced, func() { off.Store(false) })
					links[name].SetLink(leasetest.RequestsLost)
					h.left(name)
					for has := true; has; {
						time.Sleep(10 * time.Millisecond)
						has = false
						for l := range memory.Leases(ctx) {
							has = has || l.Owner == dead || l.Owner == "" || l.CheckpointOwner != "" || l.Term == 0
						}
					}
					if took := time.Since(began); took > c.within {
						t.Errorf("its shards had others after %v, want at most %v", took, c.within)
					}
				}
				if !tried {
					t.Error("nobody has two shards and could die")
				}
				stop()
				fleet.Wait()
			})
		})
	}
}
