package leasetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/lease"
)

func TestAFaultyStoreWithoutFaultsKeepsTheContract(t *testing.T) {
	Run(t, func(t testing.TB) lease.Store {
		f := NewFaulty(lease.NewMemory(), Faults{})
		t.Cleanup(f.Wait)
		return f
	}, Options{Second: func(_ testing.TB, store lease.Store) lease.Store { return store }})
}

// bubble runs a test in virtual time with a memory store and a faulty view of it.
func bubble(t *testing.T, faults Faults, test func(ctx context.Context, store *lease.Memory, f *Faulty)) {
	synctest.Test(t, func(t *testing.T) {
		store := lease.NewMemory()
		f := NewFaulty(store, faults)
		defer f.Wait()
		test(t.Context(), store, f)
	})
}

func exists(store lease.Store, key string) bool {
	rows, _ := store.Read(context.Background(), key)
	return len(rows) == 1
}

func TestLatencyHoldsUpRequestAndAnswer(t *testing.T) {
	bubble(t, Faults{Latency: time.Second}, func(ctx context.Context, _ *lease.Memory, f *Faulty) {
		var sum time.Duration
		const calls = 200
		for range calls {
			start := time.Now()
			if _, err := f.Members(ctx); err != nil {
				t.Fatal(err)
			}
			took := time.Since(start)
			if took > 2*time.Second {
				t.Fatalf("a call took %v, more than both ways at their longest", took)
			}
			sum += took
		}
		if mean := sum / calls; mean < 900*time.Millisecond || mean > 1100*time.Millisecond {
			t.Errorf("a call took %v in the mean, want about a second", mean)
		}
	})
}

func TestACallThatFailsBeforeTheStoreChangesNothing(t *testing.T) {
	bubble(t, Faults{FailBefore: 1}, func(ctx context.Context, store *lease.Memory, f *Faulty) {
		if err := f.Create(ctx, plain("a")); !errors.Is(err, ErrFault) {
			t.Errorf("got error %v, want %v", err, ErrFault)
		}
		if exists(store, "a") {
			t.Error("the row was created")
		}
	})
}

func TestACallWhoseAnswerIsLostTakesPlace(t *testing.T) {
	bubble(t, Faults{LoseAnswer: 1}, func(ctx context.Context, store *lease.Memory, f *Faulty) {
		if err := f.Create(ctx, plain("a")); !errors.Is(err, ErrFault) {
			t.Errorf("got error %v, want %v", err, ErrFault)
		}
		if !exists(store, "a") {
			t.Error("the row was not created")
		}
	})
}

func TestARepeatedSwapConflictsWithItself(t *testing.T) {
	bubble(t, Faults{Repeat: 1}, func(ctx context.Context, store *lease.Memory, f *Faulty) {
		row := plain("a")
		if err := store.Create(ctx, row); err != nil {
			t.Fatal(err)
		}
		next := row
		next.Owner = "w"
		got, err := f.Swap(ctx, row, next)
		if !errors.Is(err, lease.ErrConflict) || got.Owner != "w" || got.Counter != row.Counter+1 {
			t.Errorf("got owner %q at counter %d and error %v, want the caller's own write and a conflict", got.Owner, got.Counter, err)
		}
	})
}

func TestALateWriteArrivesWhenItsSenderIsGone(t *testing.T) {
	bubble(t, Faults{Late: 1, LateBy: time.Hour}, func(ctx context.Context, store *lease.Memory, f *Faulty) {
		ctx, cancel := context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
		if err := f.Create(ctx, plain("a")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got error %v, want %v", err, context.DeadlineExceeded)
		}
		if exists(store, "a") {
			t.Error("the row was created at once")
		}
		f.Wait()
		if !exists(store, "a") {
			t.Error("the row was never created")
		}
	})
}

func TestALinkCutsOneWayOrBoth(t *testing.T) {
	for _, c := range []struct {
		link      Link
		err       error
		takes     time.Duration
		takesHold bool
	}{
		{Up, nil, 0, true},
		{Refused, ErrFault, 0, false},
		{RequestsLost, context.DeadlineExceeded, time.Minute, false},
		{AnswersLost, context.DeadlineExceeded, time.Minute, true},
	} {
		bubble(t, Faults{}, func(ctx context.Context, store *lease.Memory, f *Faulty) {
			f.SetLink(c.link)
			ctx, cancel := context.WithTimeout(ctx, time.Minute)
			defer cancel()
			start := time.Now()
			err := f.Create(ctx, plain("a"))
			if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) || time.Since(start) != c.takes {
				t.Errorf("link %d: got error %v after %v, want %v after %v", c.link, err, time.Since(start), c.err, c.takes)
			}
			if exists(store, "a") != c.takesHold {
				t.Errorf("link %d: the row exists: %v, want %v", c.link, !c.takesHold, c.takesHold)
			}
			f.SetLink(Up)
			if err := f.Create(context.WithoutCancel(ctx), plain("b")); err != nil {
				t.Errorf("link %d: after it healed: %v", c.link, err)
			}
		})
	}
}

