package check

import (
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/millrace/millrace/lease"
)

// Store is a lease store in memory as it truly is: it tells the checker of
// each change at the moment at which it takes place. Shards are named by the
// keys of their leases.
type Store struct {
	*lease.Memory
	check *Checker
	mu    sync.Mutex // holds the order of changes and events together

	moves, balanced int
}

// NewStore returns an empty store that feeds c.
func NewStore(c *Checker) *Store { return &Store{Memory: lease.NewMemory(), check: c} }

// Moves returns how often a lease has got another owner.
func (s *Store) Moves() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.moves
}

// Balanced returns how often a lease was taken from a live worker who was not
// about to stop: for balance, that is.
func (s *Store) Balanced() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.balanced
}

// As returns the store as one worker uses it; what it stores is put down to
// that worker's name. Put faults between it and the worker, not below it.
func (s *Store) As(worker string) lease.Store { return &writer{s, worker} }

type writer struct {
	*Store
	worker string
}

// WorkerOf returns the worker's name in an incarnation.
func WorkerOf(incarnation string) string {
	name, _, _ := strings.Cut(incarnation, "#")
	return name
}

func (w *writer) Create(ctx context.Context, rows ...lease.Lease) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range rows {
		var parents []string
		for _, p := range l.Parents {
			key := lease.Key(l.StreamID, p)
			if there, _ := w.Memory.Read(ctx, key); len(there) > 0 {
				parents = append(parents, key)
			}
		}
		if there, _ := w.Memory.Read(ctx, l.Key); len(there) == 0 {
			w.check.Shard(l.Key, parents...)
		}
	}
	return w.Memory.Create(ctx, rows...)
}

func (w *writer) Swap(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	row, err := w.Memory.Swap(ctx, old, next)
	if err != nil {
		if errors.Is(err, lease.ErrConflict) {
			w.check.Refused(old.Key)
		}
		return row, err
	}
	if row.Owner != old.Owner && row.Owner != "" {
		w.moves++
	}
	if old.CheckpointOwner == "" && row.CheckpointOwner != "" && !w.stopping(ctx, row.CheckpointOwner) {
		w.balanced++
	}
	if row.Term != old.Term && row.Term != 0 {
		w.check.Took(row.Key, WorkerOf(row.Owner), row.Term, row.Checkpoint.Position)
		return row, nil
	}
	if row.Checkpoint.Position != old.Checkpoint.Position {
		w.check.Stored(row.Key, w.worker, row.Checkpoint.Position)
	}
	holder := func(l lease.Lease) string {
		if l.CheckpointOwner != "" {
			return WorkerOf(l.CheckpointOwner)
		}
		return WorkerOf(l.Owner)
	}
	if holder(old) == w.worker && (holder(row) != w.worker || row.Finished()) {
		w.check.Released(row.Key)
	}
	return row, nil
}

// stopping reports whether a worker gives away what it has.
func (w *writer) stopping(ctx context.Context, incarnation string) bool {
	members, _ := w.Memory.Members(ctx)
	for _, m := range members {
		if m.Incarnation == incarnation {
			return m.Draining || m.Fenced
		}
	}
	return true
}

func (w *writer) Delete(ctx context.Context, old lease.Lease) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	err := w.Memory.Delete(ctx, old)
	if err == nil {
		w.check.Retired(old.Key)
	}
	return err
}
