package leasetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/millrace/millrace/lease"
)

// racers is how many goroutines contend for a row, and turns how often each.
const racers, turns = 16, 25

var contention = []clause{
	{"OfRacingSwapsOneWins", func(r *room) {
		r.create(owned("contended", "nobody yet"))
		r.raceForLease(r.store)
	}},

	{"OfRacingMemberSwapsOneWins", func(r *room) {
		r.join("contended")
		r.raceForMember(r.store)
	}},

	{"OfRacingJoinsOneWins", func(r *room) {
		wins := make([]error, racers)
		var wg sync.WaitGroup
		for i := range racers {
			wg.Go(func() {
				_, wins[i] = r.store.SwapMember(r.ctx, nobody, lease.Member{Incarnation: "w", Worker: fmt.Sprint(i)})
			})
		}
		wg.Wait()
		winner := slices.Index(wins, nil)
		for i, err := range wins {
			if i != winner {
				r.isConflict("join that came late", err)
			}
		}
		if winner < 0 {
			r.Fatal("nobody joined")
		}
		r.sameMembers(lease.Member{Incarnation: "w", Worker: fmt.Sprint(winner), Version: 1})
	}},

	{"SwapsOfDifferentRowsNeverConflict", func(r *room) {
		rows := manyRows(racers)
		r.create(rows...)
		errs := make([]error, racers)
		var wg sync.WaitGroup
		for i := range racers {
			wg.Go(func() {
				for range turns {
					if rows[i], errs[i] = r.store.Swap(r.ctx, rows[i], rows[i]); errs[i] != nil {
						return
					}
				}
			})
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			r.Fatal(err)
		}
		r.same("leases", r.list(), rows...)
	}},

	{"ASwapAndADeleteNeverBothWin", func(r *room) {
		for i := range turns {
			row := plain(fmt.Sprint("row ", i))
			r.create(row)
			var swapped lease.Lease
			var swapErr, deleteErr error
			var wg sync.WaitGroup
			wg.Go(func() { swapped, swapErr = r.store.Swap(r.ctx, row, row) })
			wg.Go(func() { deleteErr = r.store.Delete(r.ctx, row) })
			wg.Wait()
			switch {
			case swapErr == nil:
				r.isConflict("delete beside a swap that won", deleteErr)
				r.is(swapped)
			case deleteErr == nil:
				r.isConflict("swap beside a delete that won", swapErr)
				r.same("read after the delete", r.read(row.Key))
			default:
				r.Fatalf("neither won: swap: %v, delete: %v", swapErr, deleteErr)
			}
		}
	}},
}

// raceForLease lets goroutines swap and read one row through the given
// handles, and checks that what they saw is one history.
func (r *room) raceForLease(stores ...lease.Store) {
	r.Helper()
	start := r.read("contended")[0]
	r.race(start.Counter, start.Owner,
		func(i int) (version int64, value string, swap func(value string) (int64, string, error), err error) {
			store := stores[i%len(stores)]
			rows, err := store.Read(r.ctx, "contended")
			if err != nil || len(rows) != 1 {
				return 0, "", nil, fmt.Errorf("read: %d rows, %w", len(rows), err)
			}
			return rows[0].Counter, rows[0].Owner, func(value string) (int64, string, error) {
				next := rows[0]
				next.Owner = value
				row, err := store.Swap(r.ctx, rows[0], next)
				return row.Counter, row.Owner, err
			}, nil
		})
}

// raceForMember does the same with a member row.
func (r *room) raceForMember(stores ...lease.Store) {
	r.Helper()
	start := r.members()[0]
	r.race(start.Version, start.Host,
		func(i int) (version int64, value string, swap func(value string) (int64, string, error), err error) {
			store := stores[i%len(stores)]
			rows, err := store.Members(r.ctx)
			if err != nil || len(rows) != 1 {
				return 0, "", nil, fmt.Errorf("members: %d rows, %w", len(rows), err)
			}
			return rows[0].Version, rows[0].Host, func(value string) (int64, string, error) {
				next := rows[0]
				next.Host = value
				row, err := store.SwapMember(r.ctx, rows[0], next)
				return row.Version, row.Host, err
			}, nil
		})
}

// race lets many goroutines read a row and swap it, again and again, and
// checks the history. read returns what racer i saw, and how to replace that. On a
// busy machine the answer to a swap may be lost now and then, where there is a network.
func (r *room) race(first int64, value string, read func(i int) (int64, string, func(string) (int64, string, error), error)) {
	r.Helper()
	var (
		time   timeline
		wg     sync.WaitGroup
		events = make([][]event, racers)
		errs   = make([]error, racers) // of reads
		lost   = make([]error, racers) // the last of swaps, of each racer
	)
	for i := range racers {
		wg.Go(func() {
			for turn := range turns {
				e := event{began: time.tick()}
				version, seen, swap, err := read(i)
				if err != nil {
					errs[i] = err
					return
				}
				e.ended, e.version, e.value = time.tick(), version, seen
				events[i] = append(events[i], e)

				e = event{began: time.tick(), before: version}
				value := fmt.Sprintf("racer %d, turn %d", i, turn)
				e.version, e.value, err = swap(value)
				e.ended, e.wrote = time.tick(), err == nil
				if err != nil && !errors.Is(err, lease.ErrConflict) {
					e.value, e.silent, lost[i] = value, true, err
				}
				events[i] = append(events[i], e)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		r.Fatal(err)
	}
	all := slices.Concat(events...)
	silent := 0
	for _, e := range all {
		if e.silent {
			silent++
		}
	}
	if silent > racers*turns/10 {
		r.Fatalf("%d of %d swaps had no answer: %v", silent, racers*turns, errors.Join(lost...))
	}
	if err := checkHistory(first, value, all); err != nil {
		r.Fatalf("the row is not linearizable: %v", err)
	}
	if !slices.ContainsFunc(all, func(e event) bool { return e.wrote }) {
		r.Fatal("nobody ever won")
	}
}
