package leasetest

import (
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/millrace/millrace/lease"
)

var reading = []clause{
	{"ReadOfNoKeysReturnsNothing", func(r *room) {
		r.create(plain("a"))
		r.same("read", r.read())
	}},

	{"ReadLeavesOutWhatIsMissing", func(r *room) {
		r.create(full("a"), full("c"))
		r.same("read", r.read("a", "b", "c", "A"), full("a"), full("c"))
		r.same("read", r.read("b"))
	}},

	{"ReadReturnsARowOnceHoweverOftenItIsAskedFor", func(r *room) {
		r.create(full("a"), full("b"))
		r.same("read", r.read("a", "b", "a", "a"), full("a"), full("b"))
	}},

	{"ReadOfManyKeysReturnsAllOfThem", func(r *room) {
		var keys []string
		var rows []lease.Lease
		for i := range r.options.Rows {
			rows = append(rows, owned(fmt.Sprintf("k%06d", i), fmt.Sprint("w", i%7)))
			keys = append(keys, rows[i].Key, fmt.Sprint("missing", i))
		}
		r.create(rows...)
		r.same("read", r.read(keys...), rows...)
	}},

	{"ReadSeesEveryWriteAtOnce", func(r *room) {
		row := plain("a")
		r.create(row)
		r.is(row)
		for i := range 50 {
			next := row
			next.Owner = fmt.Sprint("w", i)
			row = r.swap(row, next)
			r.is(row)
		}
		r.delete(row)
		r.same("read after the delete", r.read("a"))
	}},
}

var listing = []clause{
	{"LeasesOfAnEmptyStoreYieldsNothing", func(r *room) {
		r.same("leases", r.list())
	}},

	{"LeasesYieldsEveryRowOnce", func(r *room) {
		rows := manyRows(r.options.Rows)
		r.create(rows...)
		r.same("leases", r.list(), rows...)
	}},

	{"LeasesCanBeLoopedOverAgain", func(r *room) {
		r.create(full("a"), full("b"))
		all := r.store.Leases(r.ctx)
		for range 2 {
			r.same("leases", collect(r, all), full("a"), full("b"))
		}
		r.create(full("c"))
		r.same("leases", collect(r, all), full("a"), full("b"), full("c"))
	}},

	{"LeasesStopsWithItsLoop", func(r *room) {
		rows := manyRows(r.options.Rows)
		r.create(rows...)
		for _, after := range []int{1, 2, len(rows) - 1} {
			n := 0
			for _, err := range r.store.Leases(r.ctx) {
				if err != nil {
					r.Fatalf("leases: %v", err)
				}
				if n++; n == after {
					break
				}
			}
		}
		// And leaves nothing behind that would be in the way of a write.
		next := rows[0]
		next.Owner = "w"
		r.is(r.swap(rows[0], next))
	}},

	{"ARowCanBeWrittenWhileTheLoopStandsAtIt", func(r *room) {
		rows := manyRows(100)
		r.create(rows...)
		seen := 0
		for l, err := range r.store.Leases(r.ctx) {
			if err != nil {
				r.Fatalf("leases: %v", err)
			}
			r.swap(l, l)
			seen++
		}
		if seen != len(rows) {
			r.Fatalf("got %d rows, want %d", seen, len(rows))
		}
	}},

	{"LeasesYieldsWhatExistsAllTheWhile", func(r *room) {
		rows := manyRows(r.options.Rows)
		r.create(rows...)
		stop, failed := make(chan struct{}), make(chan error, 1)
		var wg sync.WaitGroup
		wg.Go(func() { failed <- churn(r, slices.Clone(rows), stop) })
		var problem string
		for range 5 {
			count := map[string]int{}
			for l, err := range r.store.Leases(r.ctx) {
				if err != nil {
					problem = fmt.Sprintf("leases: %v", err)
					break
				}
				count[l.Key]++
			}
			for _, l := range rows {
				if count[l.Key] != 1 {
					problem = fmt.Sprintf("row %q was yielded %d times, want once", l.Key, count[l.Key])
				}
			}
		}
		close(stop)
		wg.Wait()
		if err := <-failed; err != nil {
			r.Fatalf("writing meanwhile: %v", err)
		}
		if problem != "" {
			r.Fatal(problem)
		}
	}},
}

// manyRows returns n rows, most of them plain.
func manyRows(n int) []lease.Lease {
	rows := make([]lease.Lease, n)
	for i := range rows {
		rows[i] = plain(fmt.Sprintf("shard %06d", i))
		if i%10 == 0 {
			rows[i] = full(rows[i].Key)
		}
	}
	return rows
}

// churn swaps every tenth row, and creates and deletes others among them,
// until it is told to stop.
func churn(r *room, rows []lease.Lease, stop <-chan struct{}) error {
	for i := 0; ; i = (i + 10) % len(rows) {
		select {
		case <-stop:
			return nil
		default:
		}
		row, err := r.store.Swap(r.ctx, rows[i], rows[i])
		if err != nil {
			return err
		}
		rows[i] = row
		passing := plain(rows[i].Key + " passing")
		if err := r.store.Create(r.ctx, passing); err != nil {
			return err
		}
		if err := r.store.Delete(r.ctx, passing); err != nil {
			return err
		}
	}
}

func collect(r *room, all iter.Seq2[lease.Lease, error]) (rows []lease.Lease) {
	for l, err := range all {
		if err != nil {
			r.Fatalf("leases: %v", err)
		}
		rows = append(rows, l)
	}
	return rows
}
