package leasetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/millrace/millrace/lease"
)

// Transaction is one of the kind that a [lease.Transactional] takes part in, and
// how to end it.
type Transaction struct {
	// Tx is what SwapIn is given.
	Tx any
	// Commit and Rollback end the transaction. An error of Commit says that none
	// of its writes took place.
	Commit, Rollback func(context.Context) error
	// Locks says that a row which was written belongs to the transaction until it
	// ends: others who want to write it wait, and the transaction itself sees
	// what it wrote. Default: it is one request, sent by Commit, of which nobody
	// knows before.
	Locks bool
}

// transactional returns the room's store as what it has to be, or skips the test.
func (r *room) transactional() lease.Transactional {
	r.Helper()
	store, ok := r.store.(lease.Transactional)
	if !ok {
		r.Skip("the store takes part in no transactions")
	}
	if r.options.Begin == nil {
		r.Fatal("the store is a lease.Transactional: set Options.Begin, so that this can be tested")
	}
	return store
}

// begin begins a transaction that ends with the test, at the latest.
func (r *room) begin() Transaction {
	r.Helper()
	tx := r.options.Begin(r, r.store)
	r.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), 10*time.Second)
		defer cancel()
		_ = tx.Rollback(ctx) // which may have ended
	})
	return tx
}

// swapIn ends the test unless the swap is made a part of the transaction.
func (r *room) swapIn(tx Transaction, old, next lease.Lease) lease.Lease {
	r.Helper()
	row, err := r.transactional().SwapIn(r.ctx, tx.Tx, old, next)
	if err != nil {
		r.Fatalf("swap of %q in a transaction: %v", old.Key, err)
	}
	return row
}

var transactions = []clause{
	{"ASwapInATransactionIsThereWhenItCommits", func(r *room) {
		r.transactional()
		for _, v := range variants()[:3] {
			old, tx := full("to "+v.name), r.begin()
			r.create(old)
			want := v.row
			want.Key, want.Stream, want.StreamID, want.Shard = old.Key, old.Stream, old.StreamID, old.Shard
			want.Counter = old.Counter + 1

			r.same("the answer", []lease.Lease{r.swapIn(tx, old, v.row)}, want)
			r.is(old)
			if err := tx.Commit(r.ctx); err != nil {
				r.Fatalf("commit: %v", err)
			}
			r.is(want)
		}
	}},

	{"ASwapInATransactionThatIsRolledBackNeverWas", func(r *room) {
		r.transactional()
		old, tx := full("a"), r.begin()
		r.create(old)
		r.swapIn(tx, old, owned("a", "thief"))
		if err := tx.Rollback(r.ctx); err != nil {
			r.Fatalf("roll back: %v", err)
		}
		r.is(old)
		r.is(r.swap(old, owned("a", "w")))
	}},

	{"ASwapInATransactionNeedsTheRowAsItIs", func(r *room) {
		store := r.transactional()
		row := full("a")
		r.create(row)
		counter, owner, missing := row, row, row
		counter.Counter--
		owner.Owner = "somebody else"
		missing.Key = "b"
		for what, old := range map[string]lease.Lease{"another counter": counter, "another owner": owner, "no row": missing} {
			tx := r.begin()
			got, err := store.SwapIn(r.ctx, tx.Tx, old, owned(old.Key, "thief"))
			r.isConflict("swap in a transaction with "+what, err)
			want := row
			if what == "no row" {
				want = lease.Lease{}
			}
			r.same("the row with the conflict of "+what, []lease.Lease{got}, want)
			if err := tx.Rollback(r.ctx); err != nil {
				r.Fatalf("roll back: %v", err)
			}
			r.is(row)
		}
		r.same("leases", r.list(), row)
	}},

	{"ATransactionSeesWhatItHasWritten", func(r *room) {
		store := r.transactional()
		old, tx := full("a"), r.begin()
		if !tx.Locks {
			r.Skip("the transaction is one request")
		}
		r.create(old)
		row := r.swapIn(tx, old, owned("a", "w"))
		got, err := store.SwapIn(r.ctx, tx.Tx, old, owned("a", "v"))
		r.isConflict("a second swap from the old row", err)
		r.same("the row with the conflict", []lease.Lease{got}, row)
		row = r.swapIn(tx, row, owned("a", "v"))
		if err := tx.Commit(r.ctx); err != nil {
			r.Fatalf("commit: %v", err)
		}
		r.is(row)
	}},

	{"WhoeverElseWritesTheRowWaitsForTheTransaction", func(r *room) {
		r.transactional()
		row, free, tx := full("a"), full("b"), r.begin()
		if !tx.Locks {
			r.Skip("the transaction is one request")
		}
		r.create(row, free)
		want := r.swapIn(tx, row, owned("a", "w"))
		r.swap(free, owned("b", "w")) // others wait for nothing
		short, cancel := context.WithTimeout(r.ctx, 50*time.Millisecond)
		defer cancel()
		if got, err := r.store.Swap(short, row, owned("a", "thief")); !errors.Is(err, context.DeadlineExceeded) {
			r.Fatalf("swap beside an open transaction: got %+v, error %v; it should have waited", got, err)
		}
		if err := tx.Commit(r.ctx); err != nil {
			r.Fatalf("commit: %v", err)
		}
		r.is(want)
	}},

	{"ASwapAndATransactionNeverBothWin", func(r *room) {
		r.transactional()
		for i := range 5 {
			row, tx := plain(fmt.Sprint("row ", i)), r.begin()
			r.create(row)
			mine := r.swapIn(tx, row, owned(row.Key, "transaction"))
			var theirs lease.Lease
			var swapErr, commitErr error
			sent := make(chan struct{})
			var wg sync.WaitGroup
			wg.Go(func() {
				close(sent)
				theirs, swapErr = r.store.Swap(r.ctx, row, owned(row.Key, "swap"))
			})
			if i%2 == 1 {
				<-sent
			}
			commitErr = tx.Commit(r.ctx)
			wg.Wait()
			switch {
			case commitErr == nil:
				r.isConflict("swap beside a transaction that won", swapErr)
				r.is(mine)
			case swapErr == nil:
				r.is(theirs)
			default:
				r.Fatalf("neither won: swap: %v, commit: %v", swapErr, commitErr)
			}
		}
	}},
}
