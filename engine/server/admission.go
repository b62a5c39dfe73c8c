package server

import (
	"context"
	"sync"
)

// admission bounds the memory of requests under way: who needs much of it waits
// until others have done with theirs. First come, first served.
type admission struct {
	mu      sync.Mutex
	free    int
	waiting []*visitor
}

type visitor struct {
	need     int
	admitted chan struct{}
}

// enter takes so many bytes, or waits for them. It returns the cause of ctx if
// that ends first; then nothing was taken.
func (a *admission) enter(ctx context.Context, need int) error {
	a.mu.Lock()
	if need <= a.free && len(a.waiting) == 0 {
		a.free -= need
		a.mu.Unlock()
		return nil
	}
	v := &visitor{need, make(chan struct{})}
	a.waiting = append(a.waiting, v)
	a.mu.Unlock()

	select {
	case <-v.admitted:
		return nil
	case <-ctx.Done():
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case <-v.admitted: // at the last moment
		a.free += need
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

// leave gives back what was taken.
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
