package lease

import (
	"testing"

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
