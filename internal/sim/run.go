package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/internal/actor"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/lease/leasetest"
	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/stream/kpl"
)

// Run simulates what the seed draws. It must be called inside a bubble of
// testing/synctest. The error joins every violation of an invariant.
func Run(ctx context.Context, o Options) (Report, error) {
	faults, faultsOver := context.WithTimeout(ctx, o.Time)
	defer faultsOver()
	f := newFleet(faults, o)
	alive, stopAll := context.WithCancel(ctx)
	defer stopAll()

	var actors, slots sync.WaitGroup
	for i := range 3 {
		actors.Go(func() { f.produce(i) })
	}
	actors.Go(f.retention)
	if f.Mode != Calm {
		actors.Go(f.reshard)
		actors.Go(f.outages)
	}
	for i := range f.Workers {
		slots.Go(func() { f.slot(alive, i) })
	}
	actors.Wait()
	var err error
	if f.Mode != Safety {
		began := time.Now()
		err = f.rest(ctx)
		f.report.Rest = time.Since(began)
		if err == nil && f.Mode == Liveness {
			err = f.calm(ctx)
		}
	}
	f.tally()
	stopAll()
	slots.Wait()
	return f.end(err)
}

// end waits for everything that was started, and returns what was seen.
func (f *fleet) end(err error) (Report, error) {
	f.lives.Wait()
	if f.Mode == Scripted {
		f.sum() // its script has stopped all itself
	}
	if err == nil && f.Mode != Safety {
		f.check.AtRest()
		f.rows.AtRest()
	}
	return f.report, errors.Join(err, f.err())
}

// tally counts what was done, and the time of the machines that are left. How long
// each takes to stop, in whatever state it is in, and what it does meanwhile, depends
// on chance; that nothing is violated is checked until the end.
func (f *fleet) tally() {
	synctest.Wait()
	f.sum()
	f.mu.Lock()
	left := slices.Clone(f.machines)
	f.mu.Unlock()
	for _, m := range left {
		m.retire()
	}
}

// sum counts what was done until now.
func (f *fleet) sum() {
	f.report.Checked, f.report.Hash = f.check.Stats(), f.check.Hash()
	f.report.EffectsRefused, f.report.Moves = f.sink.refusals(), f.rows.Moves()
}

// moody reports whether processors may do strange things.
func (f *fleet) moody() bool { return f.Mode != Scripted && f.faults.Err() == nil }

// produce puts numbered records over a few keys of its own until faults are over.
func (f *fleet) produce(who int) {
	r := f.source("producer", who)
	for n := who; actor.Sleep(f.faults, actor.Between(r, 10*time.Millisecond, 2*time.Second)); {
		var entries []stream.Entry
		for range 1 + r.IntN(4) {
			key := "p" + strconv.Itoa(who) + "-" + strconv.Itoa(r.IntN(20))
			entries = append(entries, stream.Entry{PartitionKey: key, Data: []byte(strconv.Itoa(n))})
			n += 3
		}
		if r.IntN(3) == 0 {
			entries = pack(entries)
		}
		f.put(entries...)
	}
}

// pack makes one record of many, as careless producers do: they go to one shard,
// wherever they belong.
func pack(entries []stream.Entry) []stream.Entry {
	var a kpl.Aggregator
	for _, e := range entries {
		a.Add(e)
	}
	e, _ := a.Take()
	return []stream.Entry{e}
}

// reshard splits and merges; some of it hits shards that are still empty, or
// children whose parents are not finished.
func (f *fleet) reshard() {
	r := f.source("resharder", 0)
	for actor.Sleep(f.faults, actor.Between(r, time.Second, 8*time.Minute)) {
		s, _ := f.present()
		if err := s.UpdateShardCount(f.faults, 1+r.IntN(2*f.Shards)); err != nil && f.faults.Err() == nil {
			f.fault(fmt.Errorf("reshard: %w", err))
			return
		}
		f.count(func(r *Report) { r.Reshards++ })
	}
}

// retention drops what was processed, and shards that ended a while ago: no
// write that is under way is as old as retention.
func (f *fleet) retention() {
	s, id := f.present()
	for old := map[string]bool{}; actor.Sleep(f.faults, 11*time.Minute+time.Nanosecond); {
		shards, _ := s.Shards(f.faults)
		for _, shard := range shards {
			at, ended := f.check.Checkpoint(lease.Key(id, shard.ID))
			switch n, _, ok := at.Sequence(); {
			case ok:
				_ = s.Trim(f.faults, shard.ID, n.WithSub(0)) // a part of an aggregate keeps all of it
			case old[shard.ID]:
				_ = s.Forget(f.faults, shard.ID)
			case ended:
				old[shard.ID] = true
			}
		}
	}
}

