package lease

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/stream"
)

// These tests name what other consumers of sharded streams have been seen to do
// wrong, and show that it is not done here.

// vmware-go-kcl-v2 deletes the lease row, and with it the checkpoint, of every
// shard that a listing does not name, be the listing cut short or not.
func TestAListingThatBreaksOffIsNotActedOn(t *testing.T) {
	in(func(t *testing.T) {
		s := setStage(t)
		finished := NewLease("s", "s:5", stream.Shard{ID: "a"}, stream.ShardEnd)
		if err := s.store.Create(t.Context(), finished); err != nil {
			t.Fatal(err)
		}
		half := listed{name: "s", shards: func() ([]stream.Shard, error) {
			return []stream.Shard{{ID: "b", Hash: stream.FullRange}}, errCut
		}}
		s.leader.cfg.Streams = []stream.Stream{half}
		s.leader.listers = newListers(s.leader.Coordinator)
		if err := s.leader.pass(t.Context()); err != nil {
			t.Fatal(err)
		}
		row(t, s.store, finished.Key) // or the test fails
		if rows, err := s.store.Read(t.Context(), Key("s:5", "b")); err != nil || len(rows) != 0 {
			t.Errorf("created from half a listing: %v, %v", rows, err)
		}
	})(t)
}

// vmware-go-kcl-v2 takes a parent without a checkpoint for one that is gone, and
// begins the child; it knows one parent of a merge only. kinsumer and Redpanda
// Connect know no parents at all.
func TestAChildOfAMergeWaitsForBothParentsThoughNeitherHasACheckpoint(t *testing.T) {
	in(func(t *testing.T) {
		p := &puppet{Store: NewMemory()}
		a := newActor(t, "a", p)
		parents := owned(t, p.Store, "b#1", "p", "q")
		child := NewLease("s", "s:1", stream.Shard{ID: "c", Parents: []string{"p", "q"}}, stream.TrimHorizon)
		child.Owner = a.me
		if err := p.Store.Create(t.Context(), child); err != nil {
			t.Fatal(err)
		}
		look := func(want bool) {
			t.Helper()
			if err := a.pollOnce(a.life); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if a.holding(child.Key) != want {
				t.Fatalf("holding the child: %v", !want)
			}
		}
		look(false)
		for i, key := range parents {
			l := row(t, p.Store, key)
			if _, err := p.Store.Swap(t.Context(), l, Ended(l, "b#1", []string{"c"})); err != nil {
				t.Fatal(err)
			}
			look(i == len(parents)-1)
		}
	})(t)
}

// The Redis store of harlow/kinesis-consumer reads an error as "no checkpoint",
// and the shard is begun anew.
func TestAStoreThatFailsIsNoEmptyStore(t *testing.T) {
	in(func(t *testing.T) {
		s := setStage(t)
		s.leader.cfg.Streams = []stream.Stream{listed{name: "s", shards: oneShard}}
		s.leads.beforeList = func() error { return errCut }
		if err := s.leader.pass(t.Context()); err == nil {
			t.Error("the pass had no error")
		}
		if rows, err := s.store.Read(t.Context(), Key("s:5", "0")); err != nil || len(rows) != 0 {
			t.Errorf("created though nobody knows what is there: %v, %v", rows, err)
		}

		// Nor is a parent that cannot be read one that is gone.
		child := NewLease("s", "s:1", stream.Shard{ID: "c", Parents: []string{"1"}}, stream.TrimHorizon)
		s.as.beforeList = func() error { return errCut }
		if reason := s.a.mustWait(t.Context(), child); reason == "" {
			t.Error("the child is begun")
		}
	})(t)
}

// KCL writes every lease every few seconds, held or not: its users pay for that
// by the write.
func TestAFleetAtRestWritesItsHeartbeatsAlone(t *testing.T) {
	in(func(t *testing.T) {
		store := NewMemory()
		var writes, beats atomic.Int64
		p := &puppet{Store: store,
			beforeSwap:       func(Lease, Lease) error { writes.Add(1); return nil },
			beforeSwapMember: func(Member, Member) error { beats.Add(1); return nil },
		}
		many := listed{name: "s", shards: func() (shards []stream.Shard, err error) {
			for i, r := range stream.SplitHashSpace(100) {
				shards = append(shards, stream.Shard{ID: fmt.Sprint(i), Hash: r})
			}
			return shards, nil
		}}
		time.AfterFunc(time.Minute, func() { writes.Store(0); beats.Store(0) })
		time.AfterFunc(11*time.Minute, func() {
			// A beat of the worker and one of the leader, three times in FailoverTime.
			if w, b := writes.Load(), beats.Load(); w != 0 || b > 2*3*61*10/9 {
				t.Errorf("100 leases at rest for ten minutes: %d writes of leases, %d of members", w, b)
			}
		})
		runFor(t, 12*time.Minute, Config{Worker: "w", Store: p, Streams: []stream.Stream{many}})
	})(t)
}

// Redpanda Connect fails to move a lease that has no sequence number yet, after
// it has written that it moved.
func TestALeaseWithoutACheckpointIsHandedOver(t *testing.T) {
	in(func(t *testing.T) {
		p := &puppet{Store: NewMemory()}
		a, key, h := holdOne(t, p)
		b := newActor(t, "b", p)
		l := row(t, p.Store, key)
		if _, err := p.Store.Swap(t.Context(), l, HandedOff(l, b.me)); err != nil {
			t.Fatal(err)
		}
		if err := a.pollOnce(a.life); err != nil {
			t.Fatal(err)
		}
		<-h.Draining()
		if err := h.Release(t.Context(), l.Checkpoint); err != nil {
			t.Fatal(err)
		}
		if err := b.pollOnce(b.life); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if l := row(t, p.Store, key); !b.holding(key) || l.Checkpoint.Position != stream.TrimHorizon {
			t.Errorf("holding %v, %+v", b.holding(key), l)
		}
	})(t)
}
