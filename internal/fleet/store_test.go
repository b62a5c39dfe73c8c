package fleet

import (
	"testing"
	"time"

	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/stream"
)

// able is a store that can do what only some can.
type able struct {
	lease.Store
	inherited stream.Identity
}

func (a *able) GroupsSwaps() bool          { return true }
func (a *able) Inherit(id stream.Identity) { a.inherited = id }

func TestAStoreThatIsObservedCanDoWhatItCouldDoBefore(t *testing.T) {
	store := &able{Store: lease.NewMemory()}
	observed := observe(store, nil, 0)
	if g, ok := observed.(lease.Grouping); !ok || !g.GroupsSwaps() {
		t.Error("it does not say that it makes one write of many swaps")
	}
	id := stream.Identity{Name: "orders", Created: time.UnixMilli(5)}
	if heir, ok := observed.(lease.Inheritor); !ok {
		t.Error("it is told of no incarnation")
	} else if heir.Inherit(id); store.inherited != id {
		t.Errorf("it was told of %v, want %v", store.inherited, id)
	}
	if observe(lease.NewMemory(), nil, 0).(lease.Grouping).GroupsSwaps() {
		t.Error("a store that makes many writes says that it makes one")
	}
}
