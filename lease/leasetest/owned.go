package leasetest

import (
	"fmt"

	"github.com/millrace/millrace/lease"
)

var owning = []clause{
	{"OwnedFindsOwnersAndCheckpointOwners", func(r *room) {
		mine, moving, both := owned("mine", "w"), owned("moving", "other"), full("both")
		moving.CheckpointOwner = "w"
		both.Owner, both.CheckpointOwner = "w", "w"
		r.create(mine, moving, both, owned("theirs", "other"), plain("nobody's"))
		r.owns("w", mine, moving, both)
		r.owns("other", moving, owned("theirs", "other"))
	}},

	{"OwnedFollowsTheRows", func(r *room) {
		row := owned("a", "old")
		r.create(row)
		r.owns("old", row)

		move := row
		move.Owner, move.CheckpointOwner = "new", "old"
		row = r.swap(row, move)
		r.owns("old", row)
		r.owns("new", row)

		release := row
		release.CheckpointOwner = ""
		row = r.swap(row, release)
		r.owns("old")
		r.owns("new", row)

		drop := row
		drop.Owner = ""
		r.swap(row, drop)
		r.owns("new")
	}},

	{"OwnedKnowsNamesExactly", func(r *room) {
		names := []string{"w", "W", "w ", "w1", "w%", "w_", "é", "e\u0301", "1", "01"}
		for i, name := range names {
			r.create(owned(fmt.Sprint("row ", i), name))
		}
		for i, name := range names {
			r.owns(name, owned(fmt.Sprint("row ", i), name))
		}
		r.owns("nobody that exists")
	}},

	{"NobodyOwnsNothing", func(r *room) {
		// The empty name is nobody's: rows without an owner belong to no answer.
		r.create(plain("a"), owned("b", "w"))
		r.owns("")
	}},

	{"OwnedFindsManyRows", func(r *room) {
		rows := manyRows(r.options.Rows)
		var mine []lease.Lease
		for i := range rows {
			if rows[i].Owner = "other"; i%2 == 0 {
				rows[i].Owner = "w"
				mine = append(mine, rows[i])
			}
		}
		r.create(rows...)
		r.owns("w", mine...)
	}},
}

// owns ends the test unless, soon, Owned answers with these rows.
func (r *room) owns(who string, want ...lease.Lease) {
	r.Helper()
	r.soon(func() string {
		rows, err := r.store.Owned(r.ctx, who)
		if err != nil {
			r.Fatalf("owned by %q: %v", who, err)
		}
		if diff := diffLeases(rows, want); diff != "" {
			return fmt.Sprintf("owned by %q: %s", who, diff)
		}
		return ""
	})
}