// outages takes the store away from everybody, sometimes for longer than the
// failover time, and gives it back to all at once; or lets it refuse nearly
// everything for a while, as one that throttles.
func (f *fleet) outages() {
	r := f.source("outages", 0)
	for actor.Sleep(f.faults, actor.Between(r, time.Minute, 40*time.Minute)) {
		f.setLinks(leasetest.Refused)
		f.count(func(r *Report) { r.Outages++ })
		actor.Sleep(f.faults, actor.Between(r, time.Second, 5*f.Failover))
		f.setLinks(leasetest.Up)
	}
}

func (f *fleet) setLinks(l leasetest.Link) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range f.machines {
		m.network.SetLink(l)
	}
}

// network draws what is wrong all the time with a machine's connection.
func (f *fleet) network(r *rand.Rand) leasetest.Faults {
	n := leasetest.Faults{Seed: r.Uint64(), Latency: 40 * time.Millisecond}
	silent := r.IntN(2) == 0
	if f.faults.Err() != nil {
		return n
	}
	n.FailBefore, n.LoseAnswer, n.Repeat = 0.002, 0.004, 0.002
	n.Late, n.LateBy = 0.001, 2*f.Failover
	n.OwnedLag, n.Silent = 2*time.Second, silent
	if f.Mode == Safety {
		n.FailBefore, n.LoseAnswer, n.Repeat = 0.02, 0.03, 0.01
		n.Late, n.LateBy = 0.01, 4*f.Failover
		n.OwnedLag = 2 * f.Failover
	}
	return n
}

// slot is a place where machines run, one after the other.
func (f *fleet) slot(alive context.Context, i int) {
	r := f.source("slot", i)
	times := f.source("times", i)
	for life := 0; alive.Err() == nil; life++ {
		part := time.Duration(1)
		if f.Mixed {
			part += time.Duration(times.IntN(3))
		}
		m := f.start(alive, fmt.Sprintf("w%d-%d", i, life), setup{
			faults: f.network(r),
			clock:  actor.Between(r, -2*time.Hour, 2*time.Hour),
			code:   strconv.Itoa(100 + int(time.Since(epoch)/(40*time.Minute))), // a new revision now and then
			batch:  1 + r.IntN(50),
			part:   part,
		})
		f.live(alive, r, m)
		actor.Sleep(alive, actor.Between(r, time.Millisecond, 5*f.Failover))
	}
}

// epoch is when every bubble begins.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// live is the life of a machine, with or without trouble, to its end.
func (f *fleet) live(alive context.Context, r *rand.Rand, m *machine) {
	longest := 15 * time.Minute
	if f.Mode == Safety {
		longest = 5 * time.Minute
	}
	for {
		if !actor.Sleep(alive, actor.Between(r, time.Second, longest)) {
			<-m.ended
			return
		}
		if f.Mode == Calm || f.faults.Err() != nil {
			continue // no trouble, or no more; until the end
		}
		for range 1 + r.IntN(2) { // troubles like company
			if !f.trouble(alive, r, m) {
				return
			}
			// What an end of trouble sets going comes before the next one.
			actor.Sleep(alive, actor.Between(r, time.Microsecond, time.Second))
		}
	}
}

// trouble does something to a machine, and reports whether it still lives.
func (f *fleet) trouble(alive context.Context, r *rand.Rand, m *machine) bool {
	last := func(least, most time.Duration) {
		if !actor.Sleep(alive, actor.Between(r, least, most)) {
			// All are told to stop at this instant; the trouble is over a moment later.
			time.Sleep(actor.Between(r, time.Microsecond, time.Second))
		}
	}
	switch r.IntN(6) {
	case 0: // a deploy
		f.count(func(r *Report) { r.Stops++ })
		m.stop()
		<-m.ended
		return false
	case 1:
		f.count(func(r *Report) { r.Crashes++ })
		m.crash()
		return false
	case 2:
		f.count(func(r *Report) { r.Freezes++ })
		thaw := m.freeze()
		last(time.Second, 5*f.Failover)
		thaw()
	case 3:
		f.count(func(r *Report) { r.Hangs++ })
		flow := m.inlet.hang()
		last(time.Second, 8*f.Failover)
		flow()
	default: // cut off from the store, one way or both, or from its writes alone
		f.count(func(r *Report) { r.Cuts++ })
		mended := m.cut(r.IntN(5))
		last(100*time.Millisecond, 5*f.Failover)
		mended()
	}
	return true
}

// cut breaks the connection to the store in one of five ways. It returns what
// mends it.
func (m *machine) cut(way int) (mend func()) {
	links := []leasetest.Link{leasetest.Refused, leasetest.RequestsLost, leasetest.AnswersLost}
	if way < len(links) {
		m.network.SetLink(links[way])
		return func() { m.network.SetLink(leasetest.Up) }
	}
	lost := []fate{refused, requestLost}[way-len(links)]
	m.line.lieInWait(func(write) fate { return lost })
	return func() { m.line.lieInWait(nil) }
}
