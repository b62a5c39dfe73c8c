package dynamodb

import (
	"errors"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millrace/millrace/internal/testdynamo"
	"github.com/millrace/millrace/lease"
)

// DynamoDB shows a read that does not ask for more what was there a while ago. All
// reads but those of Owned decide something, and have to see what was written last.
func TestReadsSeeWhatWasWrittenLast(t *testing.T) {
	overWire(t, func(t *testing.T, s *Store, wire *testdynamo.Wire, other *Store) {
		ctx := t.Context()
		mine := someRow("a")
		create(t, s, mine)
		member := swapMember(t, s, lease.Member{}, lease.Member{Incarnation: "w", Streams: manyStreams(2)})
		note, err := s.SwapNote(ctx, lease.Note{}, lease.Note{Name: "pause", Version: 1})
		if err != nil {
			t.Fatal(err)
		}
		read := func() (counters []int64, versions []int64) {
			t.Helper()
			listed, err := listing(t, s)
			if err != nil {
				t.Fatal(err)
			}
			conflict, err := s.Swap(ctx, lease.Lease{Key: "a", Counter: 1}, lease.Lease{})
			if !errors.Is(err, lease.ErrConflict) {
				t.Fatal(err)
			}
			inTx, err := s.SwapIn(ctx, &types.TransactWriteItem{}, lease.Lease{Key: "a", Counter: 1}, lease.Lease{})
			if !errors.Is(err, lease.ErrConflict) {
				t.Fatal(err)
			}
			notes, err := s.Notes(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range []lease.Lease{listed[0], readOne(t, s, "a"), conflict, inTx} {
				counters = append(counters, l.Counter)
			}
			return counters, []int64{membersOf(t, s)["w"].Version, notes[0].Version}
		}
		read() // from here on a stale read sees this
		wire.SetFault(func(string, int) testdynamo.Fault { return testdynamo.Stale })
		if mine, err = other.Swap(ctx, mine, mine); err != nil {
			t.Fatal(err)
		}
		member = swapMember(t, other, member, member)
		if note, err = other.SwapNote(ctx, note, note); err != nil {
			t.Fatal(err)
		}
		counters, versions := read()
		for i, who := range []string{"listing", "read", "conflict", "transaction"} {
			if counters[i] != mine.Counter {
				t.Errorf("%s: counter %d, want %d", who, counters[i], mine.Counter)
			}
		}
		if versions[0] != member.Version || versions[1] != note.Version {
			t.Errorf("member and note have versions %d, want %d and %d", versions, member.Version, note.Version)
		}
	})
}

// The indexes lag: what they name is only where to look.
func TestARowThatAnIndexNamesIsReadBeforeItIsBelieved(t *testing.T) {
	overWire(t, func(t *testing.T, s *Store, wire *testdynamo.Wire, other *Store) {
		mine := someRow("a")
		create(t, s, mine)
		if rows, err := s.Owned(t.Context(), "w"); err != nil || len(rows) != 1 {
			t.Fatalf("owned: %+v, error %v", rows, err)
		}
		if _, err := other.Swap(t.Context(), mine, lease.Assigned(mine, "v")); err != nil {
			t.Fatal(err)
		}
		wire.SetFault(func(op string, _ int) testdynamo.Fault {
			if op == "Query" {
				return testdynamo.Stale
			}
			return testdynamo.Pass
		})
		again := handle(t, s.api, s.config) // which knows no rows
		if rows, err := again.Owned(t.Context(), "w"); err != nil || len(rows) != 0 {
			t.Errorf("owned, by an index that lags: %+v, error %v, want none: it is another's", rows, err)
		}
	})
}
