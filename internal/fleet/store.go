package fleet

import (
	"context"
	"errors"
	"iter"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/stream"
)

// observed is a lease store that keeps a journal of what is asked of it, and of
// what it answers. It stands between the worker and the store, so that it sees
// what the worker sees.
type observed struct {
	lease.Store
	journal *journal
	// astray is by how much the worker's clock is wrong at most. The Counter of a new
	// row is all that is ever read from a wall clock.
	astray time.Duration
	asked  atomic.Int64
}

// notifying is an observed store that can wake others.
type notifying struct {
	*observed
	lease.Notifier
}

// attended is one that knows besides whose process has ended.
type attended struct {
	notifying
	lease.Presence
}

func observe(s lease.Store, j *journal, astray time.Duration) lease.Store {
	o := &observed{Store: s, journal: j, astray: astray}
	n, notifies := s.(lease.Notifier)
	p, knows := s.(lease.Presence)
	switch {
	case knows:
		return &attended{notifying{o, n}, p}
	case notifies:
		return &notifying{o, n}
	default:
		return o
	}
}

func (o *observed) ask(in bool, old, next lease.Lease, swap func() (lease.Lease, error)) (lease.Lease, error) {
	id := o.asked.Add(1)
	next.Shard = old.Shard
	o.journal.tell(Event{Kind: Ask, ID: id, In: in, Shard: old.Shard, Old: RowOf(old), New: RowOf(next)})
	row, err := swap()
	answer := Event{ID: id, In: in, Shard: old.Shard}
	switch {
	case err == nil:
		answer.Kind, answer.New = Won, RowOf(row)
	case errors.Is(err, lease.ErrConflict):
		answer.Kind, answer.New = Refused, RowOf(row)
	default:
		answer.Kind, answer.Why = Unknown, err.Error()
	}
	o.journal.tell(answer)
	return row, err
}

func (o *observed) Swap(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
	return o.ask(false, old, next, func() (lease.Lease, error) { return o.Store.Swap(ctx, old, next) })
}

// SwapIn implements [lease.Transactional]. Its answer does not say that the
// transaction took place.
func (o *observed) SwapIn(ctx context.Context, tx any, old, next lease.Lease) (lease.Lease, error) {
	s, ok := o.Store.(lease.Transactional)
	if !ok {
		return lease.Lease{}, checkpoint.ErrNoTransactions
	}
	return o.ask(true, old, next, func() (lease.Lease, error) { return s.SwapIn(ctx, tx, old, next) })
}

// GroupsSwaps implements [lease.Grouping]: the worker stores its checkpoints when
// it would without a journal.
func (o *observed) GroupsSwaps() bool {
	s, ok := o.Store.(lease.Grouping)
	return ok && s.GroupsSwaps()
}

// Inherit implements [lease.Inheritor].
func (o *observed) Inherit(id stream.Identity) {
	if s, ok := o.Store.(lease.Inheritor); ok {
		s.Inherit(id)
	}
}

func (o *observed) Create(ctx context.Context, rows ...lease.Lease) error {
	rows = slices.Clone(rows)
	wrong := time.Duration((2*rand.Float64() - 1) * float64(o.astray)).Milliseconds()
	for i := range rows {
		rows[i].Counter += wrong
	}
	return o.Store.Create(ctx, rows...)
}

func (o *observed) Delete(ctx context.Context, old lease.Lease) error {
	err := o.Store.Delete(ctx, old)
	if err == nil {
		o.journal.tell(Event{Kind: Deleted, Shard: old.Shard, Old: RowOf(old)})
	}
	return err
}

func (o *observed) SwapMember(ctx context.Context, old, next lease.Member) (lease.Member, error) {
	row, err := o.Store.SwapMember(ctx, old, next)
	if err == nil && old == (lease.Member{}) {
		o.journal.tell(Event{Kind: Joined})
	}
	return row, err
}

func (o *observed) Leases(ctx context.Context) iter.Seq2[lease.Lease, error] {
	o.journal.tell(Event{Kind: Scan})
	return o.Store.Leases(ctx)
}
