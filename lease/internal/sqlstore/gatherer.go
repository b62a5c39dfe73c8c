package sqlstore

import (
	"context"
	"runtime"
	"slices"
	"sync"
)

// A Gatherer lets calls that come while another is under way go out together.
//
//	Do ──► alone: takes off at once ──────────────► Fly(1) ──► landed
//	Do ──┐
//	Do ──┼► gather while that one is under way ───► Fly(3) ──► landed
//	Do ──┘                                          (who has left by then is not aboard)
//
// There is no timer: how many go together is how many came during one flight.
// The goroutine that flies belongs to those who wait for it, and ends when nobody
// does. Whoever's context ends leaves at once, and the last one to leave ends the
// flight.
//
// Its methods may be called at the same time.
type Gatherer[C any] struct {
	Most int                                         // calls of one flight
	Fly  func(ctx context.Context, calls []*C) error // writes the answers into the calls

	mu      sync.Mutex  // guards what follows, and the groups
	flying  bool        // there is a goroutine that flies
	waiting []*group[C] // for the next ones; all full but the last one
}

// group is who takes one flight.
type group[C any] struct {
	calls  []*C
	left   int                // how many did not wait for the answer; they are nil until the flight takes off
	cancel context.CancelFunc // of the flight; nil until it takes off
	landed chan struct{}      // closed when the calls are answered, or err is there
	err    error
}

// Do has a call answered. An error is that of the whole flight, or the cause of
// ctx. After an error the call must not be looked at: a flight that others wait
// for may go on.
func (g *Gatherer[C]) Do(ctx context.Context, call *C) error {
	gr := g.board(call)
	select {
	case <-gr.landed:
		return gr.err
	case <-ctx.Done():
		if flight := g.leave(gr, call); flight != nil {
			<-flight
		}
		return context.Cause(ctx)
	}
}

// Waiting returns how many calls wait for a flight that has not taken off.
func (g *Gatherer[C]) Waiting() (calls int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, gr := range g.waiting {
		calls += len(gr.calls) - gr.left
	}
	return calls
}

// board gives the call a place in a group, and sees to it that it takes off.
func (g *Gatherer[C]) board(call *C) *group[C] {
	g.mu.Lock()
	defer g.mu.Unlock()
	if n := len(g.waiting); n == 0 || len(g.waiting[n-1].calls) == g.Most {
		g.waiting = append(g.waiting, &group[C]{landed: make(chan struct{})})
	}
	gr := g.waiting[len(g.waiting)-1]
	gr.calls = append(gr.calls, call)
	if !g.flying {
		g.flying = true
		go g.fly()
	}
	return gr
}

// fly carries out one group after the other while any wait. It is one goroutine for
// all of them, since its stack has grown to what a flight needs.
func (g *Gatherer[C]) fly() {
	for more := true; more; {
		runtime.Gosched() // who wanted to call at this very moment comes aboard
		gr, ctx := g.takeOff()
		if gr == nil {
			return
		}
		gr.err = g.Fly(ctx, gr.calls)
		gr.cancel()
		more = g.othersWait()
		close(gr.landed)
	}
}

// othersWait reports whether there is another flight. If not, the next call begins one.
func (g *Gatherer[C]) othersWait() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.flying = len(g.waiting) > 0
	return g.flying
}

// takeOff closes the group that waits longest, and returns it, or nil when none does.
func (g *Gatherer[C]) takeOff() (*group[C], context.Context) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting) == 0 {
		g.flying = false
		return nil, nil
	}
	gr := g.waiting[0]
	g.waiting = g.waiting[1:]
	gr.calls = slices.DeleteFunc(gr.calls, func(c *C) bool { return c == nil })
	gr.left = 0
	// A flight is nobody's alone, so it has nobody's context.
	ctx, cancel := context.WithCancel(context.Background())
	gr.cancel = cancel
	return gr, ctx
}

// leave takes a call out of its group. When it is the last one and the flight
// is under way, that is ended, and what is closed when it has landed is
// returned: to wait for that takes no answer of the server.
func (g *Gatherer[C]) leave(gr *group[C], call *C) (flight <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	gr.left++
	everybody := gr.left == len(gr.calls)
	switch {
	case gr.cancel != nil && everybody:
		gr.cancel()
		return gr.landed
	case gr.cancel == nil && everybody:
		g.waiting = slices.DeleteFunc(g.waiting, func(other *group[C]) bool { return other == gr })
	case gr.cancel == nil:
		gr.calls[slices.Index(gr.calls, call)] = nil
	}
	return nil
}
