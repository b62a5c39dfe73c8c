package leasetest

import (
	"reflect"
	"slices"
	"testing"

	"github.com/millrace/millrace/lease"
)

// sabotage is one way to break a store.
type sabotage struct {
	name string
	// caughtBy is the sentence of the contract that is broken.
	caughtBy string
	breaks   func(*broken)
}

func sabotages() []sabotage {
	return slices.Concat(brokenGuards, brokenWrites, brokenFields, brokenLists, brokenSpoils, brokenMembers, brokenNotes, brokenCalls, brokenHandles, brokenTransactions, brokenHistories)
}

func TestEveryBrokenStoreIsCaught(t *testing.T) {
	sentences := map[string]clause{}
	for _, c := range contract() {
		if _, twice := sentences[c.sentence]; twice {
			t.Fatalf("two tests are called %s", c.sentence)
		}
		sentences[c.sentence] = c
	}
	for _, s := range sabotages() {
		t.Run(s.name, func(t *testing.T) {
			c, ok := sentences[s.caughtBy]
			if !ok {
				t.Fatalf("there is no test called %s", s.caughtBy)
			}
			if failed, message := try(t, c, openUnbroken, unbrokenOptions); failed {
				t.Fatalf("%s fails for the unbroken store: %s", s.caughtBy, message)
			}
			// Where a race decides, one try may come off well.
			for range 20 {
				if failed, message := try(t, c, s.open, brokenOptions); failed {
					t.Logf("%s: %s", s.caughtBy, message)
					return
				}
			}
			t.Fatalf("%s does not catch it", s.caughtBy)
		})
	}
}

func TestEverySentenceCatchesABrokenStore(t *testing.T) {
	for _, c := range contract() {
		if !slices.ContainsFunc(sabotages(), func(s sabotage) bool { return s.caughtBy == c.sentence }) {
			t.Errorf("no broken store is named that %s catches", c.sentence)
		}
	}
}

func TestFullRowsHaveEveryFieldSet(t *testing.T) {
	for _, row := range []any{full("a"), func() lease.Member { m := fullMember("a"); m.Version = 1; return m }()} {
		for v, i := reflect.ValueOf(row), 0; i < v.NumField(); i++ {
			if v.Field(i).IsZero() {
				t.Errorf("%T: %s is zero, so that a store that drops it goes unnoticed", row, v.Type().Field(i).Name)
			}
		}
	}
}
