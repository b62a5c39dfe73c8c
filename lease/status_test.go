package lease

import (
	"testing"
	"testing/synctest"

	"github.com/millrace/millrace/stream"
)

func TestStatusTellsWhatIsHeldAndWhyTheRestWaits(t *testing.T) {
	in(func(t *testing.T) {
		p := &puppet{Store: NewMemory()}
		a, key, _ := holdOne(t, p)
		child := NewLease("s", "s:1", stream.Shard{ID: "child", Parents: []string{"1"}}, stream.TrimHorizon)
		child.Owner = a.me
		moving := NewLease("s", "s:1", stream.Shard{ID: "moving"}, stream.TrimHorizon)
		moving.Owner, moving.CheckpointOwner = a.me, "b#1"
		if err := p.Store.Create(t.Context(), child, moving); err != nil {
			t.Fatal(err)
		}
		if err := a.pollOnce(a.life); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		a.Coordinator.session.Store(a.session)
		status := a.Status()
		got := map[string]string{}
		for _, l := range status.Leases {
			got[l.Lease.Key] = l.State + " " + l.Reason
		}
		if got[key] != "held " || got[child.Key] != "waiting for parent 1" || got[moving.Key] != "waiting for b#1 to let go" {
			t.Errorf("%v", got)
		}
		if status.Incarnation != a.me || status.Leading || status.Expired {
			t.Errorf("%+v", status)
		}
	})(t)
}
