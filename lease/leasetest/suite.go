package leasetest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/millrace/millrace/lease"
)

// Options say what a backend can do besides the contract. The zero value asks
// for the contract alone.
type Options struct {
	// Second opens another handle on the backend and application of store, as
	// a second process would. Default: what needs two handles is skipped.
	Second func(t testing.TB, store lease.Store) lease.Store
	// Other opens a handle on the backend of store for another application.
	// Default: that applications are kept apart is not tested.
	Other func(t testing.TB, store lease.Store) lease.Store
	// Reopen closes store and opens what it left behind. Default: that rows
	// outlive a restart is not tested.
	Reopen func(t testing.TB, store lease.Store) lease.Store
	// Begin begins a transaction of the kind that the store takes part in. A store
	// that is a [lease.Transactional] needs it.
	Begin func(t testing.TB, store lease.Store) Transaction
	// Spoil changes a row, past the store, into one that nobody can understand, and
	// leaves its key, its owners and its counter. Default: what a store makes of
	// such rows is not tested.
	Spoil func(t testing.TB, store lease.Store, key string)
	// OwnedLag is how long Owned may lag behind the rows. Default: 10 s.
	OwnedLag time.Duration
	// Rows is how many rows a large table has in these tests. Default: 2,500.
	Rows int
}

// Run tests that the stores that open returns keep the whole contract of
// [lease.Store], and of [lease.Notifier] and [lease.Transactional] if they are one. open is called once
// for each test, by several at the same time, and returns an empty store; it
// cleans up by t.Cleanup.
func Run(t *testing.T, open func(t testing.TB) lease.Store, o Options) {
	for _, c := range contract() {
		t.Run(c.sentence, func(t *testing.T) {
			t.Parallel()
			c.check(t, open, o)
		})
	}
}

// clause is one sentence of the contract, and how to see that it holds.
type clause struct {
	sentence string
	holds    func(*room)
}

func contract() []clause {
	return slices.Concat(
		creation, swapping, deletion, reading, listing, owning,
		spoiling, membership, noting, contention, histories, contexts, handles, transactions, notification, walks,
	)
}

func (c clause) check(t testing.TB, open func(t testing.TB) lease.Store, o Options) {
	if o.OwnedLag == 0 {
		o.OwnedLag = 10 * time.Second
	}
	if o.Rows == 0 {
		o.Rows = 2500
	}
	// A store that hangs fails its test by this, and not the whole run.
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	c.holds(&room{TB: t, ctx: ctx, store: open(t), options: o})
}

// room is what one test works in: an empty store, and short words for what
// tests do most. Its methods end the test when the store gives an error that
// was not asked for, so they belong to the test's own goroutine.
type room struct {
	testing.TB
	ctx     context.Context
	store   lease.Store
	options Options
}

func (r *room) create(rows ...lease.Lease) {
	r.Helper()
	if err := r.store.Create(r.ctx, rows...); err != nil {
		r.Fatalf("create: %v", err)
	}
}

func (r *room) swap(old, next lease.Lease) lease.Lease {
	r.Helper()
	row, err := r.store.Swap(r.ctx, old, next)
	if err != nil {
		r.Fatalf("swap of %q: %v", old.Key, err)
	}
	return row
}

func (r *room) delete(old lease.Lease) {
	r.Helper()
	if err := r.store.Delete(r.ctx, old); err != nil {
		r.Fatalf("delete of %q: %v", old.Key, err)
	}
}

func (r *room) read(keys ...string) []lease.Lease {
	r.Helper()
	rows, err := r.store.Read(r.ctx, keys...)
	if err != nil {
		r.Fatalf("read of %d keys: %v", len(keys), err)
	}
	return sorted(rows)
}

func (r *room) list() []lease.Lease {
	r.Helper()
	var rows []lease.Lease
	for l, err := range r.store.Leases(r.ctx) {
		if err != nil {
			r.Fatalf("leases: %v", err)
		}
		rows = append(rows, l)
	}
	return sorted(rows)
}

func (r *room) members() []lease.Member {
	r.Helper()
	rows, err := r.store.Members(r.ctx)
	if err != nil {
		r.Fatalf("members: %v", err)
	}
	slices.SortFunc(rows, func(a, b lease.Member) int {
		return compare(a.Incarnation, b.Incarnation)
	})
	return rows
}

func (r *room) swapMember(old, next lease.Member) lease.Member {
	r.Helper()
	row, err := r.store.SwapMember(r.ctx, old, next)
	if err != nil {
		r.Fatalf("swap of member %q: %v", old.Incarnation+next.Incarnation, err)
	}
	return row
}

func (r *room) join(incarnation string) lease.Member {
	r.Helper()
	return r.swapMember(lease.Member{}, lease.Member{Incarnation: incarnation, Worker: "worker of " + incarnation})
}

// isConflict ends the test unless err is [lease.ErrConflict].
func (r *room) isConflict(what string, err error) {
	r.Helper()
	if !errors.Is(err, lease.ErrConflict) {
		r.Fatalf("%s: got error %v, want %v", what, err, lease.ErrConflict)
	}
}

// is ends the test unless the stored row with want's key equals want.
func (r *room) is(want lease.Lease) {
	r.Helper()
	r.same("the stored row", r.read(want.Key), want)
}

// same ends the test unless got is want, in any order.
func (r *room) same(what string, got []lease.Lease, want ...lease.Lease) {
	r.Helper()
	if diff := diffLeases(got, want); diff != "" {
		r.Fatalf("%s: %s", what, diff)
	}
}

// sameMembers ends the test unless the member rows are want.
func (r *room) sameMembers(want ...lease.Member) {
	r.Helper()
	got := r.members()
	slices.SortFunc(want, func(a, b lease.Member) int { return compare(a.Incarnation, b.Incarnation) })
	if !slices.Equal(got, want) {
		r.Fatalf("members:\n got %+v\nwant %+v", got, want)
	}
}

// soon ends the test unless ok, asked again and again, says yes before Owned
// may lag no longer.
func (r *room) soon(ok func() (problem string)) {
	r.Helper()
	if problem := r.eventually(ok); problem != "" {
		r.Fatalf("after %v: %s", r.options.OwnedLag, problem)
	}
}

// eventually returns the last problem.
func (r *room) eventually(ok func() (problem string)) string {
	deadline := time.NewTimer(r.options.OwnedLag)
	defer deadline.Stop()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		problem := ok()
		if problem == "" {
			return ""
		}
		select {
		case <-again.C:
		case <-deadline.C:
			return problem
		}
	}
}
