package lease_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/internal/actor"
	"github.com/millrace/millrace/internal/check"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/lease/leasetest"
)

var (
	flagSeed  = flag.Uint64("seed", 0, "run the simulation of this seed alone, with its log")
	flagSeeds = flag.Int("seeds", 6, "how many seeds to simulate")
	flagHours = flag.Float64("hours", 1, "virtual hours of faults in each simulation")
)

// run simulates a fleet with faults for some time, then waits until it is at
// rest. The error tells what was violated.
func (s *sim) run(workers int, hours time.Duration, rest bool) error {
	faulty, over := context.WithTimeout(context.Background(), hours)
	defer over()
	var actors sync.WaitGroup
	actors.Go(func() {
		r := s.actor("producer", 0)
		for actor.Sleep(faulty, actor.Between(r, time.Millisecond, time.Second)) {
			shard, n := s.stream.put(r.IntN(1 << 30))
			s.check.Put(lease.Key(s.stream.id.ID(), shard), sequence(n))
		}
	})
	actors.Go(func() {
		r := s.actor("resharder", 0)
		for actor.Sleep(faulty, actor.Between(r, time.Second, 4*time.Minute)) {
			s.stream.mu.Lock()
			open := len(s.stream.open())
			s.stream.mu.Unlock()
			if r.IntN(24) > open {
				s.stream.split(r.IntN(1 << 30))
			} else {
				s.stream.merge(r.IntN(1 << 30))
			}
			s.mu.Lock()
			s.stat.reshards++
			s.mu.Unlock()
		}
	})
	actors.Go(func() {
		r := s.actor("outages", 0)
		for actor.Sleep(faulty, actor.Between(r, time.Minute, 30*time.Minute)) {
			s.links(leasetest.Refused)
			s.stat.outages++
			actor.Sleep(faulty, actor.Between(r, time.Second, 5*s.failover))
			s.links(leasetest.Up)
		}
	})
	for _, actor := range s.others {
		actors.Go(func() { actor(faulty) })
	}
	for i := range workers {
		actors.Go(func() { s.slot(faulty, i) })
	}
	actors.Wait()
	err := s.err()
	if rest && err == nil {
		err = s.rest()
	}
	s.mu.Lock()
	procs := make([]*proc, 0, len(s.procs))
	for i := range workers {
		procs = append(procs, s.procs[i])
	}
	s.mu.Unlock()
	for _, p := range procs {
		p.stop()
	}
	s.lives.Wait()
	if rest && err == nil {
		s.check.AtRest()
		err = s.err()
	}
	return err
}

func (s *sim) links(l leasetest.Link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.procs {
		p.link.SetLink(l)
	}
}

// slot is a place where processes live one after the other, while faults last.
func (s *sim) slot(faulty context.Context, i int) {
	r := s.actor("slot", i)
	for life := 0; ; life++ {
		p := s.start(r, i, life, s.faults(r))
		for alive := true; alive; {
			if !actor.Sleep(faulty, actor.Between(r, time.Second, 6*time.Minute)) {
				return
			}
			alive = s.trouble(faulty, r, p)
		}
		if !actor.Sleep(faulty, actor.Between(r, time.Millisecond, 15*time.Second)) {
			s.start(r, i, life+1, leasetest.Faults{Latency: 30 * time.Millisecond})
			return
		}
	}
}

func (s *sim) faults(r *rand.Rand) leasetest.Faults {
	return leasetest.Faults{
		Latency: 60 * time.Millisecond, FailBefore: 0.003, LoseAnswer: 0.006, Repeat: 0.003,
		Late: 0.004, LateBy: 3 * s.failover, OwnedLag: 2 * time.Second, Silent: r.IntN(2) == 0,
	}
}

