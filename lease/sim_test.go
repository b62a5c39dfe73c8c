package lease_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/internal/actor"
	"github.com/millrace/millrace/internal/check"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/lease/leasetest"
	"github.com/millrace/millrace/stream"
)

// sim is a fleet of coordinators in virtual time, with everything that goes
// wrong. Its holds do nothing but count; the checker watches.
type sim struct {
	seed   uint64
	log    *slog.Logger
	stream *script
	store  *check.Store
	check  *check.Checker

	failover, handoff time.Duration
	mixed             bool                           // lives have times of their own: parts of those
	obliging          bool                           // holds let go when they are asked
	hall              *hall                          // nil when the store knows no presence
	others            []func(faulty context.Context) // actors beside those of run, while faults last

	mu     sync.Mutex // guards what follows
	procs  map[int]*proc
	faulty []error
	lives  sync.WaitGroup
	stat   struct{ lives, crashes, stops, freezes, cuts, outages, reshards, absences int }
}

func newSim(seed uint64, shards int) *sim {
	s := &sim{
		seed: seed, log: slog.New(slog.DiscardHandler),
		stream: newScript("sim", shards), check: check.New(),
		failover: 4 * time.Second, handoff: 6 * time.Second,
		procs: map[int]*proc{},
	}
	s.store = check.NewStore(s.check)
	if seed%2 == 0 {
		s.hall = newHall()
	}
	s.mixed = seed%3 == 2
	return s
}

// actor returns the randomness of one actor.
func (s *sim) actor(name string, i int) *rand.Rand { return actor.Source(s.seed, name, i) }

// fault records what the checker cannot see.
func (s *sim) fault(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faulty = append(s.faulty, err)
}

// err returns all that was violated.
func (s *sim) err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(append(s.faulty, s.check.Err())...)
}

// proc is one life of a worker's process.
type proc struct {
	*sim
	name string
	link *leasetest.Faulty
	stop context.CancelFunc
	done chan struct{}

	mu     sync.Mutex // guards what follows
	dead   bool
	frozen chan struct{} // closed by the thaw
	terms  map[string]int64
}

