package leasetest

import (
	"errors"
	"slices"

	"github.com/millrace/millrace/lease"
)

// spoiling is what a row that cannot be understood comes to.
var spoiling = []clause{
	{"ARowThatCannotBeUnderstoodIsPassedOverInListings", func(r *room) {
		r.spoils()
		before, spoilt, after := owned("a", "w"), owned("b", "w"), owned("c", "w")
		handed := owned("d", "other")
		handed.CheckpointOwner = "w"
		r.create(before, spoilt, after, handed)
		r.options.Spoil(r, r.store, spoilt.Key)
		r.same("leases", r.list(), before, after, handed)
		r.owns("w", before, after, handed)
	}},

	{"RowsThatCannotBeUnderstoodAreNoEndOfAListing", func(r *room) {
		r.spoils()
		rows := manyRows(r.options.Rows)
		r.create(rows...)
		for i := len(rows) - 1; i >= 0; i -= 500 { // with which pages end, in all likelihood
			r.options.Spoil(r, r.store, rows[i].Key)
			rows = slices.Delete(rows, i, i+1)
		}
		r.same("leases", r.list(), rows...)
	}},

	{"WhoReadsARowThatCannotBeUnderstoodIsTold", func(r *room) {
		r.spoils()
		fine, spoilt := full("a"), full("b")
		r.create(fine, spoilt)
		r.options.Spoil(r, r.store, spoilt.Key)
		for _, keys := range [][]string{{spoilt.Key}, {fine.Key, spoilt.Key}, {spoilt.Key, fine.Key}} {
			rows, err := r.store.Read(r.ctx, keys...)
			if len(rows) > 0 || !errors.Is(err, lease.ErrUnreadable) {
				r.Errorf("read of %q: %+v, error %v, want none and %v", keys, rows, err, lease.ErrUnreadable)
			}
		}
		r.is(fine)
	}},

	{"ASwapThatMeetsARowThatCannotBeUnderstoodIsNoConflict", func(r *room) {
		// Who is told of a conflict takes the row that comes with it for what is there.
		r.spoils()
		spoilt := full("a")
		r.create(spoilt)
		r.options.Spoil(r, r.store, spoilt.Key)
		stale := spoilt
		stale.Counter--
		if row, err := r.store.Swap(r.ctx, stale, spoilt); err == nil || errors.Is(err, lease.ErrConflict) {
			r.Errorf("got %+v, error %v, want one that is no conflict", row, err)
		}
	}},
}

// spoils skips the test of a store whose rows nobody else can change.
func (r *room) spoils() {
	r.Helper()
	if r.options.Spoil == nil {
		r.Skip("its rows cannot be spoiled")
	}
}
