package leasetest

import (
	"fmt"
	"sync"

	"github.com/millrace/millrace/lease"
)

var creation = []clause{
	{"CreateStoresEveryField", func(r *room) {
		var rows []lease.Lease
		for _, v := range variants() {
			rows = append(rows, v.row)
		}
		r.create(rows...)
		for _, v := range variants() {
			r.same(v.name, r.read(v.row.Key), v.row)
		}
		r.same("leases", r.list(), rows...)
	}},

	{"CreateLeavesExistingRowsAlone", func(r *room) {
		existing, other := full("existing"), plain("new")
		r.create(existing)
		intruder := owned("existing", "intruder")
		intruder.Counter = existing.Counter + 100
		r.create(intruder, other)
		r.is(existing)
		r.is(other)
		if got, err := r.store.Owned(r.ctx, "intruder"); err != nil || len(got) != 0 {
			r.Fatalf("owned by the intruder: got %v, error %v; want nothing", got, err)
		}
	}},

	{"CreateOfNothingDoesNothing", func(r *room) {
		r.create()
		r.same("leases", r.list())
	}},

	{"OfTwoRowsWithOneKeyTheFirstIsCreated", func(r *room) {
		r.create(owned("a", "first"), owned("a", "second"))
		r.is(owned("a", "first"))
		r.same("leases", r.list(), owned("a", "first"))
	}},

	{"KeysThatLookAlikeAreDifferentRows", func(r *room) {
		var rows []lease.Lease
		for i, key := range lookAlikes() {
			rows = append(rows, owned(key, fmt.Sprint("w", i)))
			r.create(rows[i])
		}
		r.same("leases", r.list(), rows...)
		for i, l := range rows {
			rows[i] = r.swap(l, l)
		}
		for _, l := range rows {
			r.is(l)
		}
		for i, l := range rows {
			r.delete(l)
			r.same("leases after a delete", r.list(), rows[i+1:]...)
		}
	}},

	{"ANameIsKeptAsItIsOrRefused", func(r *room) {
		for _, name := range []string{"a\x00b", "\xff", "\xed\xa0\x80"} {
			row := plain(name)
			row.Parents, row.Children = []string{name}, []string{name}
			if err := r.store.Create(r.ctx, row); err != nil {
				r.same("leases", r.list())
				continue
			}
			r.is(row)
			r.delete(row)
		}
	}},

	{"OfRacingCreatorsOneWins", func(r *room) {
		const racers = 16
		errs := make([]error, racers)
		var wg sync.WaitGroup
		for i := range racers {
			wg.Go(func() {
				errs[i] = r.store.Create(r.ctx, owned("contended", fmt.Sprint("w", i)), owned(fmt.Sprint("own ", i), "w"))
			})
		}
		wg.Wait()
		for i, err := range errs {
			if err != nil {
				r.Fatalf("creator %d: %v", i, err)
			}
			r.is(owned(fmt.Sprint("own ", i), "w"))
		}
		row := r.read("contended")
		if len(row) != 1 {
			r.Fatalf("got %d rows, want 1", len(row))
		}
		r.same("the row", row, owned("contended", row[0].Owner))
		r.create(owned("contended", "late"))
		r.is(row[0])
	}},
}
