package leasetest

import (
	"context"
	"errors"

	"github.com/millrace/millrace/lease"
)

// brokenGuards refuse too little or too much, or answer wrongly when they refuse.
var brokenGuards = []sabotage{
	{"swap ignores the counter", "SwapNeedsTheCounter", func(b *broken) {
		b.swap = func(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
			if current, ok := b.current(old.Key); ok {
				old.Counter = current.Counter
			}
			return b.Memory.Swap(ctx, old, next)
		}
	}},
	{"swap ignores the owner", "SwapNeedsTheOwner", func(b *broken) {
		b.swap = func(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
			if current, ok := b.current(old.Key); ok {
				old.Owner = current.Owner
			}
			return b.Memory.Swap(ctx, old, next)
		}
	}},
	{"swap takes a missing owner for any", "SwapNeedsTheOwner", func(b *broken) {
		b.swap = func(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
			if current, ok := b.current(old.Key); ok && old.Owner == "" {
				old.Owner = current.Owner
			}
			return b.Memory.Swap(ctx, old, next)
		}
	}},
	{"swap lets greater counters pass", "SwapNeedsTheCounter", func(b *broken) {
		b.swap = func(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
			if current, ok := b.current(old.Key); ok {
				old.Counter = min(old.Counter, current.Counter)
			}
			return b.Memory.Swap(ctx, old, next)
		}
	}},
	{"swap compares more than the guard", "SwapNeedsNothingButKeyCounterAndOwner", func(b *broken) {
		b.swap = func(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
			if current, ok := b.current(old.Key); ok && current.Term != old.Term {
				return current, lease.ErrConflict
			}
			return b.Memory.Swap(ctx, old, next)
		}
	}},
	{"delete ignores the guard", "DeleteNeedsTheCounterAndTheOwner", func(b *broken) {
		b.delete = func(ctx context.Context, old lease.Lease) error {
			if current, ok := b.current(old.Key); ok {
				old = current
			}
			return b.Memory.Delete(ctx, old)
		}
	}},
	{"delete of nothing succeeds", "DeleteOfAMissingRowIsAConflict", func(b *broken) {
		b.delete = func(ctx context.Context, old lease.Lease) error {
			if _, ok := b.current(old.Key); !ok {
				return nil
			}
			return b.Memory.Delete(ctx, old)
		}
	}},
	{"delete only says so", "ADeletedRowIsGoneEverywhere", func(b *broken) {
		b.delete = func(ctx context.Context, old lease.Lease) error { return nil }
	}},
	{"a conflict returns no row", "SwapNeedsTheCounter", func(b *broken) {
		b.swap = func(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
			row, err := b.Memory.Swap(ctx, old, next)
			if err != nil {
				row = lease.Lease{}
			}
			return row, err
		}
	}},
	{"a conflict returns the caller's belief", "AFormerOwnerCannotCheckpoint", func(b *broken) {
		b.swap = func(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
			row, err := b.Memory.Swap(ctx, old, next)
			if err != nil && row.Key != "" {
				row = old
			}
			return row, err
		}
	}},
	{"a conflict is an error of its own", "SwapNeedsTheCounter", func(b *broken) {
		b.swap = func(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
			row, err := b.Memory.Swap(ctx, old, next)
			if errors.Is(err, lease.ErrConflict) {
				err = errors.New("condition failed")
			}
			return row, err
		}
	}},
	{"a conflict is no error", "SwapNeedsTheCounter", func(b *broken) {
		b.swap = func(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
			row, err := b.Memory.Swap(ctx, old, next)
			if errors.Is(err, lease.ErrConflict) {
				err = nil
			}
			return row, err
		}
	}},
}
