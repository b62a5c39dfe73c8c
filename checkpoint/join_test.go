package checkpoint

import (
	"context"
	"errors"
	"testing"

	"github.com/millrace/millrace/stream"
)

// joint is a saver that takes part in transactions, which are lists of states.
type joint struct{ savings }

func (j *joint) SaveIn(_ context.Context, tx any, s State) error {
	list := tx.(*[]State)
	*list = append(*list, s)
	return j.err
}

func TestACheckpointInATransactionIsNotTakenForStored(t *testing.T) {
	s := &joint{}
	k, _ := keeper(s, 5)
	var tx []State
	if _, err := k.Prepare(t.Context(), seq(2), []byte("note")); err != nil {
		t.Fatal(err)
	}
	if err := k.CheckpointIn(t.Context(), &tx, seq(3)); err != nil {
		t.Fatal(err)
	}
	if len(tx) != 1 || tx[0].Position != stream.After(seq(3)) || !tx[0].Pending.Position.IsZero() {
		t.Errorf("the transaction stores %+v", tx)
	}
	// It may never commit.
	if err := k.CheckpointAt(t.Context(), seq(3)); err != nil {
		t.Fatal(err)
	}
	if got := s.positions(); got[len(got)-1] != stream.After(seq(3)) {
		t.Errorf("stored %v", got)
	}
	// Now it is stored.
	for _, n := range []uint64{2, 3} {
		if err := k.CheckpointIn(t.Context(), &tx, seq(n)); !errors.Is(err, ErrStored) {
			t.Errorf("at %d: %v", n, err)
		}
	}
	if err := k.CheckpointIn(t.Context(), &tx, seq(6)); !errors.Is(err, ErrOutOfRange) {
		t.Errorf("of what was not delivered: %v", err)
	}
	s.err = errors.New("no")
	if err := k.CheckpointIn(t.Context(), &tx, seq(4)); !errors.Is(err, s.err) {
		t.Errorf("an error of the saver: %v", err)
	}
	if len(tx) != 2 {
		t.Errorf("%d states went to transactions, want 2: %+v", len(tx), tx)
	}
}

func TestASaverWithoutTransactionsIsToldOf(t *testing.T) {
	k, _ := keeper(&savings{}, 5)
	if err := k.CheckpointIn(t.Context(), nil, seq(3)); !errors.Is(err, ErrNoTransactions) {
		t.Errorf("%v", err)
	}
}