// trouble does something to a process, and reports whether it still lives.
func (s *sim) trouble(faulty context.Context, r *rand.Rand, p *proc) bool {
	count := func(n *int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		*n++
	}
	if s.hall != nil && r.IntN(6) == 0 {
		count(&s.stat.absences)
		s.hall.close([]string{p.name, ""}[r.IntN(2)])
		return true
	}
	switch r.IntN(6) {
	case 0:
		count(&s.stat.stops)
		p.stop()
		<-p.done
		return false
	case 1:
		count(&s.stat.crashes)
		p.crash()
		return false
	case 2, 3:
		count(&s.stat.freezes)
		thaw := p.freeze()
		actor.Sleep(faulty, actor.Between(r, time.Second, 4*s.failover))
		thaw()
	default:
		count(&s.stat.cuts)
		p.link.SetLink([]leasetest.Link{leasetest.Refused, leasetest.RequestsLost, leasetest.AnswersLost, leasetest.AnswersLost}[r.IntN(4)])
		actor.Sleep(faulty, actor.Between(r, 100*time.Millisecond, 4*s.failover))
		p.link.SetLink(leasetest.Up)
	}
	return true
}

// rest waits until all is processed, everything is evenly shared out, and
// nothing moves any more.
func (s *sim) rest() error {
	why := ""
	for range 120 {
		time.Sleep(s.failover)
		if why = s.unrest(); why != "" {
			continue
		}
		before := s.store.Moves().Owners
		time.Sleep(10 * s.failover)
		after := s.store.Moves().Owners
		if after == before && s.unrest() == "" {
			return nil
		}
		why = fmt.Sprintf("%d leases moved while all was at rest", after-before)
	}
	return fmt.Errorf("L2 violated: no rest: %s", why)
}

// unrest says what keeps the fleet from being at rest.
func (s *sim) unrest() string {
	owners := map[string]int{}
	s.mu.Lock()
	for _, p := range s.procs {
		owners[p.name] = 0
	}
	s.mu.Unlock()
	for l, err := range s.store.Leases(context.Background()) {
		count, closed := s.stream.read(l.Shard)
		switch {
		case err != nil:
			return err.Error()
		case l.Finished():
			continue
		case closed:
			return l.Shard + " is closed and not finished, owner " + l.Owner + " " + l.CheckpointOwner
		case l.Owner == "" || l.CheckpointOwner != "":
			return l.Shard + " is with " + l.Owner + " " + l.CheckpointOwner
		case number(l.Checkpoint.Position) != count:
			return fmt.Sprintf("%s is at %v of %d", l.Shard, l.Checkpoint.Position, count)
		}
		owners[check.WorkerOf(l.Owner)]++
	}
	least, most, total := 1<<30, 0, 0
	for _, n := range owners {
		least, most, total = min(least, n), max(most, n), total+n
	}
	s.stream.mu.Lock()
	defer s.stream.mu.Unlock()
	if open := len(s.stream.open()); total != open {
		return fmt.Sprintf("%d open shards and %d leases", open, total)
	}
	if most-least > 1 {
		return fmt.Sprintf("owners have from %d to %d leases: %v", least, most, owners)
	}
	return ""
}

func TestAFleetWithFaultsBreaksNoInvariantAndComesToRest(t *testing.T) {
	seeds := make([]uint64, 0, *flagSeeds)
	for i := range *flagSeeds {
		seeds = append(seeds, uint64(i+1))
	}
	if *flagSeed != 0 {
		seeds = []uint64{*flagSeed}
	} else if testing.Short() {
		seeds = seeds[:min(2, len(seeds))]
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSim(seed, 8)
				if *flagSeed != 0 {
					s.log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
				}
				err := s.run(5, time.Duration(*flagHours*float64(time.Hour)), true)
				t.Logf("seed %d, hash %x: %+v %+v", seed, s.check.Hash(), s.stat, s.check.Stats())
				if err != nil {
					t.Errorf("go test ./lease -run FleetWithFaults -seed %d\n%v", seed, err)
				}
			})
		})
	}
}
