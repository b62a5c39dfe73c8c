package worker

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/lease"
)

func TestAMomentIsNeverLaterThanCheckpointEveryAndTheSameForAll(t *testing.T) {
	begin := time.Now()
	m := &moments{every: 5 * time.Second, begin: begin, apart: 500 * time.Millisecond}
	for _, c := range []struct{ dirty, stored time.Duration }{
		{0, 5 * time.Second},
		{time.Nanosecond, 5 * time.Second},
		{499 * time.Millisecond, 5 * time.Second},
		{500 * time.Millisecond, 5500 * time.Millisecond},
		{501 * time.Millisecond, 5500 * time.Millisecond},
		{5010 * time.Millisecond, 10 * time.Second}, // ten milliseconds for the write: the period stays
		{time.Hour + 999*time.Millisecond, time.Hour + 5500*time.Millisecond},
	} {
		now := begin.Add(c.dirty)
		if got := now.Add(m.wait(now)).Sub(begin); got != c.stored {
			t.Errorf("what there is to store at %v is stored at %v, want %v", c.dirty, got, c.stored)
		}
	}
	m.apart = 0
	if got := m.wait(begin.Add(time.Millisecond)); got != 5*time.Second {
		t.Errorf("without moments a shard waits for %v, want %v", got, 5*time.Second)
	}
}

// grouping is a store that says whether it groups, and notes when it is asked to
// store a checkpoint.
type grouping struct {
	lease.Store
	groups bool

	mu    sync.Mutex
	saves int
	at    map[time.Time]bool
}

func (g *grouping) GroupsSwaps() bool { return g.groups }

func (g *grouping) Swap(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
	if old.Term == next.Term && old.Checkpoint.Position != next.Checkpoint.Position {
		g.mu.Lock()
		g.saves++
		g.at[time.Now()] = true
		g.mu.Unlock()
	}
	return g.Store.Swap(ctx, old, next)
}

func TestCheckpointsComeTogetherWhereTheStoreGroupsThem(t *testing.T) {
	for _, groups := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			b := setup(t, 20)
			store := &grouping{Store: b.store, groups: groups, at: map[time.Time]bool{}}
			b.store = store
			w := b.start(b.config("a"))
			time.Sleep(time.Minute) // until it holds all shards
			for range 600 {
				time.Sleep(97 * time.Millisecond)
				b.puts(1) // to one shard after the other
			}
			w.stop()
			store.mu.Lock()
			defer store.mu.Unlock()
			if together := store.saves > 2*len(store.at); together != groups {
				t.Errorf("groups %v: %d checkpoints at %d moments", groups, store.saves, len(store.at))
			}
		})
	}
}
