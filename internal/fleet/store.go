package fleet

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync/atomic"
	"time"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/lease"
)

// observed is a lease store that keeps a journal of what is asked of it, and of
// what it answers. It stands between the worker and the store, so that it sees
// what the worker sees.
type observed struct {
	lease.Store
	journal *journal
	// ahead is by how much the worker's clock is wrong. The Counter of a new row is
	// all that is ever read from a wall clock.
	ahead time.Duration
	asked atomic.Int64
}

// attended is an observed store that can wake others, and knows whose process has
// ended.
type attended struct {
	*observed
	lease.Notifier
	lease.Presence
}

func observe(s lease.Store, j *journal, ahead time.Duration) lease.Store {
	o := &observed{Store: s, journal: j, ahead: ahead}
	if p, ok := s.(lease.Presence); ok {
		return &attended{o, s.(lease.Notifier), p}
	}
	return o
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

func (o *observed) Create(ctx context.Context, rows ...lease.Lease) error {
	rows = slices.Clone(rows)
	for i := range rows {
		rows[i].Counter += o.ahead.Milliseconds()
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

func (o *observed) Leases(ctx context.Context) iter.Seq2[lease.Lease, error] {
	o.journal.tell(Event{Kind: Scan})
	return o.Store.Leases(ctx)
}
