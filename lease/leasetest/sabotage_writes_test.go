package leasetest

import (
	"context"
	"errors"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/stream"
)

// brokenWrites let something else become of a write than was asked for.
var brokenWrites = []sabotage{
	{"create writes over what exists", "CreateLeavesExistingRowsAlone", func(b *broken) {
		b.create = func(ctx context.Context, rows ...lease.Lease) error {
			for _, l := range rows {
				if current, ok := b.current(l.Key); ok {
					b.Memory.Delete(ctx, current)
				}
			}
			return b.Memory.Create(ctx, rows...)
		}
	}},
	{"create gives up at the first existing row", "CreateLeavesExistingRowsAlone", func(b *broken) {
		b.create = func(ctx context.Context, rows ...lease.Lease) error {
			for _, l := range rows {
				if _, ok := b.current(l.Key); ok {
					return nil
				}
			}
			return b.Memory.Create(ctx, rows...)
		}
	}},
	{"create fails for existing rows", "CreateLeavesExistingRowsAlone", func(b *broken) {
		b.create = func(ctx context.Context, rows ...lease.Lease) error {
			for _, l := range rows {
				if _, ok := b.current(l.Key); ok {
					return lease.ErrConflict
				}
			}
			return b.Memory.Create(ctx, rows...)
		}
	}},
	{"create starts every counter at zero", "CreateStoresEveryField", func(b *broken) {
		b.create = func(ctx context.Context, rows ...lease.Lease) error {
			rows = slices.Clone(rows)
			for i := range rows {
				rows[i].Counter = 0
			}
			return b.Memory.Create(ctx, rows...)
		}
	}},
	{"swap loses the update", "SwapReplacesEveryFieldButThoseThatNeverChange", func(b *broken) {
		b.swap = func(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
			current, ok := b.current(old.Key)
			if !ok || current.Counter != old.Counter || current.Owner != old.Owner {
				return current, lease.ErrConflict
			}
			next.Key, next.Counter = old.Key, old.Counter+1
			return next, nil
		}
	}},
	{"swap creates what is missing", "SwapOfAMissingRowIsAConflictWithTheZeroLease", func(b *broken) {
		b.swap = func(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
			b.Memory.Create(ctx, old)
			return b.Memory.Swap(ctx, old, next)
		}
	}},
	{"swap counts by two", "EveryWriteCountsByOne", func(b *broken) {
		b.swap = func(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
			row, err := b.Memory.Swap(ctx, old, next)
			if err == nil {
				return b.Memory.Swap(ctx, row, row)
			}
			return row, err
		}
	}},
	{"swap takes the counter of next", "SwapCountsFromTheRowAndNotFromNext", func(b *broken) {
		b.swap = func(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
			row, err := b.Memory.Swap(ctx, old, next)
			if err == nil {
				b.Memory.Delete(ctx, row)
				row.Counter = next.Counter + 1
				b.Memory.Create(ctx, row)
			}
			return row, err
		}
	}},
	{"swap answers with next as it was given", "SwapReplacesEveryFieldButThoseThatNeverChange", func(b *broken) {
		b.swap = func(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
			row, err := b.Memory.Swap(ctx, old, next)
			if err == nil {
				next.Counter = row.Counter
				return next, nil
			}
			return row, err
		}
	}},
	{"swap changes what never changes", "SwapReplacesEveryFieldButThoseThatNeverChange", func(b *broken) {
		b.swap = func(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
			row, err := b.Memory.Swap(ctx, old, next)
			if err == nil {
				b.Memory.Delete(ctx, row)
				row.Stream, row.StreamID, row.Shard = next.Stream, next.StreamID, next.Shard
				b.Memory.Create(ctx, row)
			}
			return row, err
		}
	}},
	{"swap is two steps", "OfRacingSwapsOneWins", twoStep},
	{"checkpoints never go back by themselves", "SwapReplacesEveryFieldButThoseThatNeverChange", func(b *broken) {
		// That would be a decision, and an operator's seek would be lost.
		b.swap = func(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
			if current, ok := b.current(old.Key); ok && next.Checkpoint.Position.Compare(current.Checkpoint.Position) < 0 {
				next.Checkpoint.Position = current.Checkpoint.Position
			}
			return b.Memory.Swap(ctx, old, next)
		}
	}},
	{"create takes the last of two rows", "OfTwoRowsWithOneKeyTheFirstIsCreated", func(b *broken) {
		b.create = func(ctx context.Context, rows ...lease.Lease) error {
			rows = slices.Clone(rows)
			slices.Reverse(rows)
			return b.Memory.Create(ctx, rows...)
		}
	}},
	{"create of nothing fails", "CreateOfNothingDoesNothing", func(b *broken) {
		b.create = func(ctx context.Context, rows ...lease.Lease) error {
			if len(rows) == 0 {
				return errors.New("an INSERT needs VALUES")
			}
			return b.Memory.Create(ctx, rows...)
		}
	}},
	{"racing creators write over each other", "OfRacingCreatorsOneWins", func(b *broken) {
		b.create = func(ctx context.Context, rows ...lease.Lease) error {
			missing := slices.DeleteFunc(slices.Clone(rows), func(l lease.Lease) bool {
				_, ok := b.current(l.Key)
				return ok
			})
			runtime.Gosched()
			for _, l := range missing {
				if _, exists := b.current(l.Key); exists {
					return errors.New("duplicate key")
				}
			}
			return b.Memory.Create(ctx, missing...)
		}
	}},
	{"swap takes a pattern for a key", "SwapTouchesNoOtherRow", func(b *broken) {
		b.swap = func(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
			row, err := b.Memory.Swap(ctx, old, next)
			for l := range b.Memory.Leases(ctx) {
				if err == nil && l.Key != old.Key && strings.HasPrefix(l.Key, old.Key) {
					b.Memory.Swap(ctx, l, next)
				}
			}
			return row, err
		}
	}},
	{"swap writes the row that next names", "SwapKnowsOnlyTheKeyOfOld", func(b *broken) {
		b.swap = func(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
			if named, ok := b.current(next.Key); ok {
				old.Key, old.Counter, old.Owner = named.Key, named.Counter, named.Owner
			}
			return b.Memory.Swap(ctx, old, next)
		}
	}},
	{"counters begin anew with every life", "ARowThatIsCreatedAgainIsAnotherRow", func(b *broken) {
		first := map[string]int64{}
		b.create = func(ctx context.Context, rows ...lease.Lease) error {
			rows = slices.Clone(rows)
			for i, l := range rows {
				if _, again := first[l.Key]; !again {
					first[l.Key] = l.Counter
				}
				rows[i].Counter = first[l.Key]
			}
			return b.Memory.Create(ctx, rows...)
		}
	}},
	{"checkpoint owners cannot write", "AHandoffPassesTheRowFromHandToHand", func(b *broken) {
		b.swap = func(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
			if current, ok := b.current(old.Key); ok && current.CheckpointOwner != "" {
				return current, lease.ErrConflict
			}
			return b.Memory.Swap(ctx, old, next)
		}
	}},
	{"a swap brings a deleted row back", "ASwapAndADeleteNeverBothWin", func(b *broken) {
		b.swap = func(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
			row, err := b.Memory.Swap(ctx, old, next)
			if err != nil {
				b.Memory.Create(ctx, old)
				return b.Memory.Swap(ctx, old, next)
			}
			b.Memory.Delete(ctx, row) // and a delete finds the row as it was
			return row, b.Memory.Create(ctx, old)
		}
	}},
	{"a swap may be refused for another row's sake", "SwapsOfDifferentRowsNeverConflict", func(b *broken) {
		var busy atomic.Int32
		b.swap = func(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
			defer busy.Add(-1)
			if busy.Add(1) > 1 {
				return old, lease.ErrConflict
			}
			runtime.Gosched()
			return b.Memory.Swap(ctx, old, next)
		}
	}},
	{"a walk meets a guard that a seldom chance opens", "AnyWalkLeadsWhereTheModelSays", func(b *broken) {
		b.swap = func(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
			if current, ok := b.current(old.Key); ok && old.Owner == "" && old.Counter < current.Counter {
				old.Owner, old.Counter = current.Owner, current.Counter
			}
			return b.Memory.Swap(ctx, old, next)
		}
	}},
}

