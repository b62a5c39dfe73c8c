package sim

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/millrace/millrace/lease/leasetest"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/worker"
)

// machine is one life of a worker's process, and what can be done to it from
// outside. When it is frozen its processors, requests and answers stand still;
// when it has crashed nothing of it is heard any more.
type machine struct {
	fleet   *fleet
	name    string
	network *leasetest.Faulty // to the store
	line    *line             // before the network: where scripts lie in wait
	inlet   *inlet            // the way to the stream
	stop    context.CancelFunc
	ended   chan struct{} // closed when Run has returned
	gone    chan struct{} // closed at the crash
	born    time.Time
	setup

	mu     sync.Mutex // guards what follows, and holds events and the crash apart
	dead   bool
	frozen chan struct{}    // closed at the thaw; nil when not frozen
	terms  map[string]int64 // that are under way, by lease key
}

// setup is how a machine differs from others.
type setup struct {
	faults leasetest.Faults
	clock  time.Duration // by how much its wall clock is wrong
	code   string
	batch  int           // BatchRecords
	part   time.Duration // of the fleet's times, its FailoverTime and Drain are one of so many; 0 is the whole
	ambush func(write) fate
	// processing is what processors do with a batch, beside what they always do.
	processing func(ctx context.Context, shard string) error
	// shardEnded is what processors do at the end of a shard.
	shardEnded func(ctx context.Context, shard string) error
}

// start begins a life. It ends with alive, or by stop or crash.
func (f *fleet) start(alive context.Context, name string, s setup) *machine {
	store := f.rows.As(name)
	m := &machine{
		fleet: f, name: name, born: time.Now(), setup: s,
		network: leasetest.NewFaulty(store, s.faults),
		ended:   make(chan struct{}), gone: make(chan struct{}),
		terms: map[string]int64{},
	}
	m.line = &line{Faulty: m.network, store: store, machine: m, clock: s.clock, ambush: s.ambush}
	m.inlet = &inlet{fleet: f, reads: map[*tap]context.CancelCauseFunc{}}
	m.part = max(m.part, 1)
	w, err := worker.New(worker.Config{
		Application: "sim", Name: name, Code: s.code,
		Streams: []stream.Stream{m.inlet}, Leases: m.line,
		FailoverTime: f.Failover / m.part, Drain: f.Drain / m.part, CheckpointEvery: f.CheckpointEvery,
		Retry:        processors.Backoff{Min: 50 * time.Millisecond, Max: 2 * time.Second},
		BatchRecords: s.batch,
		Logger:       f.Logger,
		Seed:         s.faults.Seed | 1,
		Processor:    func(s processors.Shard) processors.RecordProcessor { return newProcessor(m, s) },
	})
	if err != nil {
		panic(err) // the simulation's own mistake
	}
	f.mu.Lock()
	f.machines = append(f.machines, m)
	f.report.Lives++
	f.mu.Unlock()

	var ctx context.Context
	ctx, m.stop = context.WithCancel(alive)
	f.lives.Go(func() {
		defer close(m.ended)
		defer m.network.Wait()
		told := make(chan time.Time, 1)
		context.AfterFunc(ctx, func() { told <- time.Now() })
		if err := w.Run(ctx); err != nil {
			f.fault(fmt.Errorf("%s: Run: %w", name, err))
		}
		m.retire()
		if took := time.Since(<-told); took > f.longestStop() {
			f.fault(fmt.Errorf("%s took %v to stop, want at most %v", name, took, f.longestStop()))
		}
	})
	return m
}

// longestStop is how long a worker may take to stop, whatever is wrong with its
// store, by the word of [worker.Worker.Run]. Callbacks that are deaf to their context
// are so for two failover times at most; one that is frozen stands for a second after
// it was told to stop.
func (f *fleet) longestStop() time.Duration {
	return max(f.Failover+f.Drain, 2*f.Failover+time.Second) + 3*f.Failover
}

// retire takes the machine out of the fleet, once.
func (m *machine) retire() {
	f := m.fleet
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.machines {
		if f.machines[i] == m {
			f.machines = append(f.machines[:i:i], f.machines[i+1:]...)
			f.report.FleetTime += time.Since(m.born)
			return
		}
	}
}

// crash is kill -9.
func (m *machine) crash() {
	m.network.SetLink(leasetest.RequestsLost)
	m.mu.Lock()
	m.dead = true
	close(m.gone)
	for key, term := range m.terms {
		m.fleet.check.Cancelled(key, term)
	}
	m.mu.Unlock()
	m.retire()
	m.stop() // lives on as a ghost, of which nothing reaches anybody
}

// freeze is SIGSTOP to callbacks, requests and answers; timers go on, as if
// they all fired at the moment of waking. It returns SIGCONT.
func (m *machine) freeze() (thaw func()) {
	m.network.SetLink(leasetest.RequestsLost)
	m.mu.Lock()
	defer m.mu.Unlock()
	frozen := make(chan struct{})
	m.frozen = frozen
	return func() {
		m.network.SetLink(leasetest.Up)
		m.mu.Lock()
		defer m.mu.Unlock()
		m.frozen = nil
		close(frozen)
	}
}

// stand is a point at which callbacks freeze, whatever their context says.
func (m *machine) stand() {
	m.mu.Lock()
	frozen := m.frozen
	m.mu.Unlock()
	if frozen != nil {
		select {
		case <-frozen:
		case <-m.gone:
		}
	}
}

// event lets f tell the checker of something, unless the machine is dead or
// the term is over. It returns when the context is done in these cases.
func (m *machine) event(ctx context.Context, f func()) bool {
	m.stand()
	m.mu.Lock()
	heard := !m.dead && ctx.Err() == nil
	if heard {
		f()
	}
	m.mu.Unlock()
	if !heard {
		<-ctx.Done()
	}
	return heard
}

// began tells of a term's beginning, and sees to it that its end is told of.
func (m *machine) began(ctx context.Context, of *processor) bool {
	term := of.shard.Term
	begun := m.event(ctx, func() {
		m.terms[of.key] = term
		m.fleet.check.Began(of.key, term)
	})
	if !begun {
		return false
	}
	m.fleet.lives.Add(1)
	context.AfterFunc(ctx, func() {
		defer m.fleet.lives.Done()
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.terms, of.key)
		if m.dead {
			return
		}
		// A hold that ended by itself has released its lease in the same write
		// as its last checkpoint; every other one was cancelled with a reason.
		if errors.Is(context.Cause(ctx), context.Canceled) {
			m.fleet.check.Returned(of.key, term, !of.failed)
		} else {
			m.fleet.check.Cancelled(of.key, term)
		}
	})
	return true
}

// effect writes to a sink that refuses former terms, and reports whether it
// was accepted.
func (m *machine) effect(key string, term int64) bool {
	m.stand()
	m.mu.Lock()
	defer m.mu.Unlock()
	return !m.dead && m.fleet.sink.accept(key, term)
}

// sink is a user's database that remembers the greatest term of each shard.
type sink struct {
	fleet   *fleet
	mu      sync.Mutex
	terms   map[string]int64
	refused int
}

func (s *sink) refusals() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused
}

func (s *sink) accept(key string, term int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if term < s.terms[key] {
		s.refused++
		return false
	}
	s.terms[key] = term
	s.fleet.check.Effect(key, term)
	return true
}
