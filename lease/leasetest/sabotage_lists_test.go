package leasetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/millrace/millrace/lease"
)

// brokenLists find too little, too much, or too late.
var brokenLists = []sabotage{
	{"leases ends after a page", "LeasesYieldsEveryRowOnce", func(b *broken) {
		b.leases = func(ctx context.Context) iter.Seq2[lease.Lease, error] {
			return func(yield func(lease.Lease, error) bool) {
				n := 0
				for l, err := range b.Memory.Leases(ctx) {
					if n++; n > 1000 || !yield(l, err) {
						return
					}
				}
			}
		}
	}},
	{"leases yields the ends of its pages twice", "LeasesYieldsEveryRowOnce", func(b *broken) {
		b.leases = func(ctx context.Context) iter.Seq2[lease.Lease, error] {
			return func(yield func(lease.Lease, error) bool) {
				n := 0
				for l, err := range b.Memory.Leases(ctx) {
					if n++; n%1000 == 0 && !yield(l, err) {
						return
					}
					if !yield(l, err) {
						return
					}
				}
			}
		}
	}},
	{"leases skips by number while rows go", "LeasesYieldsWhatExistsAllTheWhile", func(b *broken) {
		b.leases = func(ctx context.Context) iter.Seq2[lease.Lease, error] {
			return func(yield func(lease.Lease, error) bool) {
				const page = 100
				for offset := 0; ; offset += page {
					n := 0
					for l, err := range b.Memory.Leases(ctx) {
						if n++; n <= offset || n > offset+page {
							continue
						}
						if !yield(l, err) {
							return
						}
					}
					if n <= offset+page {
						return
					}
					runtime.Gosched()
				}
			}
		}
	}},
	{"leases goes on after its loop", "LeasesStopsWithItsLoop", func(b *broken) {
		b.leases = func(ctx context.Context) iter.Seq2[lease.Lease, error] {
			return func(yield func(lease.Lease, error) bool) {
				for l, err := range b.Memory.Leases(ctx) {
					yield(l, err)
				}
			}
		}
	}},
	{"leases goes on after its context", "AListingEndsWithItsContext", func(b *broken) {
		b.leases = func(ctx context.Context) iter.Seq2[lease.Lease, error] {
			if ctx.Err() == nil {
				ctx = context.WithoutCancel(ctx)
			}
			return b.Memory.Leases(ctx)
		}
	}},
	{"leases can be looped over once", "LeasesCanBeLoopedOverAgain", func(b *broken) {
		b.leases = func(ctx context.Context) iter.Seq2[lease.Lease, error] {
			var once sync.Once
			return func(yield func(lease.Lease, error) bool) {
				once.Do(func() { b.Memory.Leases(ctx)(yield) })
			}
		}
	}},
	{"read of nothing returns all", "ReadOfNoKeysReturnsNothing", func(b *broken) {
		b.read = func(ctx context.Context, keys ...string) (rows []lease.Lease, err error) {
			if len(keys) > 0 {
				return b.Memory.Read(ctx, keys...)
			}
			for l := range b.Memory.Leases(ctx) {
				rows = append(rows, l)
			}
			return rows, nil
		}
	}},
	{"read repeats itself", "ReadReturnsARowOnceHoweverOftenItIsAskedFor", func(b *broken) {
		b.read = func(ctx context.Context, keys ...string) (rows []lease.Lease, err error) {
			for _, key := range keys {
				row, err := b.Memory.Read(ctx, key)
				if err != nil {
					return nil, err
				}
				rows = append(rows, row...)
			}
			return rows, nil
		}
	}},
	{"read takes a hundred keys", "ReadOfManyKeysReturnsAllOfThem", func(b *broken) {
		b.read = func(ctx context.Context, keys ...string) ([]lease.Lease, error) {
			return b.Memory.Read(ctx, keys[:min(len(keys), 100)]...)
		}
	}},
	{"read makes up what is missing", "ReadLeavesOutWhatIsMissing", func(b *broken) {
		b.read = func(ctx context.Context, keys ...string) ([]lease.Lease, error) {
			rows, err := b.Memory.Read(ctx, keys...)
			for len(rows) < len(keys) && err == nil {
				rows = append(rows, lease.Lease{})
			}
			return rows, err
		}
	}},
	{"read remembers", "ReadSeesEveryWriteAtOnce", func(b *broken) {
		var seen sync.Map
		b.read = func(ctx context.Context, keys ...string) ([]lease.Lease, error) {
			if rows, ok := seen.Load(fmt.Sprint(keys)); ok {
				return rows.([]lease.Lease), nil
			}
			rows, err := b.Memory.Read(ctx, keys...)
			seen.Store(fmt.Sprint(keys), rows)
			return rows, err
		}
	}},
	{"leases of nothing is an error", "LeasesOfAnEmptyStoreYieldsNothing", func(b *broken) {
		b.leases = func(ctx context.Context) iter.Seq2[lease.Lease, error] {
			return func(yield func(lease.Lease, error) bool) {
				n := 0
				for l, err := range b.Memory.Leases(ctx) {
					if n++; !yield(l, err) {
						return
					}
				}
				if n == 0 {
					yield(lease.Lease{}, errors.New("no rows"))
				}
			}
		}
	}},
	{"leases locks what it yields", "ARowCanBeWrittenWhileTheLoopStandsAtIt", func(b *broken) {
		var listing atomic.Bool
		b.leases = func(ctx context.Context) iter.Seq2[lease.Lease, error] {
			return func(yield func(lease.Lease, error) bool) {
				listing.Store(true)
				defer listing.Store(false)
				b.Memory.Leases(ctx)(yield)
			}
		}
		b.swap = func(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
			if listing.Load() {
				return lease.Lease{}, errors.New("database is locked")
			}
			return b.Memory.Swap(ctx, old, next)
		}
	}},
	{"owned forgets checkpoint owners", "OwnedFindsOwnersAndCheckpointOwners", func(b *broken) {
		b.owned = func(ctx context.Context, who string) (rows []lease.Lease, err error) {
			all, err := b.Memory.Owned(ctx, who)
			for _, l := range all {
				if l.Owner == who {
					rows = append(rows, l)
				}
			}
			return rows, err
		}
	}},
	{"owned prefers checkpoint owners", "OwnedFindsOwnersAndCheckpointOwners", func(b *broken) {
		b.owned = func(ctx context.Context, who string) (rows []lease.Lease, err error) {
			all, err := b.Memory.Owned(ctx, who)
			for _, l := range all {
				if cmp.Or(l.CheckpointOwner, l.Owner) == who {
					rows = append(rows, l)
				}
			}
			return rows, err
		}
	}},
	{"owned repeats rows that are owned twice", "OwnedFindsOwnersAndCheckpointOwners", func(b *broken) {
		b.owned = func(ctx context.Context, who string) ([]lease.Lease, error) {
			all, err := b.Memory.Owned(ctx, who)
			for _, l := range all {
				if l.Owner == who && l.CheckpointOwner == who {
					all = append(all, l)
				}
			}
			return all, err
		}
	}},
	{"owned lags for ever", "OwnedFollowsTheRows", func(b *broken) {
		var seen sync.Map
		b.owned = func(ctx context.Context, who string) ([]lease.Lease, error) {
			if rows, ok := seen.Load(who); ok {
				return rows.([]lease.Lease), nil
			}
			rows, err := b.Memory.Owned(ctx, who)
			seen.Store(who, rows)
			return rows, err
		}
	}},
	{"nobody owns what is free", "NobodyOwnsNothing", func(b *broken) {
		b.owned = func(ctx context.Context, who string) (rows []lease.Lease, err error) {
			for l := range b.Memory.Leases(ctx) {
				if l.Owner == who || l.CheckpointOwner == who {
					rows = append(rows, l)
				}
			}
			return rows, context.Cause(ctx)
		}
	}},
	{"owned ends after a page", "OwnedFindsManyRows", func(b *broken) {
		b.owned = func(ctx context.Context, who string) ([]lease.Lease, error) {
			rows, err := b.Memory.Owned(ctx, who)
			return rows[:min(len(rows), 500)], err
		}
	}},
	{"owned knows no case", "OwnedKnowsNamesExactly", func(b *broken) {
		b.owned = func(ctx context.Context, who string) (rows []lease.Lease, err error) {
			for l := range b.Memory.Leases(ctx) {
				if who != "" && (strings.EqualFold(l.Owner, who) || strings.EqualFold(l.CheckpointOwner, who)) {
					rows = append(rows, l)
				}
			}
			return rows, context.Cause(ctx)
		}
	}},
}