// brokenFields give back another row than they were given.
var brokenFields = []sabotage{
	{"progress is dropped", "CreateStoresEveryField", storesWorse(func(l lease.Lease) lease.Lease {
		l.Checkpoint.Progress = nil
		return l
	})},
	{"progress is kept from before", "SwapReplacesEveryFieldButThoseThatNeverChange", func(b *broken) {
		b.swap = func(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
			if current, ok := b.current(old.Key); ok && next.Checkpoint.Progress == nil {
				next.Checkpoint.Progress = current.Checkpoint.Progress
			}
			return b.Memory.Swap(ctx, old, next)
		}
	}},
	{"bytes are text", "CreateStoresEveryField", storesWorse(func(l lease.Lease) lease.Lease {
		l.Checkpoint.Progress = []byte(strings.ToValidUTF8(string(l.Checkpoint.Progress), "?"))
		return l
	})},
	{"names are bent to UTF-8", "ANameIsKeptAsItIsOrRefused", storesWorse(func(l lease.Lease) lease.Lease {
		l.Key = strings.ToValidUTF8(l.Key, "\ufffd")
		return l
	})},
	{"parents are bent to UTF-8", "ANameIsKeptAsItIsOrRefused", storesWorse(func(l lease.Lease) lease.Lease {
		if len(l.Parents) > 0 {
			l.Parents = []string{strings.ToValidUTF8(l.Parents[0], "\ufffd")}
		}
		return l
	})},
	{"the note of a pending checkpoint is dropped", "CreateStoresEveryField", storesWorse(func(l lease.Lease) lease.Lease {
		l.Checkpoint.Pending.Data = nil
		return l
	})},
	{"a pending checkpoint is dropped", "CreateStoresEveryField", storesWorse(func(l lease.Lease) lease.Lease {
		l.Checkpoint.Pending = checkpoint.Pending{}
		return l
	})},
	{"sub-sequences are dropped", "CreateStoresEveryField", storesWorse(func(l lease.Lease) lease.Lease {
		if s, after, ok := l.Checkpoint.Position.Sequence(); ok && after {
			l.Checkpoint.Position = stream.After(s.WithSub(0))
		}
		return l
	})},
	{"at is taken for after", "CreateStoresEveryField", storesWorse(func(l lease.Lease) lease.Lease {
		if s, _, ok := l.Checkpoint.Position.Sequence(); ok {
			l.Checkpoint.Position = stream.After(s)
		}
		return l
	})},
	{"times lose their milliseconds", "CreateStoresEveryField", storesWorse(func(l lease.Lease) lease.Lease {
		if t, ok := l.Checkpoint.Position.Time(); ok {
			l.Checkpoint.Position = stream.AtTime(t.Truncate(time.Second))
		}
		return l
	})},
	{"parents are sorted", "CreateStoresEveryField", storesWorse(func(l lease.Lease) lease.Lease {
		if len(l.Children) == 3 {
			l.Children = []string{min(l.Children[0], l.Children[1]), max(l.Children[0], l.Children[1]), l.Children[2]}
		}
		return l
	})},
	{"lists are cut at commas", "CreateStoresEveryField", storesWorse(func(l lease.Lease) lease.Lease {
		if len(l.Parents) > 0 {
			l.Parents = strings.Split(strings.Join(l.Parents, ","), ",")
		}
		return l
	})},
	{"the hash range loses bits", "CreateStoresEveryField", storesWorse(func(l lease.Lease) lease.Lease {
		l.Hash.Start.Lo = uint64(float64(l.Hash.Start.Lo))
		l.Hash.End.Lo &^= 1
		return l
	})},
	{"load is rounded", "CreateStoresEveryField", storesWorse(func(l lease.Lease) lease.Lease {
		l.Load.BytesPerSecond = math.Round(l.Load.BytesPerSecond)
		return l
	})},
	{"terms are floating point", "CreateStoresEveryField", storesWorse(func(l lease.Lease) lease.Lease {
		l.Term = int64(float32(l.Term))
		return l
	})},
	{"counters are floating point", "EveryWriteCountsByOne", func(b *broken) {
		b.swap = func(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
			row, err := b.Memory.Swap(ctx, old, next)
			row.Counter = int64(float64(row.Counter))
			return row, err
		}
	}},
	{"names are trimmed", "CreateStoresEveryField", storesWorse(func(l lease.Lease) lease.Lease {
		l.Owner = strings.TrimSpace(l.Owner)
		return l
	})},
	{"keys know no case", "KeysThatLookAlikeAreDifferentRows", storesWorse(func(l lease.Lease) lease.Lease {
		l.Key = strings.ToLower(l.Key)
		return l
	})},
	{"long keys are cut", "KeysThatLookAlikeAreDifferentRows", storesWorse(func(l lease.Lease) lease.Lease {
		l.Key = l.Key[:min(len(l.Key), 255)]
		return l
	})},
}
