package lease_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
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

// meddler is an operator who does whatever comes to mind, over a bad network, and
// now and then is interrupted. What it has ordered it takes back in the end.
type meddler struct {
	*sim
	link  *leasetest.Faulty
	ops   *lease.Operator
	r     *rand.Rand
	done  []lease.Change // what may be undone
	tally map[string]int
}

func (s *sim) meddle(faulty context.Context) *meddler {
	m := &meddler{sim: s, r: s.actor("operator", 0), tally: map[string]int{}}
	m.link = leasetest.NewFaulty(s.store.AsOperator("operator"), leasetest.Faults{
		Seed: m.r.Uint64(), Latency: 60 * time.Millisecond, FailBefore: 0.01, LoseAnswer: 0.02, Repeat: 0.01,
	})
	ops, err := lease.NewOperator(m.link, lease.OperatorConfig{
		Actor: "meddler", Streams: []stream.Stream{s.stream}, FailoverTime: s.failover / 2, Logger: s.log, // the fleet's rows tell more
	})
	if err != nil {
		panic(err)
	}
	m.ops = ops
	for actor.Sleep(faulty, actor.Between(m.r, time.Second, 2*time.Minute)) {
		m.act(faulty)
	}
	m.leave()
	m.link.Wait()
	return m
}

// shard returns one of the shards that have a row, and its row.
func (m *meddler) shard(ctx context.Context) (row lease.Lease, ok bool) {
	n := 0
	for l, err := range m.store.Leases(ctx) {
		if n++; err == nil && m.r.IntN(n) == 0 {
			row, ok = l, true
		}
	}
	return row, ok
}

// worker returns the name of one that runs.
func (m *meddler) worker() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.procs[m.r.IntN(5)]; p != nil {
		return p.name
	}
	return "nobody"
}

func (m *meddler) act(faulty context.Context) {
	patience := actor.Between(m.r, time.Second, 10*m.failover)
	ctx, cancel := context.WithTimeout(faulty, patience)
	defer cancel()
	row, ok := m.shard(ctx)
	if !ok {
		return
	}
	scope := []lease.Scope{{}, {Stream: row.Stream}, {Stream: row.Stream, Shard: row.Shard}, {Stream: row.Stream, Shard: row.Shard}}[m.r.IntN(4)]
	shard := lease.Scope{Stream: row.Stream, Shard: row.Shard}
	a := lease.Action{Scope: scope, Worker: m.worker(), Reason: "a whim"}
	switch m.r.IntN(9) {
	case 0, 1:
		a.Kind = lease.ActionPause
	case 2, 3:
		a.Kind = lease.ActionResume
	case 4:
		a.Kind = []lease.ActionKind{lease.ActionDrain, lease.ActionUndrain}[m.r.IntN(2)]
	case 5:
		a.Kind, a.Scope = lease.ActionMove, shard
	case 6:
		m.undo(ctx)
		return
	default:
		count, _ := m.stream.read(row.Shard)
		a.Kind = lease.ActionSeek
		a.To = []stream.Position{stream.TrimHorizon, stream.Latest}[m.r.IntN(2)]
		if m.r.IntN(2) == 0 && count > 0 {
			a.Scope, a.To = shard, stream.After(sequence(1+m.r.Uint64N(count)))
		}
	}
	if m.r.IntN(4) == 0 {
		_, err := m.ops.DryRun(ctx, a)
		m.count("dry "+string(a.Kind), err)
		return
	}
	c, err := m.ops.Do(ctx, a)
	m.count(string(a.Kind), err)
	m.keep(c)
	if a.Kind == lease.ActionSeek && err != nil && !errors.Is(err, lease.ErrNotPossible) && m.r.IntN(2) == 0 {
		ctx, cancel := context.WithTimeout(faulty, 20*m.failover)
		defer cancel()
		c, err := m.ops.Do(ctx, a)
		m.count("seek again", err)
		m.keep(c)
	}
}

// keep keeps what may be undone.
func (m *meddler) keep(c lease.Change) {
	if c.Action.Kind != "" {
		m.done = append(m.done, c)
	}
}

func (m *meddler) undo(ctx context.Context) {
	if len(m.done) == 0 {
		return
	}
	i := m.r.IntN(len(m.done))
	_, err := m.ops.Undo(ctx, m.done[i])
	m.count("undo "+string(m.done[i].Action.Kind), err)
	m.done = append(m.done[:i], m.done[i+1:]...)
}

func (m *meddler) count(what string, err error) {
	switch {
	case err == nil:
	case errors.Is(err, lease.ErrNotPossible):
		what += " (not possible)"
	case errors.Is(err, lease.ErrMovedOn):
		what += " (moved on)"
	default:
		what += " (failed)"
	}
	m.tally[what]++
}

// leave takes back all orders that are left.
func (m *meddler) leave() {
	ctx := context.Background()
	o := lease.NewObserver(m.store.Memory, m.failover)
	fleet, err := o.Look(ctx)
	if err != nil {
		m.fault(err)
	}
	for _, order := range fleet.Orders {
		lift := order.Action
		lift.Kind = map[lease.ActionKind]lease.ActionKind{
			lease.ActionPause: lease.ActionResume, lease.ActionSeek: lease.ActionResume, lease.ActionDrain: lease.ActionUndrain,
		}[order.Kind]
		for {
			_, err := m.ops.Do(ctx, lift)
			if err == nil || errors.Is(err, lease.ErrNotPossible) {
				break
			}
			time.Sleep(m.failover)
		}
	}
	if fleet, err = o.Look(ctx); err != nil || fleet.Unreadable != nil || len(fleet.Orders) > 0 {
		m.fault(fmt.Errorf("orders are left that nobody can take back: %v, %v, %v", fleet.Orders, fleet.Unreadable, err))
	}
}

func TestAFleetWithFaultsUnderAMeddlingOperatorBreaksNoInvariant(t *testing.T) {
	seeds := *flagSeeds
	if testing.Short() {
		seeds = 1
	}
	var sum check.Stats
	actions, refused := 0, 0
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint("seed ", seed+1), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSim(seed+1, 6)
				s.check.Remember()
				var m *meddler
				s.others = append(s.others, func(faulty context.Context) { m = s.meddle(faulty) })
				err := s.run(5, time.Duration(*flagHours*float64(time.Hour)), true)
				t.Logf("seed %d: %v %+v %+v", seed+1, m.tally, s.stat, s.check.Stats())
				if err != nil {
					t.Error(err)
				}
				sum.Add(s.check.Stats())
				for what, n := range m.tally {
					if actions += n; strings.HasSuffix(what, ")") {
						refused += n
					}
				}
			})
		})
	}
	proof.Report(t, "fleets under an operator who meddles, in virtual time", "fleets", seeds, "virtual hours of each", *flagHours,
		"actions", actions, "of them refused or interrupted", refused, "shards sought", sum.Seeks,
		"records put", sum.Puts, "deliveries", sum.Deliveries, "terms", sum.Terms, "violations", sum.Violations)
}
