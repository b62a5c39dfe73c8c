package leasetest

import "github.com/millrace/millrace/lease"

var deletion = []clause{
	{"DeleteNeedsTheCounterAndTheOwner", func(r *room) {
		row := full("a")
		r.create(row)
		for _, change := range []func(*lease.Lease){
			func(l *lease.Lease) { l.Counter-- },
			func(l *lease.Lease) { l.Counter++ },
			func(l *lease.Lease) { l.Counter = 0 },
			func(l *lease.Lease) { l.Owner = "" },
			func(l *lease.Lease) { l.Owner = "thief" },
		} {
			old := row
			change(&old)
			r.isConflict("delete with another counter or owner", r.store.Delete(r.ctx, old))
			r.is(row)
		}
		r.delete(lease.Lease{Key: row.Key, Counter: row.Counter, Owner: row.Owner})
		r.same("the row", r.read("a"))
	}},

	{"DeleteOfAMissingRowIsAConflict", func(r *room) {
		row := plain("a")
		r.isConflict("delete of a row that never was", r.store.Delete(r.ctx, row))
		r.create(row)
		r.delete(row)
		r.isConflict("second delete", r.store.Delete(r.ctx, row))
	}},

	{"ADeletedRowIsGoneEverywhere", func(r *room) {
		gone, stays := full("gone"), full("stays")
		r.create(gone, stays)
		r.delete(gone)
		r.same("read", r.read("gone", "stays"), stays)
		r.same("leases", r.list(), stays)
		for _, who := range []string{gone.Owner, gone.CheckpointOwner} {
			r.soon(func() string {
				rows, err := r.store.Owned(r.ctx, who)
				if err != nil {
					r.Fatalf("owned: %v", err)
				}
				return diffLeases(rows, []lease.Lease{stays})
			})
		}
		got, err := r.store.Swap(r.ctx, gone, gone)
		r.isConflict("swap of a deleted row", err)
		r.same("the row with the conflict", []lease.Lease{got}, lease.Lease{})
	}},

	{"ARowThatIsCreatedAgainIsAnotherRow", func(r *room) {
		first := owned("a", "w")
		first.Term = first.Counter
		r.create(first)
		r.delete(first)
		again := first
		again.Counter, again.Term = first.Counter+1000, 0
		r.create(again)
		r.is(again)

		_, err := r.store.Swap(r.ctx, first, first)
		r.isConflict("swap of a row of the former life", err)
		r.isConflict("delete of a row of the former life", r.store.Delete(r.ctx, first))
		if got := r.swap(again, again); got.Counter <= first.Counter {
			r.Fatalf("counter %d after one of %d in a former life: want a greater one", got.Counter, first.Counter)
		}
	}},
}
