package leasetest

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/millrace/millrace/lease"
)

// spoilt is a broken store with rows that cannot be understood.
type spoilt struct {
	*broken
	mu   sync.Mutex // guards keys
	keys []string
}

// add spoils a row, with what a store has to make of it.
func (s *spoilt) add(key string) {
	s.mu.Lock()
	s.keys = append(s.keys, key)
	s.mu.Unlock()
	s.leases, s.owned, s.read, s.swap = s.listUnderstood, s.ownedUnderstood, s.readAll, s.swapUnderstood
}

func (s *spoilt) understood(l lease.Lease) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !slices.Contains(s.keys, l.Key)
}

func (s *spoilt) unreadable(key string) error {
	if s.understood(lease.Lease{Key: key}) {
		return nil
	}
	return fmt.Errorf("lease %s: %w", key, lease.ErrUnreadable)
}

func (s *spoilt) listUnderstood(ctx context.Context) iter.Seq2[lease.Lease, error] {
	return func(yield func(lease.Lease, error) bool) {
		for l, err := range s.Memory.Leases(ctx) {
			if s.understood(l) && !yield(l, err) {
				return
			}
		}
	}
}

func (s *spoilt) ownedUnderstood(ctx context.Context, who string) ([]lease.Lease, error) {
	rows, err := s.Memory.Owned(ctx, who)
	return slices.DeleteFunc(rows, func(l lease.Lease) bool { return !s.understood(l) }), err
}

func (s *spoilt) readAll(ctx context.Context, keys ...string) ([]lease.Lease, error) {
	for _, key := range keys {
		if err := s.unreadable(key); err != nil {
			return nil, err
		}
	}
	return s.Memory.Read(ctx, keys...)
}

func (s *spoilt) swapUnderstood(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
	if err := s.unreadable(old.Key); err != nil {
		return lease.Lease{}, err
	}
	return s.Memory.Swap(ctx, old, next)
}

// spoils lets a store make something else of the rows that are spoilt.
func spoils(otherwise func(*spoilt)) func(*broken) {
	return func(b *broken) {
		s := &spoilt{broken: b}
		b.spoil = func(key string) {
			s.add(key)
			otherwise(s)
		}
	}
}

// brokenSpoils let a row that cannot be understood stand for others, or for none.
var brokenSpoils = []sabotage{
	{"leases fails with one row", "ARowThatCannotBeUnderstoodIsPassedOverInListings", spoils(func(s *spoilt) {
		s.leases = func(ctx context.Context) iter.Seq2[lease.Lease, error] {
			return func(yield func(lease.Lease, error) bool) {
				for l, err := range s.Memory.Leases(ctx) {
					if err == nil {
						err = s.unreadable(l.Key)
					}
					if !yield(l, err) || err != nil {
						return
					}
				}
			}
		}
	})},
	{"owned fails with one row", "ARowThatCannotBeUnderstoodIsPassedOverInListings", spoils(func(s *spoilt) {
		s.owned = func(ctx context.Context, who string) ([]lease.Lease, error) {
			rows, err := s.Memory.Owned(ctx, who)
			if slices.ContainsFunc(rows, func(l lease.Lease) bool { return !s.understood(l) }) {
				err = lease.ErrUnreadable
			}
			return rows, err
		}
	})},
	{"leases yields a row by its key alone", "ARowThatCannotBeUnderstoodIsPassedOverInListings", spoils(func(s *spoilt) {
		s.leases = s.Memory.Leases
	})},
	{"a page that is not full is the last", "RowsThatCannotBeUnderstoodAreNoEndOfAListing", spoils(func(s *spoilt) {
		s.leases = func(ctx context.Context) iter.Seq2[lease.Lease, error] {
			return func(yield func(lease.Lease, error) bool) {
				n, full := 0, true
				for l, err := range s.Memory.Leases(ctx) {
					if n%1000 == 0 && !full {
						return
					}
					if n++; !s.understood(l) {
						full = false
					} else if !yield(l, err) {
						return
					}
				}
			}
		}
	})},
	{"read leaves out what it does not understand", "WhoReadsARowThatCannotBeUnderstoodIsTold", spoils(func(s *spoilt) {
		s.read = func(ctx context.Context, keys ...string) ([]lease.Lease, error) {
			rows, err := s.Memory.Read(ctx, keys...)
			return slices.DeleteFunc(rows, func(l lease.Lease) bool { return !s.understood(l) }), err
		}
	})},
	{"read does not say what is wrong", "WhoReadsARowThatCannotBeUnderstoodIsTold", spoils(func(s *spoilt) {
		s.read = func(ctx context.Context, keys ...string) ([]lease.Lease, error) {
			rows, err := s.readAll(ctx, keys...)
			if err != nil {
				err = fmt.Errorf("a row cannot be understood")
			}
			return rows, err
		}
	})},
	{"a swap takes a row that it does not understand for none", "ASwapThatMeetsARowThatCannotBeUnderstoodIsNoConflict", spoils(func(s *spoilt) {
		s.swap = func(context.Context, lease.Lease, lease.Lease) (lease.Lease, error) {
			return lease.Lease{}, lease.ErrConflict
		}
	})},
}
