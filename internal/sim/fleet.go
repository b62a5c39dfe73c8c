package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/millrace/millrace/internal/check"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/lease/leasetest"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/stream/streamtest"
	"github.com/millrace/millrace/worker"
)

// Options describe one simulation.
type Options struct {
	// Seed decides everything.
	Seed uint64
	// Time is how long faults go on, in virtual time.
	Time time.Duration
	// Workers is how many worker slots there are, Shards with how many shards
	// the stream begins.
	Workers, Shards int
	// Quiet leaves out all trouble and resharding: only the loads waver.
	Quiet bool
	// Logger gets what the workers say. Default: nothing.
	Logger *slog.Logger
}

// Report is what a simulation saw.
type Report struct {
	Workers, Crashes, Stops, Freezes, Cuts, Outages, Reshards int

	// Balanced is how many leases moved for balance alone.
	Balanced int
	// Checked is what the checker saw, EffectsRefused how often the sink turned
	// a former term away.
	Checked        check.Stats
	EffectsRefused int
	// Hash tells two courses apart.
	Hash uint64
	// Rest is how long the fleet took from the last fault until everything was
	// processed and evenly shared out.
	Rest time.Duration
	// FleetTime is the time that workers lived, in sum.
	FleetTime time.Duration
}

// The fleet's own times: shorter than a real fleet's, so that an hour holds
// more of everything that can happen.
const (
	failover        = 4 * time.Second
	drain           = 6 * time.Second
	checkpointEvery = 2 * time.Second
)

// fleet is one simulation under way.
type fleet struct {
	Options
	stream *streamtest.Memory
	id     string // of the stream
	check  *check.Checker
	rows   *check.Store
	sink   *sink

	faults context.Context // done when faults are over

	mu     sync.Mutex
	report Report
	views  map[int]*leasetest.Faulty  // the connection of each slot's present worker
	last   map[string]stream.Sequence // the last record put into each shard, by lease key
	faulty []error                    // what the checker cannot see

	lives sync.WaitGroup // of all that was ever started, dead or alive
}

func (f *fleet) count(add func(*Report)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	add(&f.report)
}

