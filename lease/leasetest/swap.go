package leasetest

import (
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/stream"
)

var swapping = []clause{
	{"SwapReplacesEveryFieldButThoseThatNeverChange", func(r *room) {
		for _, v := range variants() {
			for _, old := range []lease.Lease{full("from full to " + v.name), {Key: "from nothing to " + v.name}} {
				r.create(old)
				want := v.row
				want.Key, want.Stream, want.StreamID, want.Shard = old.Key, old.Stream, old.StreamID, old.Shard
				want.Counter = old.Counter + 1

				r.same(v.name+": the answer", []lease.Lease{r.swap(old, v.row)}, want)
				r.is(want)
			}
		}
	}},

	{"SwapNeedsTheCounter", func(r *room) {
		row := full("a")
		r.create(row)
		for _, counter := range []int64{0, -1, row.Counter - 1, row.Counter + 1, row.Counter - past53 + 1} {
			old := row
			old.Counter = counter
			got, err := r.store.Swap(r.ctx, old, owned("a", "thief"))
			r.isConflict("swap with another counter", err)
			r.same("the row with the conflict", []lease.Lease{got}, row)
			r.is(row)
		}
	}},

	{"SwapNeedsTheOwner", func(r *room) {
		row, free := full("a"), plain("free")
		r.create(row, free)
		for _, c := range []struct {
			row   lease.Lease
			owner string
		}{
			{row, ""}, {row, row.Owner + " "}, {row, "W1/5f3a"}, {row, row.CheckpointOwner}, {free, "w1/5f3a"}, {free, " "},
		} {
			old := c.row
			old.Owner = c.owner
			got, err := r.store.Swap(r.ctx, old, owned(old.Key, "thief"))
			r.isConflict("swap with another owner", err)
			r.same("the row with the conflict", []lease.Lease{got}, c.row)
			r.is(c.row)
		}
	}},

	{"SwapNeedsNothingButKeyCounterAndOwner", func(r *room) {
		row := full("a")
		r.create(row)
		next := row
		next.Checkpoint.Position = stream.ShardEnd
		got := r.swap(lease.Lease{Key: row.Key, Counter: row.Counter, Owner: row.Owner}, next)
		next.Counter = row.Counter + 1
		r.same("the answer", []lease.Lease{got}, next)
		r.is(next)
	}},

	{"SwapCountsFromTheRowAndNotFromNext", func(r *room) {
		row := owned("a", "w")
		r.create(row)
		for _, counter := range []int64{0, 7, past53, row.Counter - 1} {
			next := row
			next.Counter = counter
			got := r.swap(row, next)
			if got.Counter != row.Counter+1 {
				r.Fatalf("counter after a swap from %d: got %d, want one more", row.Counter, got.Counter)
			}
			r.is(got)
			row = got
		}
	}},

	{"EveryWriteCountsByOne", func(r *room) {
		row := full("a") // its counter is one that floating point cannot hold
		first := row.Counter
		r.create(row)
		for range 20 {
			row = r.swap(row, row)
		}
		if row.Counter != first+20 {
			r.Fatalf("counter after 20 swaps from %d: got %d", first, row.Counter)
		}
		r.is(row)
	}},

	{"SwapOfAMissingRowIsAConflictWithTheZeroLease", func(r *room) {
		for _, old := range []lease.Lease{full("missing"), {Key: "missing"}} {
			got, err := r.store.Swap(r.ctx, old, full("missing"))
			r.isConflict("swap of a missing row", err)
			r.same("the row with the conflict", []lease.Lease{got}, lease.Lease{})
		}
		r.same("leases", r.list())
	}},

	{"SwapTouchesNoOtherRow", func(r *room) {
		a, b, c := full("a"), full("a%"), full("ab")
		r.create(a, b, c)
		next := plain("a")
		next.Owner = "other"
		got := r.swap(a, next)
		r.same("leases", r.list(), got, b, c)
	}},

	{"SwapKnowsOnlyTheKeyOfOld", func(r *room) {
		a, b := owned("a", "w"), owned("b", "w")
		r.create(a, b)
		next := b // a slip of the caller: the next row of another key
		next.Term = 5
		got := r.swap(a, next)
		want := a
		want.Counter, want.Term = a.Counter+1, 5
		r.same("the answer", []lease.Lease{got}, want)
		r.same("leases", r.list(), want, b)
	}},

	{"AFormerOwnerCannotCheckpoint", func(r *room) {
		held := owned("a", "former")
		r.create(held)
		moved := held
		moved.Owner, moved.Term = "new", held.Counter+1
		moved = r.swap(held, moved)

		late := held
		late.Checkpoint.Position = stream.After(stream.MakeSequence(0, 0, 99))
		got, err := r.store.Swap(r.ctx, held, late)
		r.isConflict("checkpoint of the former owner", err)
		r.same("the row with the conflict", []lease.Lease{got}, moved)

		// Not even when it guesses the counter.
		held.Counter = moved.Counter
		_, err = r.store.Swap(r.ctx, held, late)
		r.isConflict("checkpoint of the former owner with the counter of the new one", err)
		r.is(moved)
	}},

	{"AHandoffPassesTheRowFromHandToHand", func(r *room) {
		held := owned("a", "old")
		held.Term = held.Counter
		r.create(held)

		move := held
		move.Owner, move.CheckpointOwner = "new", "old"
		moving := r.swap(held, move)

		// The former holder goes on as checkpoint owner, then lets go.
		save := moving
		save.Checkpoint.Position = stream.After(stream.MakeSequence(0, 0, 5))
		saved := r.swap(moving, save)
		release := saved
		release.CheckpointOwner = ""
		released := r.swap(saved, release)

		take := released
		take.Term = released.Counter + 1
		taken := r.swap(released, take)
		if taken.Term != taken.Counter || taken.Term <= held.Term {
			r.Fatalf("term %d at counter %d after a term of %d: want a greater one, equal to the counter", taken.Term, taken.Counter, held.Term)
		}
		r.is(taken)
		for _, past := range []lease.Lease{held, moving, saved, released} {
			_, err := r.store.Swap(r.ctx, past, past)
			r.isConflict("swap of a row of the past", err)
		}
		r.is(taken)
	}},
}
