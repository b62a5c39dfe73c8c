package sim

import (
	"context"
	"fmt"
	"math"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/internal/actor"
	"github.com/millrace/millrace/internal/check"
	"github.com/millrace/millrace/internal/proof"
	"github.com/millrace/millrace/lease/leasetest"
	"github.com/millrace/millrace/stream"
)

// stage is a fleet that is led by a script: an incident.
type stage struct {
	*fleet
	t     *testing.T
	ctx   context.Context // ends the machines that are left
	calm  func()          // ends what the script has going on
	busy  sync.WaitGroup
	named map[string]*machine
	took  time.Duration // the longest that the fleet was waited for
}

// The times of fleets that are led by scripts are a real fleet's: the defaults
// of package worker.
const (
	failover        = 10 * time.Second
	handoff         = 30 * time.Second
	checkpointEvery = 5 * time.Second
	planInterval    = failover / 2
	// noticed is how long it may take until a silent worker is taken for dead
	// and its shards are in other hands: it is watched for failover by a leader
	// who looks twice in that time, who plans at once, and tells the new owner.
	noticed = failover + failover/2 + planInterval + 2*time.Second
	// unknown is how much the loads, in average leases, may differ from what the
	// leader knows of them, in the first minutes and while they change.
	unknown = 1
	// leaderless is how long it may take besides when the silent one led.
	leaderless = failover
)

// telling gathers what the cases of one incident saw.
type telling struct {
	Report
	seed  uint64
	cases int
	took  time.Duration
}

// play plays an incident with one seed after the other, or with that of the flag
// alone, and tells of it when all of its cases are over.
func play(t *testing.T, incident func(*testing.T, *telling)) {
	seeds := []uint64{1, 2, 3}
	switch {
	case *seed != 0:
		seeds = []uint64{*seed}
	case testing.Short():
		seeds = seeds[:1]
	}
	told := &telling{}
	for _, told.seed = range seeds {
		t.Run(fmt.Sprint("seed ", told.seed), func(t *testing.T) { incident(t, told) })
	}
	name, _ := strings.CutPrefix(t.Name(), "TestIncident")
	name = regexp.MustCompile("[A-Z]").ReplaceAllStringFunc(name, func(s string) string { return " " + strings.ToLower(s) })
	proof.Report(t, strings.TrimSpace(name),
		"cases", told.cases,
		"fleet waited for at most s", math.Round(told.took.Seconds()*10)/10,
		"leases moved", told.Moves.Owners,
		"deliveries", told.Checked.Deliveries,
		"redeliveries", told.Checked.Repeats,
		"stale writes refused", told.Checked.Refused,
		"violations", told.Checked.Violations,
	)
}

// incident plays a script on a fleet with that many shards, and waits until the
// fleet is at rest. Nothing may have been violated.
func (told *telling) incident(t *testing.T, shards int, script func(*stage)) (report Report) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		faults, calm := context.WithCancel(t.Context())
		alive, stop := context.WithCancel(t.Context())
		defer stop()
		defer calm()
		s := &stage{
			fleet: newFleet(faults, Options{
				Seed: told.seed, Mode: Scripted, Workers: 1, Shards: shards,
				Failover: failover, Drain: handoff, CheckpointEvery: checkpointEvery,
			}),
			t: t, ctx: alive, calm: calm, named: map[string]*machine{},
		}
		script(s)
		calm()
		s.busy.Wait()
		err := s.rest(t.Context())
		stop()
		if report, err = s.end(err); err != nil {
			t.Error(err)
		}
		told.cases++
		told.Add(report)
		told.took = max(told.took, s.took)
	})
	return report
}

// join starts machines with a good network.
func (s *stage) join(names ...string) {
	for _, name := range names {
		s.joinAs(name, setup{})
	}
}

func (s *stage) joinAs(name string, as setup) *machine {
	as.faults.Seed = s.source(name, 0).Uint64()
	as.faults.Latency = 10 * time.Millisecond
	as.batch = 20
	m := s.start(s.ctx, name, as)
	s.named[name] = m
	return m
}

// flood puts a record each tenth of a second, over many keys, until the script
// is over.
func (s *stage) flood() {
	s.busy.Go(func() {
		r := s.source("flood", 0)
		for n := 0; actor.Sleep(s.faults, actor.Between(r, 50*time.Millisecond, 150*time.Millisecond)); n++ {
			s.puts(1, n)
		}
	})
}

// puts puts that many records, one for each key.
func (s *stage) puts(count, n int) {
	for i := range count {
		s.put(stream.Entry{PartitionKey: fmt.Sprint("k", (n*31+i)%997), Data: []byte(fmt.Sprint(n))})
	}
}

// settled waits until, by what the store says, all shards are held, all ended
// ones finished and all leases shared out evenly. It fails when that takes
// longer.
func (s *stage) settled(within time.Duration) {
	s.t.Helper()
	began, why := time.Now(), ""
	for {
		if why = s.unheld(s.t.Context(), unknown); why == "" {
			break
		}
		if time.Since(began) > within {
			s.t.Errorf("not settled after %v: %s", within, why)
			return
		}
		actor.Sleep(s.t.Context(), 50*time.Millisecond)
	}
	s.took = max(s.took, time.Since(began))
}

// flowing waits until records of all shards that are put now are done, and
// fails when that takes longer.
func (s *stage) flowing(within time.Duration) {
	s.t.Helper()
	s.mu.Lock()
	s.putAt = map[place]time.Time{}
	s.mu.Unlock()
	began := time.Now()
	s.puts(200, 0)
	for left := -1; left != 0; actor.Sleep(s.t.Context(), 10*time.Millisecond) {
		if time.Since(began) > within {
			s.t.Errorf("after %v, %d of 200 records are not done", within, left)
			break
		}
		s.mu.Lock()
		left = len(s.putAt)
		s.mu.Unlock()
	}
	s.took = max(s.took, time.Since(began))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.putAt = nil
}

// leader returns the machine that leads, and another one.
func (s *stage) leader() (leads, follows *machine) {
	s.t.Helper()
	members, _ := s.rows.Members(s.t.Context())
	for _, m := range members {
		if m.Incarnation == "@leader" {
			leads = s.named[check.WorkerOf(m.Worker)]
		}
	}
	if leads == nil {
		s.t.Fatal("nobody leads")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.machines {
		if m != leads {
			return leads, m
		}
	}
	return leads, nil
}

// holdings returns how many shards each machine holds, by name.
func (s *stage) holdings() map[string]int {
	held := map[string]int{}
	for l := range s.rows.Leases(s.t.Context()) {
		if !l.Finished() && l.Term != 0 {
			held[check.WorkerOf(l.Owner)]++
		}
	}
	return held
}

// writes returns how many writes have reached the store from all machines that
// were ever given a name.
func (s *stage) writes() (n int) {
	for _, m := range s.named {
		_, w := m.network.Calls()
		n += w
	}
	return n
}

// wait lets time pass.
func (s *stage) wait(d time.Duration) { actor.Sleep(s.t.Context(), d) }

// cutAll breaks the connections of all machines, and mends them after d.
func (s *stage) cutAll(link leasetest.Link, d time.Duration) {
	s.setLinks(link)
	s.wait(d)
	s.setLinks(leasetest.Up)
}
