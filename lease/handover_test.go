package lease_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
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
		Worker: name, Store: w.link, Streams: []stream.Stream{d.shards}, Logger: slog.New(slog.DiscardHandler), Seed: seed,
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

// run returns the longest that a stop took.
func (d *deploy) run() (longest time.Duration) {
	d.memory, d.shards = lease.NewMemory(), newScript("s", deployShards)
	d.ended, d.who = map[string]time.Time{}, map[string]string{}
	r := actor.Source(d.seed, "deploy", 0)
	var fleet []*deployed
	defer d.running.Wait()
	defer func() {
		for _, w := range fleet {
			w.stop()
		}
	}()
	for i := range deployWorkers {
		fleet = append(fleet, d.start(fmt.Sprint("w", i)))
		time.Sleep(actor.Between(r, time.Millisecond, 10*time.Second))
	}
	time.Sleep(3*time.Minute + actor.Between(r, time.Millisecond, 10*time.Second))
	d.mu.Lock()
	d.gaps = nil // those of the beginning: whoever is first has everything
	d.mu.Unlock()
	for i := range deployWorkers {
		began := time.Now()
		fleet[i].stop()
		<-fleet[i].ended
		longest = max(longest, time.Since(began))
		fleet[i] = d.start(fmt.Sprint("x", i))
		time.Sleep(time.Minute + actor.Between(r, time.Millisecond, 10*time.Second))
	}
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
			for seed := range uint64(8) {
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
