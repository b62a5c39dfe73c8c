package lease_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/internal/check"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/lease/leasetest"
	"github.com/millrace/millrace/stream"
)

// idler is a worker whose holds do nothing until they are asked to let go.
type idler struct {
	link *leasetest.Faulty
	stop context.CancelFunc
	done chan struct{}
}

// join starts an idler in a fleet with the default times.
func (s *sim) join(t *testing.T, name string, seed uint64) *idler {
	t.Helper()
	w := &idler{
		link: leasetest.NewFaulty(s.store.As(name), leasetest.Faults{Seed: seed, Latency: 5 * time.Millisecond}),
		done: make(chan struct{}),
	}
	c, err := lease.NewCoordinator(lease.Config{
		Worker: name, Store: w.link, Streams: []stream.Stream{s.stream}, Logger: s.log, Seed: seed,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	go func() {
		defer close(w.done)
		defer w.link.Wait()
		if err := c.Run(ctx, func(ctx context.Context, h lease.Hold) error {
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-h.Draining():
				return h.Release(ctx, h.Lease().Checkpoint)
			}
		}); err != nil {
			t.Error(err)
		}
	}()
	return w
}

func (w *idler) leave() {
	w.stop()
	<-w.done
}

// spread returns how many leases each worker holds, and how many nobody does.
func (s *sim) spread() (held map[string]int, free int) {
	held = map[string]int{}
	for l := range s.store.Leases(context.Background()) {
		if l.Owner == "" || l.CheckpointOwner != "" || l.Term == 0 {
			free++
		} else {
			held[check.WorkerOf(l.Owner)]++
		}
	}
	return held, free
}

// settle waits until all leases are held and shared out evenly among n
// workers, and returns how long that took.
func (s *sim) settle(t *testing.T, n int) time.Duration {
	t.Helper()
	for began := time.Now(); time.Since(began) < 10*time.Minute; time.Sleep(100 * time.Millisecond) {
		held, free := s.spread()
		least, most := 1<<30, 0
		for _, k := range held {
			least, most = min(least, k), max(most, k)
		}
		if free == 0 && len(held) == n && most-least <= 1 {
			return time.Since(began)
		}
	}
	held, free := s.spread()
	t.Fatalf("never evenly shared out: %v, %d with nobody", held, free)
	return 0
}

func TestTenWorkersShareAThousandShardsAndAnEleventhGetsItsPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(1, 1000)
		var workers []*idler
		for i := range 10 {
			workers = append(workers, s.join(t, fmt.Sprintf("w%02d", i), uint64(100+i)))
		}
		took := s.settle(t, 10)
		t.Logf("10 workers, 1,000 shards, all started at once: even after %v with %d moves", took, s.store.Moves().Owners)
		time.Sleep(2 * time.Minute)

		before := s.store.Moves().Owners
		workers = append(workers, s.join(t, "w10", 110))
		took = s.settle(t, 11)
		t.Logf("an eleventh worker: even after %v with %d moves", took, s.store.Moves().Owners-before)
		if moves := s.store.Moves().Owners - before; moves > 91 {
			t.Errorf("%d leases moved for a newcomer whose part is 90", moves)
		}
		time.Sleep(2 * time.Minute)
		if moves := s.store.Moves().Owners - before; moves > 91 {
			t.Errorf("%d leases moved in all", moves)
		}

		before = s.store.Moves().Owners
		workers[3].leave()
		took = s.settle(t, 10)
		t.Logf("a worker stops in good order: even after %v with %d moves", took, s.store.Moves().Owners-before)

		before = s.store.Moves().Owners
		workers[5].link.SetLink(leasetest.RequestsLost)
		workers[5].stop()
		took = s.settle(t, 9)
		t.Logf("a worker crashes: even after %v with %d moves", took, s.store.Moves().Owners-before)
		// FailoverTime, a look, and a poll; the leader may have to be found first.
		if took > 40*time.Second {
			t.Errorf("failover took %v", took)
		}

		reads, writes := 0, 0
		for _, w := range workers {
			r, wr := w.link.Calls()
			reads, writes = reads-r, writes-wr
		}
		time.Sleep(3 * time.Minute)
		for _, w := range workers {
			r, wr := w.link.Calls()
			reads, writes = reads+r, writes+wr
		}
		t.Logf("at rest, 9 workers and 1,000 leases: %.1f reads and %.1f writes a second", float64(reads)/180, float64(writes)/180)

		for _, w := range workers {
			w.leave()
		}
		if err := s.err(); err != nil {
			t.Error(err)
		}
	})
}

func TestAGracefulHandoffRepeatsNothingAndIsQuick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(1, 2)
		held := make(chan string, 10)
		var gaps sync.Map // since when a shard has no holder, by lease key
		run := func(name string, seed uint64) (stop func()) {
			c, err := lease.NewCoordinator(lease.Config{
				Worker: name, Store: s.store.As(name), Streams: []stream.Stream{s.stream}, Logger: s.log, Seed: seed,
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan struct{})
			go func() {
				defer close(done)
				_ = c.Run(ctx, func(ctx context.Context, h lease.Hold) error {
					at := h.Lease().Checkpoint.Position
					if left, moved := gaps.Load(h.Lease().Key); moved {
						since := left.(time.Time)
						t.Logf("%s: %v without a holder", h.Lease().Shard, time.Since(since))
						if time.Since(since) > 12*time.Second {
							t.Errorf("the gap is %v", time.Since(since))
						}
						if at != stream.After(sequence(42)) {
							t.Errorf("begins at %v", at)
						}
					}
					held <- name
					<-h.Draining()
					gaps.Store(h.Lease().Key, time.Now())
					return h.Release(ctx, checkpoint.State{Position: stream.After(sequence(42))})
				})
			}()
			return func() { cancel(); <-done }
		}
		stopA := run("a", 1)
		<-held
		<-held
		stopB := run("b", 2)
		if got := <-held; got != "b" {
			t.Errorf("%s got a lease", got)
		}
		stopA() // the other one follows
		if got := <-held; got != "b" {
			t.Errorf("%s got a lease", got)
		}
		stopB()
		for l := range s.store.Leases(context.Background()) {
			if l.Owner != "" || l.CheckpointOwner != "" {
				t.Errorf("left behind: %+v", l)
			}
		}
		if members, _ := s.store.Members(context.Background()); len(members) != 1 || members[0].Worker != "" {
			t.Errorf("members are left behind: %+v", members)
		}
	})
}
