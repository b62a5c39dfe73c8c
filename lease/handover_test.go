package lease_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/internal/actor"
	"github.com/millrace/millrace/internal/proof"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/lease/leasetest"
	"github.com/millrace/millrace/stream"
)

// deploy is a fleet in virtual time each of whose workers is stopped in good order,
// and another one started in its place.
type deploy struct {
	t      *testing.T
	seed   uint64
	silent bool // nobody is notified
	most   int  // MaxLeases

	memory  *lease.Memory
	shards  stream.Stream
	running sync.WaitGroup

	mu     sync.Mutex // guards what follows
	ended  map[string]time.Time
	who    map[string]string
	gaps   []time.Duration
	forced int
}

// deployed is one worker of it.
type deployed struct {
	*lease.Coordinator
	link  *leasetest.Faulty
	stop  context.CancelFunc
	ended chan struct{}
}

const (
	deployWorkers = 4
	deployShards  = 16
	deployLatency = 20 * time.Millisecond // each way, at most
)

func (d *deploy) start(name string) *deployed {
	seed := d.seed<<8 + uint64(len(name))<<4 + uint64(name[len(name)-1])
	w := &deployed{ended: make(chan struct{})}
	w.link = leasetest.NewFaulty(d.memory, leasetest.Faults{Seed: seed, Latency: deployLatency, Silent: d.silent})
	var err error
	w.Coordinator, err = lease.NewCoordinator(lease.Config{
		Worker: name, Store: w.link, Streams: []stream.Stream{d.shards}, MaxLeases: d.most,
		Logger: slog.New(slog.DiscardHandler), Seed: seed,
	})
	if err != nil {
		d.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	d.running.Go(func() {
		defer close(w.ended)
		defer w.link.Wait()
		_ = w.Run(ctx, func(ctx context.Context, h lease.Hold) error { return d.hold(ctx, name, h) })
	})
	return w
}

// hold is a batch of a tenth of a second after the other, all checkpointed in the end.
func (d *deploy) hold(ctx context.Context, name string, h lease.Hold) error {
	shard := h.Lease().Shard
	d.mu.Lock()
	if was, before := d.who[shard]; before && was != name {
		d.gaps = append(d.gaps, time.Since(d.ended[shard]))
	}
	d.who[shard] = name
	d.mu.Unlock()
	for over := false; !over && ctx.Err() == nil; {
		actor.Sleep(ctx, 100*time.Millisecond)
		select {
		case <-h.Draining():
			over = true
		default:
		}
	}
	d.mu.Lock()
	d.ended[shard] = time.Now()
	if ctx.Err() != nil {
		d.forced++
	}
	d.mu.Unlock()
	return h.Release(ctx, h.Lease().Checkpoint)
}

// open starts so many workers, one after the other, and waits until all is at rest.
func (d *deploy) open(workers int) (fleet []*deployed, r *rand.Rand) {
	d.memory, d.shards = lease.NewMemory(), newScript("s", deployShards)
	d.ended, d.who = map[string]time.Time{}, map[string]string{}
	r = actor.Source(d.seed, "deploy", 0)
	for i := range workers {
		fleet = append(fleet, d.start(fmt.Sprint("w", i)))
		time.Sleep(actor.Between(r, time.Millisecond, 10*time.Second))
	}
	time.Sleep(3*time.Minute + actor.Between(r, time.Millisecond, 10*time.Second))
	d.mu.Lock()
	defer d.mu.Unlock()
	d.gaps = nil // those of the beginning: whoever is first has everything
	return fleet, r
}

// close stops all, and waits for them.
func (d *deploy) close(fleet []*deployed) {
	for _, w := range fleet {
		w.stop()
	}
	d.running.Wait()
}

// stopped stops workers at one moment, and returns how long it took until the last
// of them had ended.
func stopped(fleet ...*deployed) time.Duration {
	began := time.Now()
	for _, w := range fleet {
		w.stop()
	}
	for _, w := range fleet {
		<-w.ended
	}
	return time.Since(began)
}

// run returns the longest that a stop took.
func (d *deploy) run() (longest time.Duration) {
	fleet, r := d.open(deployWorkers)
	for i := range fleet {
		longest = max(longest, stopped(fleet[i]))
		fleet[i] = d.start(fmt.Sprint("x", i))
		time.Sleep(time.Minute + actor.Between(r, time.Millisecond, 10*time.Second))
	}
	d.close(fleet)
	return longest
}

func TestADeployLeavesEachShardWithoutAHolderForAMomentOnly(t *testing.T) {
	for _, silent := range []bool{false, true} {
		name := "notified"
		if silent {
			name = "polling"
		}
		t.Run(name, func(t *testing.T) {
			var gaps []time.Duration
			var stop time.Duration
			seeds := uint64(8)
			if testing.Short() {
				seeds = 2
			}
			for seed := range seeds {
				synctest.Test(t, func(t *testing.T) {
					d := &deploy{t: t, seed: seed + 1, silent: silent}
					stop = max(stop, d.run())
					if d.forced > 0 {
						t.Errorf("seed %d: %d holds were cancelled", d.seed, d.forced)
					}
					gaps = append(gaps, d.gaps...)
				})
			}
			slices.Sort(gaps)
			longest := gaps[len(gaps)-1]
			if longest > 500*time.Millisecond {
				t.Errorf("a shard had no holder for %v: %v", longest, gaps[len(gaps)*9/10:])
			}
			if stop > 10*time.Second {
				t.Errorf("a stop took %v", stop)
			}
			proof.Report(t, "deploys, "+name, "moves", len(gaps), "median gap ms", gaps[len(gaps)/2].Milliseconds(),
				"longest gap ms", longest.Milliseconds(), "longest stop s", stop.Round(time.Second/10).Seconds())
		})
	}
}

func TestWhereNobodyCanTakeAnythingAStopWaitsForNobody(t *testing.T) {
	for _, c := range []struct {
		name    string
		workers int
		stop    func(fleet []*deployed) []*deployed
		most    int
		within  time.Duration
	}{
		{"the only worker", 1, func(all []*deployed) []*deployed { return all }, 0, time.Second},
		{"all of them at one moment", 4, func(all []*deployed) []*deployed { return all }, 0, 2 * time.Second},
		{"nobody else has room", 2, func(all []*deployed) []*deployed { return all[:1] }, 8, 8 * time.Second},
		{"nobody else has room, and it leads no fleet", 2, func(all []*deployed) []*deployed { return all[1:] }, 8, 8 * time.Second},
		{"the leader is cut off", 3, func(all []*deployed) []*deployed {
			for i, w := range all {
				if w.Status().Leading {
					w.link.SetLink(leasetest.RequestsLost)
					return all[(i+1)%len(all):][:1]
				}
			}
			return nil
		}, 0, 8 * time.Second},
		{"the only other one is dead", 2, func(all []*deployed) []*deployed {
			all[0].link.SetLink(leasetest.RequestsLost)
			time.Sleep(time.Second)
			return all[1:]
		}, 0, 4500 * time.Millisecond}, // it would have beaten in three eighths of FailoverTime
		{"the only other one is to be drained", 2, func(all []*deployed) []*deployed {
			ops, err := lease.NewOperator(all[0].link, lease.OperatorConfig{Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				panic(err)
			}
			if _, err := ops.Do(context.Background(), lease.Action{Kind: lease.ActionDrain, Worker: "w0"}); err != nil {
				panic(err)
			}
			time.Sleep(time.Minute)
			return all[1:]
		}, 0, 8 * time.Second}, // it is given them all the same, since nobody else is there
		{"it is cut off itself", 2, func(all []*deployed) []*deployed {
			all[0].link.SetLink(leasetest.RequestsLost)
			return all[:1]
		}, 0, 30 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, silent := range []bool{false, true} {
				synctest.Test(t, func(t *testing.T) {
					d := &deploy{t: t, seed: 1, silent: silent, most: c.most}
					fleet, _ := d.open(c.workers)
					if took := stopped(c.stop(fleet)...); took > c.within {
						t.Errorf("silent %v: it took %v", silent, took)
					}
					d.close(fleet)
				})
			}
		})
	}
}

func TestAWorkerThatStopsWhileAnotherOneDoesHandsItsLeasesToTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for seed := range uint64(8) {
			d := &deploy{t: t, seed: seed + 1, silent: true}
			fleet, r := d.open(4)
			fleet[0].stop()
			time.Sleep(actor.Between(r, time.Millisecond, 8*time.Second))
			stopped(fleet[1])
			<-fleet[0].ended
			time.Sleep(time.Minute)
			d.mu.Lock()
			if longest := slices.Max(d.gaps); longest > 7*time.Second || d.forced > 0 {
				t.Errorf("seed %d: %d holds were cancelled, a shard had no holder for %v", d.seed, d.forced, longest)
			}
			d.mu.Unlock()
			d.close(fleet)
		}
	})
}

func TestANewcomerIsGivenItsShareAsSoonAsTheFleetIsCalm(t *testing.T) {
	for _, c := range []struct {
		silent bool
		within time.Duration
	}{
		// It is noticed at once, or by the next pass; calm is half of PlanInterval.
		{false, 5 * time.Second},
		{true, 10 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			for seed := range uint64(8) {
				d := &deploy{t: t, seed: seed + 1, silent: c.silent}
				fleet, _ := d.open(deployWorkers - 1)
				began := time.Now()
				fleet = append(fleet, d.start("new"))
				given := func() (n int) {
					for l := range d.memory.Leases(t.Context()) {
						if strings.HasPrefix(l.Owner, "new#") {
							n++
						}
					}
					return n
				}
				for given() < deployShards/deployWorkers && time.Since(began) < time.Minute {
					time.Sleep(10 * time.Millisecond)
				}
				if took := time.Since(began); took > c.within {
					t.Errorf("silent %v, seed %d: it took %v", c.silent, d.seed, took)
				}
				d.close(fleet)
			}
		})
	}
}
