package lease_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/lease/leasetest"
	"github.com/millrace/millrace/stream"
)

func TestTheMemoryStoreKeepsTheContract(t *testing.T) {
	leasetest.Run(t,
		func(testing.TB) lease.Store { return lease.NewMemory() },
		leasetest.Options{
			Second: func(_ testing.TB, store lease.Store) lease.Store { return store },
		},
	)
}

func TestTheMemoryStoreAnswersInTheOrderOfTheKeys(t *testing.T) {
	ctx, store := t.Context(), lease.NewMemory()
	for _, key := range []string{"c", "a", "d", "b"} {
		if err := store.Create(ctx, lease.Lease{Key: key, Owner: "w"}); err != nil {
			t.Fatal(err)
		}
		if _, err := store.SwapMember(ctx, lease.Member{}, lease.Member{Incarnation: key}); err != nil {
			t.Fatal(err)
		}
	}
	answers := map[string]string{}
	for l, err := range store.Leases(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		answers["leases"] += l.Key
	}
	owned, _ := store.Owned(ctx, "w")
	read, _ := store.Read(ctx, "d", "b", "c", "a")
	for i := range owned {
		answers["owned"] += owned[i].Key
		answers["read"] += read[i].Key
	}
	members, _ := store.Members(ctx)
	for _, m := range members {
		answers["members"] += m.Incarnation
	}
	for _, list := range []string{"leases", "owned", "read", "members"} {
		if answers[list] != "abcd" {
			t.Errorf("%s: got order %q, want abcd", list, answers[list])
		}
	}
}

func TestTheMemoryStoreWakesEveryWatcherOfABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := lease.NewMemory()
		ctx, cancel := context.WithCancelCause(t.Context())
		stopped := errors.New("stopped")
		var woken [3]int
		for i := range woken {
			go func() {
				if err := store.Changes(ctx, func() { woken[i]++ }); !errors.Is(err, stopped) {
					t.Errorf("watcher %d ended with %v, want the cause of its context", i, err)
				}
			}()
		}
		synctest.Wait()
		for _, key := range []string{"a", "b"} {
			if err := store.Create(ctx, lease.Lease{Key: key}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if woken != [3]int{2, 2, 2} {
			t.Errorf("woken %v times, want twice each", woken)
		}

		// A conflict changes nothing, a beat or a checkpoint nobody's business.
		if _, err := store.Swap(ctx, lease.Lease{Key: "c"}, lease.Lease{}); !errors.Is(err, lease.ErrConflict) {
			t.Errorf("swap of a missing row: %v", err)
		}
		saved := lease.Lease{Key: "a", Checkpoint: checkpoint.State{Position: stream.TrimHorizon}}
		if _, err := store.Swap(ctx, lease.Lease{Key: "a"}, saved); err != nil {
			t.Error(err)
		}
		member, err := store.SwapMember(ctx, lease.Member{}, lease.Member{Incarnation: "w#1"})
		if err != nil {
			t.Error(err)
		}
		synctest.Wait()
		beaten := member
		beaten.Beats++
		if _, err := store.SwapMember(ctx, member, beaten); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if woken != [3]int{3, 3, 3} {
			t.Errorf("woken %v times after a join, a checkpoint and a beat, want three times each", woken)
		}
		cancel(stopped)
		synctest.Wait()
	})
}

func TestASlowWatcherOfTheMemoryStoreHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := lease.NewMemory()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go store.Changes(ctx, func() { time.Sleep(time.Hour) })
		synctest.Wait()
		start := time.Now()
		for i := range 100 {
			if err := store.Create(ctx, lease.Lease{Key: fmt.Sprint(i)}); err != nil {
				t.Fatal(err)
			}
		}
		if waited := time.Since(start); waited != 0 {
			t.Errorf("writing took %v beside a slow watcher", waited)
		}
		cancel()
		time.Sleep(2 * time.Hour) // lets the watcher end inside the bubble
	})
}

func ExampleMemory() {
	ctx, store := context.Background(), lease.NewMemory()
	store.Create(ctx, lease.Lease{Key: "shardId-0", Counter: 100})

	rows, _ := store.Read(ctx, "shardId-0")
	mine, yours := rows[0], rows[0]
	mine.Owner, yours.Owner = "me", "you"
	won, _ := store.Swap(ctx, rows[0], mine)
	seen, err := store.Swap(ctx, rows[0], yours)

	fmt.Println(won.Owner, won.Counter)
	fmt.Println(seen.Owner, errors.Is(err, lease.ErrConflict))
	// Output:
	// me 101
	// me true
}
