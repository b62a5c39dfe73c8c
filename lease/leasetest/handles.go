package leasetest

import (
	"context"
	"errors"
	"sync"

	"github.com/millrace/millrace/lease"
)

// second returns another handle on the room's backend, or skips the test.
func (r *room) second() lease.Store {
	r.Helper()
	if r.options.Second == nil {
		r.Skip("the backend has one handle")
	}
	return r.options.Second(r, r.store)
}

// through returns the same room with another handle.
func (r *room) through(store lease.Store) *room {
	other := *r
	other.store = store
	return &other
}

var handles = []clause{
	{"TwoHandlesSeeEachOther", func(r *room) {
		other := r.through(r.second())
		row := owned("a", "w")
		r.create(row)
		other.is(row)
		next := row
		next.Owner = "v"
		row = other.swap(row, next)
		r.is(row)
		r.owns("v", row)
		got, err := r.store.Swap(r.ctx, owned("a", "w"), row)
		r.isConflict("swap behind the other handle's back", err)
		r.same("the row with the conflict", []lease.Lease{got}, row)
		r.delete(row)
		other.same("leases", other.list())

		member := r.join("w/1")
		other.sameMembers(member)
		member = other.swapMember(member, fullMember("w/1"))
		r.sameMembers(member)
	}},

	{"TwoHandlesRaceForARow", func(r *room) {
		other := r.second()
		r.create(owned("contended", "nobody yet"))
		r.raceForLease(r.store, other)
	}},

	{"TwoHandlesRaceForAMember", func(r *room) {
		other := r.second()
		r.join("contended")
		r.raceForMember(r.store, other)
	}},

	{"ApplicationsDoNotSeeEachOther", func(r *room) {
		if r.options.Other == nil {
			r.Skip("the backend holds one application")
		}
		other := r.through(r.options.Other(r, r.store))
		mine, theirs := full("a"), owned("a", full("a").Owner)
		r.create(mine)
		other.same("leases of another application", other.list())
		other.same("read of another application", other.read("a"))
		other.create(theirs)
		theirs = other.swap(theirs, theirs)
		r.is(mine)
		r.owns(mine.Owner, mine)
		other.owns(mine.Owner, theirs)

		member := r.join("w/1")
		other.sameMembers()
		other.swapMember(other.join("w/1"), nobody)
		other.delete(theirs)
		r.same("leases", r.list(), mine)
		r.sameMembers(member)
	}},

	{"RowsOutliveARestart", func(r *room) {
		if r.options.Reopen == nil {
			r.Skip("the backend lives as long as its process")
		}
		var rows []lease.Lease
		for _, v := range variants() {
			rows = append(rows, v.row)
		}
		r.create(rows...)
		for i := range rows {
			rows[i] = r.swap(rows[i], rows[i])
		}
		member := r.swapMember(r.join("w/1"), fullMember("w/1"))
		r = r.through(r.options.Reopen(r, r.store))
		r.same("leases after the restart", r.list(), rows...)
		r.sameMembers(member)
		if got := r.swap(rows[0], rows[0]); got.Counter != rows[0].Counter+1 {
			r.Fatalf("counter after the restart: got %d, want one more than %d", got.Counter, rows[0].Counter)
		}
	}},
}

var notification = []clause{
	{"ChangesWakesAfterEveryKindOfWrite", func(r *room) {
		notifier, ok := r.store.(lease.Notifier)
		if !ok {
			r.Skip("the store is no Notifier")
		}
		writer := r.through(r.second())
		ctx, cancel := context.WithCancel(r.ctx)
		woken, ended := make(chan struct{}, 1), make(chan error, 1)
		var wg sync.WaitGroup
		wg.Go(func() {
			ended <- notifier.Changes(ctx, func() {
				select {
				case woken <- struct{}{}:
				default:
				}
			})
		})
		defer wg.Wait()
		defer cancel()

		row, member := plain("a"), lease.Member{Incarnation: "w/1"}
		writes := []func(){
			func() { writer.create(row) },
			func() { row = writer.swap(row, full("a")) },
			func() { writer.delete(row) },
			func() { member = writer.swapMember(nobody, member) },
			func() {
				bumped := member
				bumped.Revision++
				member = writer.swapMember(member, bumped)
			},
			func() { writer.swapMember(member, nobody) },
		}
		// The first write may come before Changes has begun to look.
		writer.create(plain("warm-up"))
		warm := plain("warm-up")
		r.soon(func() string {
			next := warm
			next.Owner += "w" // changes hands: a mere checkpoint may wake nobody
			warm = writer.swap(warm, next)
			select {
			case <-woken:
				return ""
			default:
				return "nobody was woken"
			}
		})
		for i, write := range writes {
			write()
			select {
			case <-woken:
			case <-r.ctx.Done():
				r.Fatalf("write %d: nobody was woken", i)
			}
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			r.Fatalf("changes ended with %v, want an error that is %v", err, context.Canceled)
		}
	}},
}
