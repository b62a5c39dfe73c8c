package sim

import (
	"context"
	"errors"
	"sync"
)

// process is what a simulated machine is to its processors: it can be frozen
// and it can die, and then nothing of it is heard any more.
type process struct {
	fleet *fleet
	name  string
	gone  chan struct{} // closed at the crash

	mu     sync.Mutex // guards what follows, and holds events and the crash apart
	dead   bool
	frozen chan struct{}    // closed at the thaw; nil when not frozen
	terms  map[string]int64 // that are under way, by shard
}

// crash is kill -9.
func (p *process) crash() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead = true
	close(p.gone)
	for key, term := range p.terms {
		p.fleet.check.Cancelled(key, term)
	}
}

// isDead reports whether the process has crashed.
func (p *process) isDead() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead
}

// freeze is SIGSTOP to callbacks; timers go on, as if they all fired at the
// moment of waking.
func (p *process) freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frozen = make(chan struct{})
}

// thaw is SIGCONT.
func (p *process) thaw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.frozen)
	p.frozen = nil
}

// stand is a point at which callbacks freeze, whatever their context says.
func (p *process) stand() {
	p.mu.Lock()
	frozen := p.frozen
	p.mu.Unlock()
	if frozen != nil {
		select {
		case <-frozen:
		case <-p.gone:
		}
	}
}

// event lets f tell the checker of something, unless the process is dead or
// the term is over. It returns when the context is done in these cases.
func (p *process) event(ctx context.Context, f func()) bool {
	p.stand()
	p.mu.Lock()
	heard := !p.dead && ctx.Err() == nil
	if heard {
		f()
	}
	p.mu.Unlock()
	if !heard {
		<-ctx.Done()
	}
	return heard
}

// began tells of a term's beginning, and sees to it that its end is told of.
func (p *process) began(ctx context.Context, of *processor) bool {
	term := of.shard.Term
	begun := p.event(ctx, func() {
		p.terms[of.key] = term
		p.fleet.check.Began(of.key, term)
	})
	if !begun {
		return false
	}
	p.fleet.lives.Add(1)
	context.AfterFunc(ctx, func() {
		defer p.fleet.lives.Done()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.terms, of.key)
		if p.dead {
			return
		}
		// A hold that ended by itself has released its lease in the same write
		// as its last checkpoint; every other one was cancelled with a reason.
		if errors.Is(context.Cause(ctx), context.Canceled) {
			p.fleet.check.Returned(of.key, term, !of.failed)
		} else {
			p.fleet.check.Cancelled(of.key, term)
		}
	})
	return true
}

// effect writes to a sink that refuses former terms, and reports whether it
// was accepted.
func (p *process) effect(key string, term int64) bool {
	p.stand()
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.dead && p.fleet.sink.accept(key, term)
}

// sink is a user's database that remembers the greatest term of each shard.
type sink struct {
	fleet   *fleet
	mu      sync.Mutex
	terms   map[string]int64
	refused int
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
