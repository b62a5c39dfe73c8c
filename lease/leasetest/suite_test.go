package leasetest

import (
	"context"
	"flag"
	"slices"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/millrace/millrace/lease"
)

func TestMain(m *testing.M) {
	// Walks fail on purpose here: nobody needs their shortest form, or a file.
	flag.Set("rapid.nofailfile", "true")
	flag.Set("rapid.shrinktime", "100ms")
	goleak.VerifyTestMain(m)
}

func TestAnUnbrokenStorePasses(t *testing.T) {
	Run(t, openUnbroken, unbrokenOptions)
}

func TestTheHistoryOfARowIsJudged(t *testing.T) {
	read := func(began, ended, version int64, value string) event {
		return event{began: began, ended: ended, version: version, value: value}
	}
	won := func(began, ended, version int64, value string) event {
		return event{began: began, ended: ended, wrote: true, before: version - 1, version: version, value: value}
	}
	lost := func(began, ended, before, version int64, value string) event {
		return event{began: began, ended: ended, before: before, version: version, value: value}
	}
	silent := func(began, before int64, value string) event {
		return event{began: began, ended: 99, silent: true, before: before, value: value}
	}
	for _, c := range []struct {
		name   string
		right  bool
		events []event
	}{
		{"nothing happened", true, nil},
		{"one after the other", true, []event{read(1, 2, 5, "first"), won(3, 4, 6, "a"), read(5, 6, 6, "a"), lost(7, 8, 5, 6, "a")}},
		{"an overlapping read sees the old", true, []event{won(1, 4, 6, "a"), read(2, 3, 5, "first")}},
		{"an overlapping read sees the new", true, []event{won(1, 4, 6, "a"), read(2, 3, 6, "a")}},
		{"overlapping writes in either order", true, []event{won(1, 9, 7, "b"), won(2, 8, 6, "a")}},
		{"two winners of a version", false, []event{won(1, 2, 6, "a"), won(3, 4, 6, "b")}},
		{"a version that nobody won", false, []event{won(1, 2, 7, "a")}},
		{"a swap that skips", false, []event{{began: 1, ended: 2, wrote: true, before: 5, version: 7, value: "a"}}},
		{"a value that nobody wrote", false, []event{won(1, 2, 6, "a"), read(3, 4, 6, "b")}},
		{"a version from nowhere", false, []event{read(1, 2, 9, "z")}},
		{"a stale read", false, []event{won(1, 2, 6, "a"), read(3, 4, 5, "first")}},
		{"a read that goes back", false, []event{won(1, 9, 6, "a"), read(2, 3, 6, "a"), read(4, 5, 5, "first")}},
		{"a read before the write", false, []event{read(1, 2, 6, "a"), won(3, 4, 6, "a")}},
		{"a stale conflict", false, []event{won(1, 2, 6, "a"), won(3, 4, 7, "b"), lost(5, 6, 5, 6, "a")}},
		{"a conflict with nothing", false, []event{lost(1, 2, 5, 5, "first")}},
		{"without an answer, and it took place", true, []event{silent(1, 5, "a"), read(3, 4, 5, "first"), read(5, 6, 6, "a")}},
		{"without an answer, and it never took place", true, []event{silent(1, 5, "a"), read(3, 4, 5, "first"), won(5, 6, 6, "b")}},
		{"without an answer, and nobody saw it", true, []event{silent(1, 5, "a"), silent(2, 5, "b"), won(5, 6, 7, "c"), read(7, 8, 7, "c")}},
		{"without an answer, and it was lost against", true, []event{silent(1, 5, "a"), lost(2, 5, 5, 6, "a")}},
		{"without an answer, and it took place twice", false, []event{silent(1, 5, "a"), read(3, 4, 7, "a")}},
		{"without an answer, and seen before it was sent", false, []event{read(1, 2, 6, "a"), silent(3, 5, "a")}},
		{"without an answer, and undone", false, []event{silent(1, 5, "a"), read(3, 4, 6, "a"), won(5, 6, 6, "b")}},
		{"without an answer, and gone", false, []event{silent(1, 5, "a"), read(3, 4, 6, "a"), read(5, 6, 5, "first")}},
	} {
		if err := checkHistory(5, "first", c.events); (err == nil) != c.right {
			t.Errorf("%s: got error %v, want an error: %v", c.name, err, !c.right)
		}
	}
}

// forgetful is a store of which some answers to swaps are lost, after they took
// place or before.
type forgetful struct {
	lease.Store
	swaps atomic.Int64
	every int64
}

func (f *forgetful) Swap(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
	n := f.swaps.Add(1)
	if n%(2*f.every) == 0 {
		return lease.Lease{}, ErrFault
	}
	row, err := f.Store.Swap(ctx, old, next)
	if n%f.every == 0 {
		return lease.Lease{}, ErrFault
	}
	return row, err
}

func TestRacesMayLoseAnAnswerNowAndThen(t *testing.T) {
	sentence := "OfRacingSwapsOneWins"
	race := contention[slices.IndexFunc(contention, func(c clause) bool { return c.sentence == sentence })]
	for _, c := range []struct {
		every  int64
		passes bool
	}{{15, true}, {3, false}} {
		open := func(testing.TB) lease.Store { return &forgetful{Store: lease.NewMemory(), every: c.every} }
		if failed, message := try(t, race, open, Options{}); failed == c.passes {
			t.Errorf("one answer of %d is lost: the race passes: %v, want %v: %s", c.every, !failed, c.passes, message)
		}
	}
}
