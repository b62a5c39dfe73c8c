package leasetest

import (
	"context"
	"iter"
	"runtime"
	"slices"
	"sync"

	"github.com/millrace/millrace/lease"
)

// broken is a memory store with some methods replaced by worse ones.
type broken struct {
	*lease.Memory
	leases     func(context.Context) iter.Seq2[lease.Lease, error]
	owned      func(context.Context, string) ([]lease.Lease, error)
	read       func(context.Context, ...string) ([]lease.Lease, error)
	create     func(context.Context, ...lease.Lease) error
	swap       func(ctx context.Context, old, next lease.Lease) (lease.Lease, error)
	delete     func(context.Context, lease.Lease) error
	members    func(context.Context) ([]lease.Member, error)
	swapMember func(ctx context.Context, old, next lease.Member) (lease.Member, error)
	listNotes  func(context.Context) ([]lease.Note, error)
	swapNote   func(ctx context.Context, old, next lease.Note) (lease.Note, error)
	changes    func(context.Context, func()) error

	// The transactions that it takes part in.
	ledger ledger

	// spoil makes a row one that cannot be understood: see spoilt.
	spoil func(key string)

	// Further handles on its rows: see brokenOptions.
	second, other, reopened func() lease.Store
}

func (b *broken) Leases(ctx context.Context) iter.Seq2[lease.Lease, error] {
	if b.leases != nil {
		return b.leases(ctx)
	}
	return b.Memory.Leases(ctx)
}

func (b *broken) Owned(ctx context.Context, who string) ([]lease.Lease, error) {
	if b.owned != nil {
		return b.owned(ctx, who)
	}
	return b.Memory.Owned(ctx, who)
}

func (b *broken) Read(ctx context.Context, keys ...string) ([]lease.Lease, error) {
	if b.read != nil {
		return b.read(ctx, keys...)
	}
	return b.Memory.Read(ctx, keys...)
}

func (b *broken) Create(ctx context.Context, rows ...lease.Lease) error {
	if b.create != nil {
		return b.create(ctx, rows...)
	}
	return b.Memory.Create(ctx, rows...)
}

func (b *broken) Swap(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
	if err := b.ledger.wait(ctx, old.Key, nil); err != nil {
		return lease.Lease{}, err
	}
	if b.swap != nil {
		return b.swap(ctx, old, next)
	}
	return b.Memory.Swap(ctx, old, next)
}

func (b *broken) Delete(ctx context.Context, old lease.Lease) error {
	if b.delete != nil {
		return b.delete(ctx, old)
	}
	return b.Memory.Delete(ctx, old)
}

func (b *broken) Members(ctx context.Context) ([]lease.Member, error) {
	if b.members != nil {
		return b.members(ctx)
	}
	return b.Memory.Members(ctx)
}

func (b *broken) SwapMember(ctx context.Context, old, next lease.Member) (lease.Member, error) {
	if b.swapMember != nil {
		return b.swapMember(ctx, old, next)
	}
	return b.Memory.SwapMember(ctx, old, next)
}

func (b *broken) Notes(ctx context.Context) ([]lease.Note, error) {
	if b.listNotes != nil {
		return b.listNotes(ctx)
	}
	return b.Memory.Notes(ctx)
}

func (b *broken) SwapNote(ctx context.Context, old, next lease.Note) (lease.Note, error) {
	if b.swapNote != nil {
		return b.swapNote(ctx, old, next)
	}
	return b.Memory.SwapNote(ctx, old, next)
}

func (b *broken) Changes(ctx context.Context, wake func()) error {
	if b.changes != nil {
		return b.changes(ctx, wake)
	}
	return b.Memory.Changes(ctx, wake)
}

// current returns the row as it is.
func (b *broken) current(key string) (lease.Lease, bool) {
	rows, _ := b.Memory.Read(context.Background(), key)
	if len(rows) == 0 {
		return lease.Lease{}, false
	}
	return rows[0], true
}

func (b *broken) currentMember(incarnation string) (lease.Member, bool) {
	rows, _ := b.Memory.Members(context.Background())
	for _, m := range rows {
		if m.Incarnation == incarnation {
			return m, true
		}
	}
	return lease.Member{}, false
}

func (b *broken) currentNote(name string) (lease.Note, bool) {
	rows, _ := b.Memory.Notes(context.Background())
	for _, n := range rows {
		if n.Name == name {
			return n, true
		}
	}
	return lease.Note{}, false
}

// storesWorse makes every row pass through worse on its way into the store.
func storesWorse(worse func(lease.Lease) lease.Lease) func(*broken) {
	return func(b *broken) {
		b.create = func(ctx context.Context, rows ...lease.Lease) error {
			rows = slices.Clone(rows)
			for i := range rows {
				rows[i] = worse(rows[i])
			}
			return b.Memory.Create(ctx, rows...)
		}
		b.swap = func(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
			return b.Memory.Swap(ctx, old, worse(next))
		}
	}
}

// losesMember makes every member pass through worse on its way into the store.
func losesMember(worse func(*lease.Member)) func(*broken) {
	return func(b *broken) {
		b.swapMember = func(ctx context.Context, old, next lease.Member) (lease.Member, error) {
			if next != nobody {
				worse(&next)
			}
			return b.Memory.SwapMember(ctx, old, next)
		}
	}
}

// twoStep writes in two steps that others can come between, as a store does
// that reads, compares, and then writes.
func twoStep(b *broken) {
	var mu sync.Mutex
	rows := map[string]lease.Lease{}
	b.swap = func(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
		current, ok := b.current(old.Key)
		mu.Lock()
		if l, swapped := rows[old.Key]; swapped {
			current, ok = l, true
		}
		mu.Unlock()
		if !ok || current.Counter != old.Counter || current.Owner != old.Owner {
			return current, lease.ErrConflict
		}
		runtime.Gosched()
		next.Key, next.Counter = old.Key, old.Counter+1
		mu.Lock()
		defer mu.Unlock()
		rows[old.Key] = next
		return next, nil
	}
	b.read = func(ctx context.Context, keys ...string) ([]lease.Lease, error) {
		found, err := b.Memory.Read(ctx, keys...)
		mu.Lock()
		defer mu.Unlock()
		for i, l := range found {
			if swapped, ok := rows[l.Key]; ok {
				found[i] = swapped
			}
		}
		return found, err
	}
}
