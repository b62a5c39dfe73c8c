package fanout

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/millrace/millrace/stream"
)

// enrolment is the registration that all readers of a stream share. One of those
// who need it registers, with its own context; the others wait for their turn,
// and find it done, or try themselves.
type enrolment struct {
	turn chan struct{} // holds a token while somebody registers

	mu      sync.Mutex // guards what follows; nothing waits under it
	current stream.Subscriber
	until   time.Time // when current is a fallback: for how long it is taken
}

// enrolled is one registration; another one of the same consumer is not equal to it.
type enrolled struct{ stream.Subscriber }

// known returns the subscriber that is registered, or nil.
func (e *enrolment) known() stream.Subscriber {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.until.IsZero() && !time.Now().Before(e.until) {
		return nil
	}
	return e.current
}

func (e *enrolment) keep(s stream.Subscriber, until time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.current, e.until = s, until
}

// forget drops a registration that does not hold any more, unless a newer one
// has taken its place.
func (p *pushed) forget(s stream.Subscriber) {
	p.enrolment.mu.Lock()
	defer p.enrolment.mu.Unlock()
	if p.enrolment.current == s {
		p.enrolment.current = nil
	}
}

// subscriber returns what pushes, and registers the consumer if need be.
func (p *pushed) subscriber(ctx context.Context) (stream.Subscriber, error) {
	registrar, ok := p.Stream.(stream.Registrar)
	if !ok {
		return p.Stream.(stream.Subscriber), nil
	}
	if s := p.enrolment.known(); s != nil {
		return s, nil
	}
	select {
	case p.enrolment.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("fan-out: wait for the registration of consumer %s: %w", p.consumer, context.Cause(ctx))
	}
	defer func() { <-p.enrolment.turn }()
	if s := p.enrolment.known(); s != nil {
		return s, nil
	}
	s, err := registrar.Register(ctx, p.consumer)
	switch {
	case err == nil:
		s = &enrolled{s}
		p.enrolment.keep(s, time.Time{})
		return s, nil
	case p.cfg.Fallback && errors.Is(err, stream.ErrTooManyConsumers):
		p.cfg.Logger.WarnContext(ctx, "the stream takes no further consumer: its shards are polled instead", "consumer", p.consumer, "ask_again", askAgain, "err", err)
		s := &polling{p.Stream}
		p.enrolment.keep(s, time.Now().Add(askAgain))
		return s, nil
	}
	return nil, fmt.Errorf("fan-out: register consumer %s: %w", p.consumer, err)
}

// Register implements [Stream].
func (p *pushed) Register(ctx context.Context) error {
	_, err := p.subscriber(ctx)
	return err
}

// Deregister implements [Stream].
func (p *pushed) Deregister(ctx context.Context) error {
	registrar, ok := p.Stream.(stream.Registrar)
	if !ok {
		return nil
	}
	select {
	case p.enrolment.turn <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("fan-out: wait for the registration of consumer %s: %w", p.consumer, context.Cause(ctx))
	}
	defer func() { <-p.enrolment.turn }()
	if err := registrar.Deregister(ctx, p.consumer); err != nil {
		return fmt.Errorf("fan-out: deregister consumer %s: %w", p.consumer, err)
	}
	p.enrolment.keep(nil, time.Time{})
	return nil
}