// start begins a life.
func (s *sim) start(r *rand.Rand, slot, life int, faults leasetest.Faults) *proc {
	name := fmt.Sprintf("w%d-%d", slot, life)
	faults.Seed = r.Uint64()
	p := &proc{
		sim: s, name: name, done: make(chan struct{}), terms: map[string]int64{},
		link: leasetest.NewFaulty(s.store.As(name), faults),
	}
	var store lease.Store = p.link
	if s.hall != nil {
		store = &attendant{p.link, s.hall}
	}
	part := time.Duration(1)
	if s.mixed {
		part += time.Duration(s.actor("times "+name, life).IntN(3))
	}
	c, err := lease.NewCoordinator(lease.Config{
		Worker: name, Store: store, Streams: []stream.Stream{s.stream},
		FailoverTime: s.failover / part, HandoffTimeout: s.handoff / part, Drain: s.handoff / part,
		Logger: s.log, Seed: faults.Seed | 1,
	})
	if err != nil {
		panic(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	s.mu.Lock()
	s.procs[slot] = p
	s.stat.lives++
	s.mu.Unlock()
	s.lives.Go(func() {
		defer close(p.done)
		defer p.link.Wait()
		if err := c.Run(ctx, p.hold); err != nil {
			panic(err)
		}
	})
	return p
}

// crash is kill -9: nothing of the process reaches anybody any more.
func (p *proc) crash() {
	p.link.SetLink(leasetest.RequestsLost)
	p.mu.Lock()
	p.dead = true
	for key, term := range p.terms {
		p.check.Cancelled(key, term)
	}
	p.mu.Unlock()
	if p.hall != nil {
		p.hall.left(p.name)
	}
	p.stop()
}

// freeze stops callbacks and requests, as SIGSTOP does; timers go on, as if
// they fired at the moment of waking.
func (p *proc) freeze() (thaw func()) {
	p.link.SetLink(leasetest.RequestsLost)
	p.mu.Lock()
	defer p.mu.Unlock()
	gate := make(chan struct{})
	p.frozen = gate
	return func() {
		p.link.SetLink(leasetest.Up)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.frozen = nil
		close(gate)
	}
}

// pass waits while the process is frozen.
func (p *proc) pass() {
	p.mu.Lock()
	gate := p.frozen
	p.mu.Unlock()
	if gate != nil {
		<-gate
	}
}

// event feeds the checker, unless the process or the term is gone.
func (p *proc) event(ctx context.Context, f func()) bool {
	p.pass()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead || ctx.Err() != nil {
		return false
	}
	f()
	return true
}

var errWhim = errors.New("the callback fails on a whim")

// hold counts the records of a shard.
func (p *proc) hold(ctx context.Context, h lease.Hold) (err error) {
	row, term := h.Lease(), h.Term()
	if !p.event(ctx, func() { p.terms[row.Key] = term; p.check.Began(row.Key, term) }) {
		return nil
	}
	clean := false
	r := p.actor(row.Key, int(term))
	chance := func(x float64) bool { return r.Float64() < x }
	stubborn := chance(0.15) && !p.obliging // goes on until it is cancelled
	zombie := chance(0.3)                   // tries to store something even after that
	watched := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(watched)
		p.mu.Lock()
		defer p.mu.Unlock()
		if !p.dead {
			p.check.Cancelled(row.Key, term)
		}
	})
	defer func() {
		if !stop() {
			<-watched
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.terms, row.Key)
		if !p.dead {
			p.check.Returned(row.Key, term, clean)
		}
	}()
	at := number(row.Checkpoint.Position)
	state := func() checkpoint.State {
		if at == 0 {
			return checkpoint.State{Position: row.Checkpoint.Position}
		}
		return checkpoint.State{Position: stream.After(sequence(at))}
	}
	patience := func() context.Context {
		ctx, cancel := context.WithTimeout(context.Background(), 3*p.handoff)
		context.AfterFunc(ctx, cancel)
		return ctx
	}
	save := func() error { return h.Save(patience(), state()) }
	if zombie {
		defer func() {
			if ctx.Err() != nil {
				time.Sleep(actor.Between(r, time.Millisecond, 2*p.failover))
				p.pass()
				if err := save(); !errors.Is(err, checkpoint.ErrLeaseLost) {
					p.fault(fmt.Errorf("a cancelled hold of %s was not refused to store %v: %v", row.Key, state(), err))
				}
			}
		}()
	}
	draining := h.Draining()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-draining:
			if stubborn {
				draining = nil
				continue
			}
			err := h.Release(patience(), state())
			clean = err == nil
			return err
		default:
		}
		count, closed := p.stream.read(row.Shard)
		for batch := 0; at < count && batch < 10; batch++ {
			if !p.event(ctx, func() { p.check.Delivered(row.Key, term, sequence(at+1)) }) {
				return context.Cause(ctx)
			}
			if !actor.Sleep(ctx, actor.Between(r, time.Millisecond, 300*time.Millisecond)) {
				return context.Cause(ctx)
			}
			if !p.event(ctx, func() { p.check.Done(row.Key, term, sequence(at+1)) }) {
				return context.Cause(ctx)
			}
			at++
		}
		switch {
		case closed && at == count:
			err := h.End(patience(), p.stream.children(row.Shard))
			clean = err == nil
			return err
		case chance(0.002):
			return errWhim
		case chance(0.3):
			if err := save(); errors.Is(err, checkpoint.ErrLeaseLost) {
				return err
			}
		}
		if !actor.Sleep(ctx, actor.Between(r, 50*time.Millisecond, time.Second)) {
			return context.Cause(ctx)
		}
	}
}
