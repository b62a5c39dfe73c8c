package lease_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/millrace/millrace/internal/check"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/lease/leasetest"
)

// hall is where workers are present, as a server's connections are.
type hall struct {
	mu      sync.Mutex
	present map[string]chan error // by incarnation; has room for why it was lost
	had     map[string]bool
}

func newHall() *hall { return &hall{present: map[string]chan error{}, had: map[string]bool{}} }

// left says that the process of a worker has ended: nobody tells the process.
func (h *hall) left(worker string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for incarnation := range h.present {
		if check.WorkerOf(incarnation) == worker {
			delete(h.present, incarnation)
		}
	}
}

var errClosed = errors.New("the hall is closed")

// close ends the presence of a worker, or, for "", of everybody, as a restart of
// the server does. They know it first.
func (h *hall) close(worker string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for incarnation, lost := range h.present {
		if worker == "" || check.WorkerOf(incarnation) == worker {
			lost <- errClosed
			delete(h.present, incarnation)
		}
	}
}

// attendant is the view that one worker has of a store with presence.
type attendant struct {
	*leasetest.Faulty
	hall *hall
}

var _ lease.Presence = (*attendant)(nil)

func (a *attendant) Attend(ctx context.Context, incarnation string, _ time.Duration, attending func()) error {
	lost := make(chan error, 1)
	a.hall.mu.Lock()
	a.hall.present[incarnation], a.hall.had[incarnation] = lost, true
	a.hall.mu.Unlock()
	attending()
	select {
	case err := <-lost:
		return err
	case <-ctx.Done():
		a.hall.mu.Lock()
		defer a.hall.mu.Unlock()
		if a.hall.present[incarnation] == lost {
			delete(a.hall.present, incarnation)
		}
		return context.Cause(ctx)
	}
}

func (a *attendant) Ended(ctx context.Context, observer string, incarnations ...string) (ended []string, err error) {
	members, err := a.Faulty.Members(ctx)
	if err != nil {
		return nil, err
	}
	a.hall.mu.Lock()
	defer a.hall.mu.Unlock()
	if a.hall.present[observer] == nil {
		return nil, nil
	}
	for _, incarnation := range incarnations {
		at := slices.IndexFunc(members, func(m lease.Member) bool { return m.Incarnation == incarnation })
		if at < 0 || members[at].Fenced || a.hall.had[incarnation] && a.hall.present[incarnation] == nil {
			ended = append(ended, incarnation)
		}
	}
	return ended, nil
}
