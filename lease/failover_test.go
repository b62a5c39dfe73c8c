package lease_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/internal/actor"
	"github.com/millrace/millrace/internal/check"
	"github.com/millrace/millrace/internal/proof"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/lease/leasetest"
	"github.com/millrace/millrace/stream"
)

var flagKills = flag.Int("kills", 12, "how many workers are killed in each trial of a failover")

// failover is a fleet in virtual time of which one worker is killed.
type failover struct {
	time           time.Duration // FailoverTime
	silent         bool          // nobody is notified
	present, leads bool          // the store knows presence; the one that is killed leads
}

func (f failover) String() string {
	name := fmt.Sprintf("FailoverTime %v", f.time)
	for _, is := range []struct {
		so   bool
		says string
	}{{f.present, "presence"}, {f.silent, "polling"}, {!f.silent, "notified"}, {f.leads, "the leader"}, {!f.leads, "a follower"}} {
		if is.so {
			name += ", " + is.says
		}
	}
	return name
}

// fleetMember is one worker of that fleet.
type fleetMember struct {
	*lease.Coordinator
	name string
	link *leasetest.Faulty
	stop context.CancelFunc

	mu       sync.Mutex // guards what follows
	lastBeat time.Time  // when the last beat was sent that the store took
}

// beatsOf notes when beats are sent that are taken.
type beatsOf struct {
	lease.Store
	lease.Notifier
	m *fleetMember
}

func (b *beatsOf) SwapMember(ctx context.Context, old, next lease.Member) (lease.Member, error) {
	row, err := b.Store.SwapMember(ctx, old, next)
	if err == nil && check.WorkerOf(next.Incarnation) == b.m.name && next.Beats > old.Beats {
		b.m.mu.Lock()
		defer b.m.mu.Unlock()
		b.m.lastBeat = time.Now()
	}
	return row, err
}

const (
	failoverWorkers = 4
	failoverShards  = 16
	failoverLatency = 20 * time.Millisecond // each way, at most
)

// kill starts the fleet, kills one of it, and returns how long it takes from then,
// and from its last beat, until others have begun all its shards.
func (f failover) kill(t *testing.T, seed uint64) (fromKill, fromBeat time.Duration) {
	r := actor.Source(seed, "killer", 0)
	memory, h := lease.NewMemory(), newHall()
	shards := newScript("s", failoverShards)
	var mu sync.Mutex
	holders := map[string]string{} // of shards
	begun := map[string]time.Time{}
	var fleet []*fleetMember
	var running sync.WaitGroup
	for i := range failoverWorkers {
		m := &fleetMember{name: fmt.Sprint("w", i)}
		m.link = leasetest.NewFaulty(&beatsOf{memory, memory, m}, leasetest.Faults{Seed: seed<<8 + uint64(i), Latency: failoverLatency, Silent: f.silent})
		var store lease.Store = m.link
		if f.present {
			store = &attendant{m.link, h}
		}
		var err error
		m.Coordinator, err = lease.NewCoordinator(lease.Config{
			Worker: m.name, Store: store, Streams: []stream.Stream{shards}, FailoverTime: f.time,
			Logger: slog.New(slog.DiscardHandler), Seed: seed<<8 + uint64(i) + 1,
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		m.stop = stop
		fleet = append(fleet, m)
		running.Go(func() {
			defer m.link.Wait()
			_ = m.Run(ctx, func(ctx context.Context, hold lease.Hold) error {
				mu.Lock()
				holders[hold.Lease().Shard], begun[hold.Lease().Shard] = m.name, time.Now()
				mu.Unlock()
				select {
				case <-ctx.Done():
				case <-hold.Draining():
				}
				return nil
			})
		})
		time.Sleep(actor.Between(r, time.Millisecond, f.time))
	}
	defer running.Wait()
	defer func() {
		for _, m := range fleet {
			m.stop()
		}
	}()
	time.Sleep(20*f.time + actor.Between(r, time.Millisecond, 4*f.time))

	at := slices.IndexFunc(fleet, func(m *fleetMember) bool { return m.Status().Leading == f.leads })
	victim := fleet[at]
	mu.Lock()
	var lost []string
	for shard, name := range holders {
		if name == victim.name {
			lost = append(lost, shard)
		}
	}
	mu.Unlock()
	if len(lost) == 0 || len(holders) != failoverShards {
		t.Fatalf("%s: %d of %d shards are held, %d by %s", f, len(holders), failoverShards, len(lost), victim.name)
	}
	killed := time.Now()
	victim.link.SetLink(leasetest.RequestsLost)
	h.left(victim.name)
	time.Sleep(4 * f.time)
	mu.Lock()
	defer mu.Unlock()
	for _, shard := range lost {
		if holders[shard] == victim.name || begun[shard].Before(killed) {
			t.Fatalf("%s, seed %d: %s was not taken over", f, seed, shard)
		}
		fromKill = max(fromKill, begun[shard].Sub(killed))
		if first := begun[shard].Sub(victim.lastBeat); fromBeat == 0 || first < fromBeat {
			fromBeat = first
		}
	}
	return fromKill, fromBeat
}

// The worst of many, to be told: rule 2 lets nobody be faster than FailoverTime,
// but where the end of the process is known.
func TestAKilledWorkerIsReplacedAsSoonAsItMayBe(t *testing.T) {
	kills := *flagKills
	if testing.Short() {
		kills = min(kills, 2)
	}
	for i := range 16 {
		f := failover{time: 10 * time.Second, silent: i&1 != 0, leads: i&2 != 0, present: i&4 != 0}
		if i&8 != 0 {
			f.time = 2 * time.Second
		}
		var worst, sum time.Duration
		for seed := range uint64(kills) {
			synctest.Test(t, func(t *testing.T) {
				fromKill, fromBeat := f.kill(t, seed+1)
				worst, sum = max(worst, fromKill), sum+fromKill
				// The right to process of the one that was killed ended FailoverTime, less
				// a tenth, after its last beat was sent.
				if early := f.time - 2*failoverLatency; !f.present && fromBeat < early {
					t.Errorf("%s, seed %d: replaced %v after its last beat, want %v at least", f, seed+1, fromBeat, early)
				}
			})
		}
		proof.Report(t, "failover in virtual time: "+f.String(), "workers killed", kills,
			"seconds until all shards are held again, mean", (sum / time.Duration(max(1, kills))).Round(time.Millisecond).Seconds(), "worst", worst.Round(time.Millisecond).Seconds())
		most := f.time + time.Second
		if f.present && !f.silent {
			most = time.Second
		}
		if worst > most {
			t.Errorf("%s: the worst of %d took %v, want %v at most", f, kills, worst, most)
		}
	}
}
