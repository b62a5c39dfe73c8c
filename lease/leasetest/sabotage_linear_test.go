package leasetest

import (
	"context"
	"sync"

	"github.com/millrace/millrace/lease"
)

// brokenHistories are right for one caller, and wrong for many, or for one whose
// answers are lost.
var brokenHistories = []sabotage{
	{"now and then a read is as old as the one before", "WhatManyDoAtOnceIsOneHistory", func(b *broken) {
		var mu sync.Mutex
		before, n := map[string][]lease.Lease{}, 0
		b.read = func(ctx context.Context, keys ...string) ([]lease.Lease, error) {
			rows, err := b.Memory.Read(ctx, keys...)
			mu.Lock()
			defer mu.Unlock()
			if n++; n%5 == 0 && err == nil && len(keys) == 1 {
				return before[keys[0]], nil
			}
			if len(keys) == 1 {
				before[keys[0]] = rows
			}
			return rows, err
		}
	}},
	{"a delete that lost its race says that it won", "WhatManyDoAtOnceIsOneHistory", func(b *broken) {
		b.delete = func(ctx context.Context, old lease.Lease) error {
			err := b.Memory.Delete(ctx, old)
			if current, ok := b.current(old.Key); ok && current.Counter > old.Counter {
				return nil
			}
			return err
		}
	}},
	{"a join finds the row of another life", "WhatManyDoAtOnceIsOneHistory", func(b *broken) {
		b.swapMember = func(ctx context.Context, old, next lease.Member) (lease.Member, error) {
			row, err := b.Memory.SwapMember(ctx, old, next)
			if err != nil && old == nobody {
				row.Beats++
			}
			return row, err
		}
	}},
	{"a write whose caller has gone is written again later", "WhatHasNoAnswerTookPlaceOnceOrNever", func(b *broken) {
		var mu sync.Mutex
		n := 0
		b.swap = func(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
			row, err := b.Memory.Swap(ctx, old, next)
			mu.Lock()
			defer mu.Unlock()
			if n++; n%6 == 0 && err == nil {
				_, _ = b.Memory.Swap(ctx, row, next)
			}
			return row, err
		}
	}},
}
