package dynamodb

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/internal/testdynamo"
	"github.com/millrace/millrace/lease"
)

func TestOnlySettledRowsThatWereReadLatelyAreKnown(t *testing.T) {
	row := func(owner, checkpointOwner string, counter int64) lease.Lease {
		return lease.Lease{Key: "a", Owner: owner, CheckpointOwner: checkpointOwner, Counter: counter}
	}
	key := []string{"a"}
	for _, c := range []struct {
		name              string
		change            func(k *known)
		owns, checkpoints []string
		counter           int64 // of the row that is known; 0 for none
	}{
		{"as it was read", func(*known) {}, key, nil, 1},
		{"the index of owners has it no more", func(*known) {}, nil, nil, 0},
		{"its handoff has begun, and back", func(*known) {}, key, key, 0},
		{"another row", func(*known) {}, []string{"b"}, nil, 0},
		{"swapped by this handle", func(k *known) { k.learn("a", row("w", "", 2)) }, key, nil, 2},
		{"given to another by this handle", func(k *known) { k.learn("a", row("v", "", 2)) }, key, nil, 0},
		{"a swap without an answer", func(k *known) { k.learn("a", lease.Lease{}) }, key, nil, 0},
		{"a swap of another row", func(k *known) { k.learn("b", row("w", "", 2)) }, key, nil, 1},
		{"in a handoff", func(k *known) { k.learn("a", row("w", "v", 2)) }, key, nil, 0},
		{"nearly old", func(*known) { time.Sleep(trust) }, key, nil, 1},
		{"old", func(*known) { time.Sleep(trust + 1) }, key, nil, 0},
		{"old, though it was swapped lately", func(k *known) { time.Sleep(trust + 1); k.learn("a", row("w", "", 2)) }, key, nil, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			k := known{rows: map[string]knownRow{}}
			k.add("a", row("w", "", 1))
			c.change(&k)
			rows, unknown := k.settled("w", c.owns, c.checkpoints)
			if c.counter != 0 {
				if len(rows) != 1 || rows[0].Counter != c.counter || len(unknown) != 0 {
					t.Errorf("%s: known are %+v, unknown %q; want the row with counter %d", c.name, rows, unknown, c.counter)
				}
				return
			}
			if want := setOf(slices.Concat(c.owns, c.checkpoints)); len(rows) != 0 || len(unknown) != len(want) {
				t.Errorf("%s: known are %+v, unknown %q; want all of %v to be read", c.name, rows, unknown, want)
			}
		})
	}
}

func TestOwnedSeesTheHandoffsOfOthersThroughTheRowsItKnows(t *testing.T) {
	overWire(t, func(t *testing.T, s *Store, wire *testdynamo.Wire, other *Store) {
		mine := someRow("a")
		create(t, s, mine)
		owned := func(want int, owner, checkpointOwner string) {
			t.Helper()
			rows, err := s.Owned(t.Context(), "w")
			if err != nil || len(rows) != want {
				t.Fatalf("owned: %+v, error %v, want %d rows", rows, err, want)
			}
			if want > 0 && (rows[0].Owner != owner || rows[0].CheckpointOwner != checkpointOwner) {
				t.Errorf("owned: %+v, want owner %s and checkpoint owner %s", rows[0], owner, checkpointOwner)
			}
		}
		owned(1, "w", "")
		wire.SetFault(nil)
		owned(1, "w", "")
		if n := wire.Counts()["BatchGetItem"]; n != 0 {
			t.Errorf("a row that is known was read %d times again", n)
		}
		next := func(l lease.Lease) {
			t.Helper()
			var err error
			if mine, err = other.Swap(t.Context(), mine, l); err != nil {
				t.Fatal(err)
			}
		}
		next(lease.HandedOff(mine, "v"))
		owned(1, "v", "w")
		next(lease.HandedOff(mine, "w")) // back, before the former owner has let go
		owned(1, "w", "w")
		next(lease.Forced(mine))
		owned(1, "w", "")
		next(lease.Assigned(mine, "v"))
		owned(0, "", "")
	})
}
