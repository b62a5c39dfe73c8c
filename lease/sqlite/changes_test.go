package sqlite

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/lease"
)

func TestChangesHearsOfOtherHandlesAndKeepsQuietOtherwise(t *testing.T) {
	path := file(t)
	s, other := open(t, path, Config{Application: "app", PollInterval: time.Millisecond}), open(t, path, Config{Application: "other"})
	stopped := errors.New("stopped")
	ctx, cancel := context.WithCancelCause(t.Context())
	woken := make(chan int, 100)
	var wg sync.WaitGroup
	for i := range 2 * readers { // more watchers than readers: they have connections of their own
		wg.Go(func() {
			if err := s.Changes(ctx, func() { woken <- i }); !errors.Is(err, stopped) {
				t.Errorf("watcher %d ended with %v, want the cause of its context", i, err)
			}
		})
	}
	defer wg.Wait()
	defer cancel(stopped)
	heard := func() {
		t.Helper()
		all := map[int]bool{}
		for len(all) < 2*readers {
			select {
			case i := <-woken:
				all[i] = true
			case <-time.After(10 * time.Second):
				t.Fatalf("only %d watchers were woken", len(all))
			}
		}
	}
	row := lease.Lease{Key: "a"}
	if err := other.Create(ctx, row); err != nil {
		t.Fatal(err)
	}
	// Watchers that began to look after the first write hear of the next.
	quiet := time.NewTimer(300 * time.Millisecond)
	for waiting := true; waiting; {
		select {
		case <-woken:
		case <-quiet.C:
			waiting = false
		}
	}
	var err error
	for range 3 {
		if row, err = other.Swap(ctx, row, row); err != nil {
			t.Fatal(err)
		}
		heard()
	}

	// Reads and refused writes are no changes.
	if _, err := other.Read(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if err := other.Delete(ctx, lease.Lease{Key: "a"}); !errors.Is(err, lease.ErrConflict) {
		t.Fatalf("delete with another counter: %v", err)
	}
	select {
	case <-woken:
		t.Error("somebody was woken by a read or a refused write")
	case <-time.After(100 * time.Millisecond):
	}
}
