package lease

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"sync"
)

// Memory is a [Store] in the memory of one process: the reference that says in
// a few lines what every other store has to do, and the store of tests and
// simulations. It is ready to be used inside a testing/synctest bubble.
//
// Nothing is copied: lists and byte slices are shared with the callers, who
// never change them. Every answer is in the order of the keys, so that a
// simulation takes the same course each time.
//
// Memory is a [Notifier], too, and as all its users share one process, a
// caller is woken by its own writes as well. Beats and checkpoints wake nobody.
type Memory struct {
	// mu guards everything below. Nothing waits while holding it.
	mu       sync.Mutex
	leases   map[string]Lease
	members  map[string]Member
	notes    map[string]Note
	watchers map[chan struct{}]struct{} // each has room for one wake
}

var (
	_ Store    = (*Memory)(nil)
	_ Notifier = (*Memory)(nil)
)

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{
		leases:   map[string]Lease{},
		members:  map[string]Member{},
		notes:    map[string]Note{},
		watchers: map[chan struct{}]struct{}{},
	}
}

// Leases implements [Store]. What it yields is a snapshot of the moment at
// which the loop began.
func (m *Memory) Leases(ctx context.Context) iter.Seq2[Lease, error] {
	return func(yield func(Lease, error) bool) {
		for _, l := range m.sorted(func(Lease) bool { return true }) {
			if ctx.Err() != nil {
				yield(Lease{}, context.Cause(ctx))
				return
			}
			if !yield(l, nil) {
				return
			}
		}
		if ctx.Err() != nil {
			yield(Lease{}, context.Cause(ctx))
		}
	}
}

// Owned implements [Store]. It does not lag.
func (m *Memory) Owned(ctx context.Context, incarnation string) ([]Lease, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if incarnation == "" {
		return nil, nil // nobody owns nothing
	}
	return m.sorted(func(l Lease) bool {
		return l.Owner == incarnation || l.CheckpointOwner == incarnation
	}), nil
}

// sorted returns the rows that are wanted, in the order of their keys.
func (m *Memory) sorted(wanted func(Lease) bool) []Lease {
	m.mu.Lock()
	var rows []Lease
	for _, l := range m.leases {
		if wanted(l) {
			rows = append(rows, l)
		}
	}
	m.mu.Unlock()
	slices.SortFunc(rows, func(a, b Lease) int { return cmp.Compare(a.Key, b.Key) })
	return rows
}

// Read implements [Store].
func (m *Memory) Read(ctx context.Context, keys ...string) ([]Lease, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var rows []Lease
	for _, key := range slices.Compact(slices.Sorted(slices.Values(keys))) {
		if l, ok := m.leases[key]; ok {
			rows = append(rows, l)
		}
	}
	return rows, nil
}

// Create implements [Store]. All rows appear at once.
func (m *Memory) Create(ctx context.Context, leases ...Lease) error {
	return m.write(ctx, func() (tell bool, err error) {
		for _, l := range leases {
			if _, exists := m.leases[l.Key]; !exists {
				m.leases[l.Key] = l
				tell = true
			}
		}
		return tell, nil
	})
}

// Swap implements [Store].
func (m *Memory) Swap(ctx context.Context, old, next Lease) (row Lease, err error) {
	err = m.write(ctx, func() (tell bool, err error) {
		current, exists := m.leases[old.Key]
		if !exists || current.Counter != old.Counter || current.Owner != old.Owner {
			row = current
			return false, ErrConflict
		}
		row = next
		row.Key, row.Stream, row.StreamID, row.Shard = current.Key, current.Stream, current.StreamID, current.Shard
		row.Counter = current.Counter + 1
		m.leases[row.Key] = row
		return row.Owner != current.Owner || row.CheckpointOwner != current.CheckpointOwner ||
			row.Term != current.Term || row.Finished() != current.Finished(), nil
	})
	return row, err
}

// Delete implements [Store].
func (m *Memory) Delete(ctx context.Context, old Lease) error {
	return m.write(ctx, func() (tell bool, err error) {
		current, exists := m.leases[old.Key]
		if !exists || current.Counter != old.Counter || current.Owner != old.Owner {
			return false, ErrConflict
		}
		delete(m.leases, old.Key)
		return true, nil
	})
}

// Members implements [Store].
func (m *Memory) Members(ctx context.Context) ([]Member, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.SortedFunc(maps.Values(m.members), func(a, b Member) int {
		return cmp.Compare(a.Incarnation, b.Incarnation)
	}), nil
}

// SwapMember implements [Store].
func (m *Memory) SwapMember(ctx context.Context, old, next Member) (row Member, err error) {
	join, end := old == Member{}, next == Member{}
	if join && end {
		return Member{}, errors.New("swap member: both rows are zero; give the row to join as next, or the row to end as old")
	}
	key := old.Incarnation
	if join {
		key = next.Incarnation
	}
	err = m.write(ctx, func() (tell bool, err error) {
		current, exists := m.members[key]
		if exists == join || current.Version != old.Version {
			row = current
			return false, ErrConflict
		}
		if end {
			delete(m.members, key)
			return true, nil
		}
		row = next
		row.Incarnation, row.Version = key, old.Version+1
		m.members[key] = row
		beat := row
		beat.Version, beat.Beats, beat.Load, beat.Blocked = current.Version, current.Beats, current.Load, current.Blocked
		return beat != current, nil
	})
	return row, err
}

// Notes implements [Store].
func (m *Memory) Notes(ctx context.Context) ([]Note, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.SortedFunc(maps.Values(m.notes), func(a, b Note) int { return cmp.Compare(a.Name, b.Name) }), nil
}

// SwapNote implements [Store].
func (m *Memory) SwapNote(ctx context.Context, old, next Note) (row Note, err error) {
	create, remove := old == Note{}, next == Note{}
	if create && remove {
		return Note{}, errors.New("swap note: both are zero; give the note to create as next, or the one to remove as old")
	}
	name := old.Name
	if create {
		name = next.Name
	}
	err = m.write(ctx, func() (tell bool, err error) {
		current, exists := m.notes[name]
		if exists == create || current.Version != old.Version {
			row = current
			return false, ErrConflict
		}
		if remove {
			delete(m.notes, name)
			return true, nil
		}
		row = next
		if !create {
			row.Name, row.Version = name, old.Version+1
		}
		m.notes[name] = row
		return true, nil
	})
	return row, err
}

// write makes one change under the lock, and wakes who waits for changes when
// it is one to tell of.
func (m *Memory) write(ctx context.Context, change func() (tell bool, err error)) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	tell, err := change()
	if !tell {
		return err
	}
	for w := range m.watchers {
		select {
		case w <- struct{}{}:
		default: // a wake is under way already
		}
	}
	return nil
}

// Changes implements [Notifier]. It returns the cause of ctx.
func (m *Memory) Changes(ctx context.Context, wake func()) error {
	w := make(chan struct{}, 1)
	m.mu.Lock()
	m.watchers[w] = struct{}{}
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		delete(m.watchers, w)
		m.mu.Unlock()
	}()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-w:
			if ctx.Err() == nil {
				wake()
			}
		}
	}
}
