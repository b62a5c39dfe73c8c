package sqlite

import (
	"context"

	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/lease/internal/sqlstore"
)

// together is how many swaps are one transaction at most: it keeps the file
// from all others for some milliseconds.
const together = 500

// swap is one call of Swap, and what became of it.
type swap struct {
	old, next lease.Lease

	won   bool         // next is the row as it was written
	found *lease.Lease // the row as it is, when the swap has not won
	err   error        // why nothing is known
}

// answer returns the row as it is, and whether it was swapped.
func (w *swap) answer() (lease.Lease, error) {
	if w.won {
		return w.next, nil
	}
	return *w.found, lease.ErrConflict
}

// Swap implements [lease.Store]. Swaps that wait at the same time are one
// transaction.
func (s *Store) Swap(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
	w := &swap{old: old, next: next}
	err := w.storable()
	if err == nil {
		err = context.Cause(ctx)
	}
	if err == nil {
		err = s.swaps.Do(ctx, w)
	}
	if err == nil {
		err = w.err
	}
	if err != nil {
		return lease.Lease{}, failed(ctx, err, "swap lease %s", old.Key)
	}
	return w.answer()
}

func (w *swap) storable() error {
	return storable([]string{w.old.Key}, w.next.Parents, w.next.Children)
}

// swapTogether carries out swaps in one transaction. Where that fails, one of
// them may have spoiled it for all (its row takes more space than there is), and
// each goes alone.
func (s *Store) swapTogether(ctx context.Context, swaps []*swap) error {
	err := s.swapAll(ctx, swaps)
	if err == nil || len(swaps) == 1 || ctx.Err() != nil {
		return err
	}
	for i, w := range swaps {
		w.err = s.swapAll(ctx, swaps[i:i+1])
	}
	return nil
}

func (s *Store) swapAll(ctx context.Context, swaps []*swap) error {
	return s.write(ctx, func(c *conn) (tell bool, err error) {
		for _, w := range swaps {
			if err := s.swap(c, w); err != nil {
				return false, err
			}
			tell = tell || w.won && sqlstore.Wakes(&w.old, &w.next)
		}
		return tell, nil
	})
}

// swap carries out one swap.
func (s *Store) swap(c *conn, w *swap) error {
	if err := s.save(c, w); err != nil || w.won {
		return err
	}
	if err := w.replaced(query(c, scanLease, swapLease, s.replacement(w)...)); err != nil || w.won {
		return err
	}
	row, err := one(c, scanLease, readLease, s.application, w.old.Key)
	w.found = &row
	return err
}

// save carries out a swap that leaves the owners as they are, if it is one: all
// checkpoints are, and it costs half as much as others.
func (s *Store) save(c *conn, w *swap) error {
	old, next := &w.old, &w.next
	known := old.Stream != "" // what never changes need not be read
	if w.won = false; !known || old.Owner != next.Owner {
		return nil
	}
	values := stateValues(make([]any, 0, 16), next)
	values = append(values, s.application, old.Key, old.Counter, old.Owner, next.CheckpointOwner)
	rows, err := c.exec(saveLease, values...)
	if w.won = rows > 0; w.won {
		next.Key, next.Stream, next.StreamID, next.Shard = old.Key, old.Stream, old.StreamID, old.Shard
		next.Counter = old.Counter + 1
	}
	return err
}

// replacement returns the arguments of swapLease.
func (s *Store) replacement(w *swap) []any {
	return stateValues([]any{s.application, w.old.Key, w.old.Counter, w.old.Owner, w.next.Owner, w.next.CheckpointOwner}, &w.next)
}

// replaced takes note of what swapLease returned: the row, or none.
func (w *swap) replaced(rows []lease.Lease, err error) error {
	if w.won = len(rows) > 0; w.won {
		w.next = rows[0]
	}
	return err
}