// source gives an actor randomness of its own.
func (f *fleet) source(actor string, i int) *rand.Rand {
	h := uint64(14695981039346656037) // FNV-1a
	for _, c := range []byte(actor + strconv.Itoa(i)) {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return rand.New(rand.NewPCG(f.Seed, h))
}

// between draws a time, to the nanosecond: no two actors wake at one instant.
func between(r *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(r.Int64N(int64(most-least)))
}

// sleep returns false when ctx is done first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Run simulates. It must be called inside a bubble of testing/synctest. The
// error joins every violation of an invariant.
func Run(ctx context.Context, o Options) (Report, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	f := &fleet{
		Options: o,
		stream:  streamtest.NewMemory("sim", o.Shards),
		check:   check.New(),
		views:   map[int]*leasetest.Faulty{},
		last:    map[string]stream.Sequence{},
	}
	f.rows = check.NewStore(f.check)
	f.sink = &sink{fleet: f, terms: map[string]int64{}}
	id, err := f.stream.Identity(ctx)
	if err != nil {
		return Report{}, err
	}
	f.id = id.ID()

	var faultsOver context.CancelFunc
	f.faults, faultsOver = context.WithTimeout(ctx, o.Time)
	defer faultsOver()
	alive, stopAll := context.WithCancel(ctx)
	defer stopAll()

	var actors sync.WaitGroup
	for i := range 3 {
		actors.Go(func() { f.produce(ctx, i) })
	}
	if !o.Quiet {
		actors.Go(func() { f.reshard() })
		actors.Go(func() { f.outages() })
	}
	var slots sync.WaitGroup
	for i := range o.Workers {
		slots.Go(func() { f.slot(alive, i) })
	}

	actors.Wait()
	began := time.Now()
	err = f.rest(ctx)
	f.report.Rest = time.Since(began)
	stopAll()
	slots.Wait()
	f.lives.Wait()
	if err == nil {
		f.check.AtRest()
	}
	f.report.Checked, f.report.Hash = f.check.Stats(), f.check.Hash()
	f.report.EffectsRefused, f.report.Balanced = f.sink.refused, f.rows.Balanced()
	return f.report, errors.Join(append(f.faulty, err, f.check.Err())...)
}

// fault records what the checker cannot see.
func (f *fleet) fault(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faulty = append(f.faulty, err)
}

// rest waits until everything is processed and covered by checkpoints, every
// open shard has an owner, and nothing moves any more.
func (f *fleet) rest(ctx context.Context) error {
	const patience, quiet = 100, 15 // in failover times
	var why string
	for range patience {
		sleep(ctx, failover)
		if why = f.unrest(ctx); why != "" {
			continue
		}
		before := f.rows.Moves()
		sleep(ctx, quiet*failover)
		if moved := f.rows.Moves() - before; moved > 0 {
			why = fmt.Sprintf("%d leases moved while everything was at rest", moved)
		} else if why = f.unrest(ctx); why == "" {
			return nil
		}
	}
	return fmt.Errorf("L2 violated: no rest after the last fault: %s", why)
}

// unrest says what keeps the fleet from being at rest.
func (f *fleet) unrest(ctx context.Context) string {
	f.mu.Lock()
	last := maps.Clone(f.last)
	f.mu.Unlock()
	for key, s := range last {
		if p, _ := f.check.Checkpoint(key); !p.Includes(s) {
			return fmt.Sprintf("%s is at %v, its last record at %v", key, p, s)
		}
	}
	shards, err := f.stream.Shards(ctx)
	if err != nil {
		return err.Error()
	}
	rows := map[string]lease.Lease{}
	for l, err := range f.rows.Leases(ctx) {
		if err != nil {
			return err.Error()
		}
		rows[l.Shard] = l
	}
	for _, s := range shards {
		l, there := rows[s.ID]
		switch {
		case s.Closed && there && !l.Finished():
			return s.ID + " is closed and not finished"
		case !s.Closed && (l.Owner == "" || l.CheckpointOwner != ""):
			return fmt.Sprintf("%s is with %q, %q", s.ID, l.Owner, l.CheckpointOwner)
		}
	}
	return ""
}

// produce puts numbered records over a few keys of its own until faults are over.
func (f *fleet) produce(ctx context.Context, who int) {
	r := f.source("producer", who)
	for n := who; sleep(f.faults, between(r, 10*time.Millisecond, 2*time.Second)); {
		var entries []stream.Entry
		for range 1 + r.IntN(4) {
			key := "p" + strconv.Itoa(who) + "-" + strconv.Itoa(r.IntN(20))
			entries = append(entries, stream.Entry{PartitionKey: key, Data: []byte(strconv.Itoa(n))})
			n += 3
		}
		results, err := f.stream.Put(ctx, entries...)
		if err != nil {
			f.fault(fmt.Errorf("put: %w", err))
			return
		}
		for _, res := range results {
			if res.Err != nil {
				f.fault(fmt.Errorf("put: %w", res.Err))
				return
			}
			key := lease.Key(f.id, res.Shard)
			f.check.Put(key, res.Sequence)
			f.mu.Lock()
			f.last[key] = res.Sequence
			f.mu.Unlock()
		}
	}
}

// reshard splits and merges; some of it hits shards that are still empty, or
// children whose parents are not finished.
func (f *fleet) reshard() {
	r := f.source("resharder", 0)
	for sleep(f.faults, between(r, time.Second, 8*time.Minute)) {
		if err := f.stream.UpdateShardCount(f.faults, 1+r.IntN(2*f.Shards)); err != nil && f.faults.Err() == nil {
			f.fault(fmt.Errorf("reshard: %w", err))
			return
		}
		f.count(func(r *Report) { r.Reshards++ })
	}
}

// outages takes the store away from everybody, sometimes for longer than the
// failover time, and gives it back to all at once.
func (f *fleet) outages() {
	r := f.source("outages", 0)
	for sleep(f.faults, between(r, time.Minute, 40*time.Minute)) {
		f.setLinks(leasetest.Refused)
		f.count(func(r *Report) { r.Outages++ })
		sleep(f.faults, between(r, time.Second, 5*failover))
		f.setLinks(leasetest.Up)
	}
}

func (f *fleet) setLinks(l leasetest.Link) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, v := range f.views {
		v.SetLink(l)
	}
}

