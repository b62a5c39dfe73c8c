package check

import (
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/stream"
)

// Store is a lease store in memory as it truly is: it tells the checker of
// each change at the moment at which it takes place. Shards are named by the
// keys of their leases.
type Store struct {
	*lease.Memory
	check *Checker
	mu    sync.Mutex // holds the order of changes and events together
	moves Moves
}

// Moves counts changes of hands.
type Moves struct {
	// Owners counts leases that got another owner, Balanced those of them that
	// were taken from a live worker who was not about to stop: for balance,
	// that is.
	Owners, Balanced int
	// Handoffs counts leases whose former owner let go when asked, Forced those
	// for which it was no longer waited.
	Handoffs, Forced int
}

// Add adds the counts of another run.
func (m *Moves) Add(n Moves) {
	m.Owners += n.Owners
	m.Balanced += n.Balanced
	m.Handoffs += n.Handoffs
	m.Forced += n.Forced
}

// NewStore returns an empty store that feeds c.
func NewStore(c *Checker) *Store { return &Store{Memory: lease.NewMemory(), check: c} }

// Moves returns how often leases have changed hands.
func (s *Store) Moves() Moves {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.moves
}

// AtRest says that nothing is under way any more: the leases that are not
// finished must cover the hash space of their stream once.
func (s *Store) AtRest() {
	ranges := map[string][]stream.HashRange{}
	for l := range s.Leases(context.Background()) {
		if !l.Finished() {
			ranges[l.StreamID] = append(ranges[l.StreamID], l.Hash)
		}
	}
	for id, covered := range ranges {
		s.check.Covered(id, covered)
	}
}

// As returns the store as one worker uses it; what it stores is put down to
// that worker's name. Put faults between it and the worker, not below it.
func (s *Store) As(worker string) lease.Store { return &writer{Store: s, worker: worker} }

// AsOperator returns the store as an operator uses it, who may write where a shard
// goes on that nobody holds.
func (s *Store) AsOperator(name string) lease.Store {
	return &writer{Store: s, worker: name, operates: true}
}

type writer struct {
	*Store
	worker   string
	operates bool
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
		w.moves.Owners++
	}
	if old.CheckpointOwner == "" && row.CheckpointOwner != "" && !w.stopping(ctx, row.CheckpointOwner) {
		w.moves.Balanced++
	}
	if old.CheckpointOwner != "" && row.CheckpointOwner == "" {
		if WorkerOf(old.CheckpointOwner) == w.worker {
			w.moves.Handoffs++
		} else {
			w.moves.Forced++
		}
	}
	if row.Term != old.Term && row.Term != 0 {
		w.check.Took(row.Key, WorkerOf(row.Owner), row.Term, row.Checkpoint.Position)
		return row, nil
	}
	holder := func(l lease.Lease) string {
		if l.CheckpointOwner != "" {
			return WorkerOf(l.CheckpointOwner)
		}
		return WorkerOf(l.Owner)
	}
	switch {
	case w.operates && row.Owner == "" && row.CheckpointOwner == "" && row.Term == 0:
		w.check.Sought(row.Key, row.Checkpoint.Position)
	case row.Checkpoint.Position == old.Checkpoint.Position:
	case row.Finished() && holder(old) != w.worker:
		w.check.GivenUp(row.Key, w.worker)
	default:
		w.check.Stored(row.Key, w.worker, row.Checkpoint.Position)
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