func TestAListingWhoseAnswerIsLostBreaksOffHalfWay(t *testing.T) {
	bubble(t, Faults{LoseAnswer: 1}, func(ctx context.Context, store *lease.Memory, f *Faulty) {
		if err := store.Create(ctx, manyRows(10)...); err != nil {
			t.Fatal(err)
		}
		n := 0
		var last error
		for _, last = range f.Leases(ctx) {
			n++
		}
		if n != 6 || !errors.Is(last, ErrFault) {
			t.Errorf("got %d pairs and error %v, want half of 10 rows and then %v", n, last, ErrFault)
		}
	})
}

func TestOwnedLagsAndCatchesUp(t *testing.T) {
	bubble(t, Faults{OwnedLag: time.Minute}, func(ctx context.Context, store *lease.Memory, f *Faulty) {
		const workers = 20
		owning := func() (n int) {
			for i := range workers {
				rows, err := f.Owned(ctx, fmt.Sprint("w", i))
				if err != nil {
					t.Fatal(err)
				}
				n += len(rows)
			}
			return n
		}
		if owning() != 0 {
			t.Fatal("something is owned in an empty store")
		}
		for i := range workers {
			if err := store.Create(ctx, owned(fmt.Sprint(i), fmt.Sprint("w", i))); err != nil {
				t.Fatal(err)
			}
		}
		if n := owning(); n == 0 || n == workers {
			t.Errorf("%d of %d answers are up to date, want some and not all", n, workers)
		}
		time.Sleep(time.Minute)
		if n := owning(); n != workers {
			t.Errorf("%d of %d answers are up to date when none may be stale any more", n, workers)
		}
	})
}

func TestWhatACallDrawsDependsOnItselfAlone(t *testing.T) {
	took := func(others int) (took time.Duration) {
		bubble(t, Faults{Seed: 1, Latency: time.Second}, func(ctx context.Context, _ *lease.Memory, f *Faulty) {
			for i := range others {
				if _, err := f.Read(ctx, fmt.Sprint("other", i)); err != nil {
					t.Fatal(err)
				}
			}
			start := time.Now()
			if _, err := f.Read(ctx, "a"); err != nil {
				t.Fatal(err)
			}
			took = time.Since(start)
		})
		return took
	}
	if first, second := took(0), took(5); first != second {
		t.Errorf("a call takes %v, and %v after others", first, second)
	}
}

func TestCallsOfOneInstantThatAskTheSameDrawTheSame(t *testing.T) {
	bubble(t, Faults{Seed: 1, Latency: time.Second}, func(ctx context.Context, _ *lease.Memory, f *Faulty) {
		start := time.Now()
		took := make(chan time.Duration, 2)
		for range 2 {
			go func() {
				_, _ = f.Read(ctx, "a")
				took <- time.Since(start)
			}()
		}
		if a, b := <-took, <-took; a != b {
			t.Errorf("two equal calls take %v and %v", a, b)
		}
		one := func() time.Duration {
			start := time.Now()
			_, _ = f.Read(ctx, "a")
			return time.Since(start)
		}
		if a, b := one(), one(); a == b {
			t.Errorf("one call after the other takes the same %v", a)
		}
	})
}

func TestNotificationsPassUnlessTheyMust(t *testing.T) {
	for _, c := range []struct {
		faults Faults
		link   Link
		woken  bool
	}{
		{Faults{}, Up, true}, {Faults{Silent: true}, Up, false}, {Faults{}, AnswersLost, false}, {Faults{}, Refused, false},
	} {
		bubble(t, c.faults, func(ctx context.Context, store *lease.Memory, f *Faulty) {
			f.SetLink(c.link)
			ctx, cancel := context.WithCancel(ctx)
			woken, ended := false, make(chan error)
			go func() { ended <- f.Changes(ctx, func() { woken = true }) }()
			synctest.Wait()
			if err := store.Create(ctx, plain("a")); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if woken != c.woken {
				t.Errorf("%+v, link %d: woken: %v, want %v", c.faults, c.link, woken, c.woken)
			}
			cancel()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("changes ended with %v", err)
			}
		})
	}
}

func TestASeedDecidesTheCourse(t *testing.T) {
	course := func(seed uint64) string {
		var log strings.Builder
		bubble(t, Faults{Seed: seed, Latency: time.Second, FailBefore: 0.1, LoseAnswer: 0.1, Repeat: 0.1, Late: 0.1, LateBy: time.Minute},
			func(ctx context.Context, _ *lease.Memory, f *Faulty) {
				start := time.Now()
				for i := range 50 {
					err := f.Create(ctx, plain(fmt.Sprint(i)))
					fmt.Fprintln(&log, i, time.Since(start), err)
				}
				reads, writes := f.Calls()
				fmt.Fprintln(&log, reads, writes)
			})
		return log.String()
	}
	if first, again := course(1), course(1); first != again {
		t.Error("two runs with one seed differ")
	}
	if course(1) == course(2) {
		t.Error("two seeds take the same course")
	}
}