// slot is a place where workers run, one after the other.
func (f *fleet) slot(alive context.Context, i int) {
	r := f.source("slot", i)
	for life := 0; alive.Err() == nil; life++ {
		f.live(alive, r, i, life)
		sleep(alive, between(r, time.Millisecond, 20*time.Second))
	}
}

// live is one life of a worker: a start, some time with or without trouble,
// and an end.
func (f *fleet) live(alive context.Context, r *rand.Rand, slot, life int) {
	name := fmt.Sprintf("w%d-%d", slot, life)
	seed := r.Uint64()
	view := leasetest.NewFaulty(f.rows.As(name), leasetest.Faults{
		Seed: seed, Latency: 40 * time.Millisecond,
		FailBefore: 0.002, LoseAnswer: 0.004, Repeat: 0.002,
		Late: 0.001, LateBy: 2 * failover,
		OwnedLag: 2 * time.Second, Silent: r.IntN(2) == 0,
	})
	if f.faults.Err() != nil {
		view = leasetest.NewFaulty(f.rows.As(name), leasetest.Faults{Seed: seed, Latency: 40 * time.Millisecond})
	}
	p := &process{fleet: f, name: name, gone: make(chan struct{}), terms: map[string]int64{}}
	w, err := worker.New(worker.Config{
		Application: "sim", Name: name,
		Streams: []stream.Stream{f.stream}, Leases: view,
		FailoverTime: failover, Drain: drain, CheckpointEvery: checkpointEvery,
		Retry:        processors.Backoff{Min: 50 * time.Millisecond, Max: 2 * time.Second},
		BatchRecords: 1 + r.IntN(50),
		Logger:       f.Logger,
		Seed:         seed | 1,
		Processor:    func(s processors.Shard) processors.RecordProcessor { return newProcessor(p, s) },
	})
	if err != nil {
		f.fault(err)
		return
	}
	f.mu.Lock()
	f.views[slot] = view
	f.report.Workers++
	f.mu.Unlock()

	ctx, stop := context.WithCancel(alive)
	ended := make(chan struct{})
	born := time.Now()
	f.lives.Go(func() {
		defer close(ended)
		defer view.Wait()
		err := w.Run(ctx)
		if err != nil && !p.isDead() {
			f.fault(fmt.Errorf("%s: Run: %w", name, err))
		}
		f.count(func(r *Report) { r.FleetTime += time.Since(born) })
	})
	defer stop()

	for {
		if !sleep(alive, between(r, time.Second, 15*time.Minute)) {
			<-ended
			return
		}
		if f.Quiet || f.faults.Err() != nil {
			continue // no trouble, or no more; until the end
		}
		switch r.IntN(5) {
		case 0: // a deploy
			f.count(func(r *Report) { r.Stops++ })
			stop()
			<-ended
			return
		case 1: // kill -9
			f.count(func(r *Report) { r.Crashes++ })
			p.crash()
			view.SetLink(leasetest.RequestsLost)
			stop()
			return // lives on as a ghost, of which nothing reaches anybody
		case 2: // SIGSTOP and SIGCONT: callbacks and requests stand still
			f.count(func(r *Report) { r.Freezes++ })
			p.freeze()
			view.SetLink(leasetest.RequestsLost)
			sleep(alive, between(r, time.Second, 5*failover))
			view.SetLink(leasetest.Up)
			p.thaw()
		default: // cut off from the store, one way or both
			f.count(func(r *Report) { r.Cuts++ })
			view.SetLink([]leasetest.Link{leasetest.Refused, leasetest.RequestsLost, leasetest.AnswersLost}[r.IntN(3)])
			sleep(alive, between(r, 100*time.Millisecond, 5*failover))
			view.SetLink(leasetest.Up)
		}
	}
}
