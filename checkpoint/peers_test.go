package checkpoint

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/stream"
)

// These tests name what other consumers of sharded streams have been seen to do
// wrong, and show that it is not done here.

// KCL's prepareCheckpoint with data forgets the sub-sequence number, and harlow's
// checkpoint after the first record of an aggregate skips all others of it.
func TestACheckpointKeepsItsPlaceInsideAnAggregate(t *testing.T) {
	s := &savings{}
	tr := NewTracker(stream.TrimHorizon)
	k := NewKeeper(s, tr, State{Position: stream.TrimHorizon})
	third := seq(7).WithSub(3)
	tr.Deliver(seq(7).WithSub(9))
	p, err := k.Prepare(t.Context(), third, []byte("note"))
	if err != nil {
		t.Fatal(err)
	}
	if got := s.states[0].Pending.Position; got != stream.After(third) {
		t.Errorf("prepared at %v, want %v", got, stream.After(third))
	}
	if err := p.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := s.states[1].Position; got != stream.After(third) {
		t.Errorf("stored %v, want %v", got, stream.After(third))
	}
}

// The PrepareCheckpoint of vmware-go-kcl-v2 returns something whose commit
// dereferences nil.
func TestWhatCannotBePreparedIsAnError(t *testing.T) {
	s := &savings{}
	k, _ := keeper(s, 0)
	if p, err := k.Prepare(t.Context(), seq(1), nil); !errors.Is(err, ErrOutOfRange) || p != nil {
		t.Errorf("before any delivery: %v, %v", p, err)
	}
	k, _ = keeper(s, 1)
	s.err = errors.New("store away")
	if p, err := k.Prepare(t.Context(), seq(1), nil); !errors.Is(err, s.err) || p != nil {
		t.Errorf("when the store is away: %v, %v", p, err)
	}
}

// The stores of harlow/kinesis-consumer write from a ticker and from a flush at
// one time, so that the older checkpoint can end last; vmware-go-kcl-v2 does so
// with its renewals.
func TestAnOlderCheckpointNeverEndsLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &savings{took: time.Second}
		k, tr := keeper(s, 3)
		var calls sync.WaitGroup
		calls.Go(func() { // the automatic one, under way for long
			tr.Done(0)
			if err := k.Save(t.Context()); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		s.mu.Lock()
		s.took = 0 // the next write would overtake it
		s.mu.Unlock()
		if err := k.CheckpointAt(t.Context(), seq(3)); err != nil {
			t.Fatal(err)
		}
		calls.Wait()
		if got := s.positions(); len(got) != 2 || got[1] != stream.After(seq(3)) {
			t.Errorf("stored %v", got)
		}
	})
}
