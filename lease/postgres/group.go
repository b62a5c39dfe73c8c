package postgres

import (
	"context"
	"slices"
	"sync"
)

// A gatherer lets calls that come while another is under way go out together.
//
//	do ──► alone: takes off at once ──────────────► fly(1) ──► landed
//	do ──┐
//	do ──┼► gather while that one is under way ───► fly(3) ──► landed
//	do ──┘                                          (who has left by then is not aboard)
//
// There is no timer: how many go together is how many came during one flight.
// A flight's goroutine belongs to those who wait for it. Whoever's context ends
// leaves at once, and the last one to leave ends the flight.
type gatherer[Q, A any] struct {
	most int                                             // passengers of one flight
	fly  func(ctx context.Context, all []Q) ([]A, error) // answers in the order of all

	mu      sync.Mutex     // guards what follows, and the groups
	flying  bool           // a flight is under way
	waiting []*group[Q, A] // for it to land; all full but the last one
}

// group is the passengers of one flight.
type group[Q, A any] struct {
	passengers []*passenger[Q, A]
	left       int                // how many of them did not wait for the answer
	cancel     context.CancelFunc // of the flight; nil until it takes off
	landed     chan struct{}      // closed when answers and err are there
	err        error
}

type passenger[Q, A any] struct {
	question Q
	left     bool
	answer   A
}

// do returns the answer to one question. An error is that of the whole flight.
func (g *gatherer[Q, A]) do(ctx context.Context, question Q) (answer A, err error) {
	gr, p := g.board(question)
	select {
	case <-gr.landed:
		return p.answer, gr.err
	case <-ctx.Done():
		if flight := g.leave(gr, p); flight != nil {
			<-flight
		}
		return answer, context.Cause(ctx)
	}
}

// board gives the question a place in a group, and lets that take off when
// nothing is under way.
func (g *gatherer[Q, A]) board(question Q) (*group[Q, A], *passenger[Q, A]) {
	p := &passenger[Q, A]{question: question}
	g.mu.Lock()
	defer g.mu.Unlock()
	if n := len(g.waiting); n == 0 || len(g.waiting[n-1].passengers) == g.most {
		g.waiting = append(g.waiting, &group[Q, A]{landed: make(chan struct{})})
	}
	gr := g.waiting[len(g.waiting)-1]
	gr.passengers = append(gr.passengers, p)
	if !g.flying {
		g.takeOff()
	}
	return gr, p
}

// takeOff starts the flight of the group that waits longest, if any does. The
// caller holds mu.
func (g *gatherer[Q, A]) takeOff() {
	g.flying = len(g.waiting) > 0
	if !g.flying {
		return
	}
	gr := g.waiting[0]
	g.waiting = g.waiting[1:]
	gr.passengers = slices.DeleteFunc(gr.passengers, func(p *passenger[Q, A]) bool { return p.left })
	gr.left = 0
	// A flight is nobody's alone, so it has nobody's context.
	ctx, cancel := context.WithCancel(context.Background())
	gr.cancel = cancel
	go g.flight(ctx, gr)
}

// flight carries out one group, and lets the next one take off.
func (g *gatherer[Q, A]) flight(ctx context.Context, gr *group[Q, A]) {
	defer close(gr.landed)
	defer gr.cancel()
	questions := make([]Q, len(gr.passengers))
	for i, p := range gr.passengers {
		questions[i] = p.question
	}
	answers, err := g.fly(ctx, questions)
	if gr.err = err; err == nil {
		for i, p := range gr.passengers {
			p.answer = answers[i]
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.takeOff()
}

// leave takes a passenger out of his group. When he is the last one and the
// flight is under way, it is ended, and what is closed when it has landed is
// returned: he waits for that, which takes no answer of the server.
func (g *gatherer[Q, A]) leave(gr *group[Q, A], p *passenger[Q, A]) (flight <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p.left = true
	gr.left++
	switch {
	case gr.left < len(gr.passengers):
		return nil
	case gr.cancel == nil:
		g.waiting = slices.DeleteFunc(g.waiting, func(other *group[Q, A]) bool { return other == gr })
		return nil
	}
	gr.cancel()
	return gr.landed
}
