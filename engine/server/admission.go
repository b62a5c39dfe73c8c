package server

import (
	"context"
	"errors"
	"sync"
	"time"
)

// admission bounds the memory that requests of one kind hold: who finds no room
// waits until others have done with theirs. First come, first served, and who is
// next does not wait for clients that dawdle: see [share].
//
//	enter ──► room? ──► share: held until the client has sent, or taken, it all ──► leave
//	            └─ no ──► line ──────────────▲   (too slow, while others wait: cut off)
type admission struct {
	limit int // bytes
	line  int // how many may wait; 0 is any number

	mu      sync.Mutex
	free    int // below zero when what came was larger than was thought
	waiting []*visitor
	moving  []*share // those whose clients are sending or taking
}

type visitor struct {
	need     int
	admitted chan struct{}
}

func newAdmission(limit, line int) *admission {
	return &admission{limit: limit, line: line, free: limit}
}

var errLineFull = errors.New("too many are waiting")

// enter takes so many bytes, or waits for them, so long at most; 0 is for as long
// as ctx lasts. It returns the cause of ctx if that ends first, and an error at once
// if too many wait already; then nothing was taken.
func (a *admission) enter(ctx context.Context, need int, atMost time.Duration) error {
	a.mu.Lock()
	if need <= a.free && len(a.waiting) == 0 {
		a.free -= need
		a.mu.Unlock()
		return nil
	}
	if a.line > 0 && len(a.waiting) >= a.line {
		a.mu.Unlock()
		return errLineFull
	}
	v := &visitor{need, make(chan struct{})}
	a.waiting = append(a.waiting, v)
	a.mu.Unlock()
	if atMost > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, atMost)
		defer cancel()
	}
	return a.wait(ctx, v)
}

func (a *admission) wait(ctx context.Context, v *visitor) error {
	tick := time.NewTicker(hurryEach)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-v.admitted:
			return nil
		case <-tick.C:
			a.hurry(v)
		case <-ctx.Done():
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case <-v.admitted: // at the last moment
		a.free += v.need
	default:
		for i, other := range a.waiting {
			if other == v {
				a.waiting = append(a.waiting[:i], a.waiting[i+1:]...)
				break
			}
		}
	}
	a.admit()
	return context.Cause(ctx)
}

// leave gives back what was taken. What is below zero is taken in addition,
// whether there is room or not.
func (a *admission) leave(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.free += n
	a.admit()
}

// admit lets in who fits, in turn.
func (a *admission) admit() {
	for len(a.waiting) > 0 && a.waiting[0].need <= a.free {
		a.free -= a.waiting[0].need
		close(a.waiting[0].admitted)
		a.waiting = a.waiting[1:]
	}
}

// portion is how much one gets who wants so many bytes, and needs the least of
// them: the more is held, the less.
func (a *admission) portion(want, least int) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return min(want, max(least, a.free/8))
}
