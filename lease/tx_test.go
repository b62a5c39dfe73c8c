package lease

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/checkpoint"
)

// transaction is one of the kind that a [puppet] takes part in: its writes wait
// for the commit. It sees them before, and rows as they are when it looks.
type transaction struct {
	store  Store
	writes []Lease // with the Counter before it
	next   []Lease
}

func (tx *transaction) row(ctx context.Context, key string) (Lease, error) {
	for i := len(tx.next) - 1; i >= 0; i-- {
		if tx.next[i].Key == key {
			row := tx.next[i]
			row.Counter = tx.writes[i].Counter + 1
			return row, nil
		}
	}
	rows, err := tx.store.Read(ctx, key)
	if err != nil || len(rows) == 0 {
		return Lease{}, err
	}
	return rows[0], nil
}

func (p *puppet) SwapIn(ctx context.Context, in any, old, next Lease) (Lease, error) {
	tx, ok := in.(*transaction)
	if !ok {
		return Lease{}, fmt.Errorf("a %T is no transaction", in)
	}
	row, err := tx.row(ctx, old.Key)
	if err != nil {
		return Lease{}, err
	}
	if row.Counter != old.Counter || row.Owner != old.Owner {
		return row, ErrConflict
	}
	tx.writes, tx.next = append(tx.writes, old), append(tx.next, next)
	next.Counter = old.Counter + 1
	return next, nil
}

func (tx *transaction) commit(t *testing.T) error {
	t.Helper()
	for i, old := range tx.writes {
		if _, err := tx.store.Swap(t.Context(), old, tx.next[i]); err != nil {
			return err
		}
	}
	return nil
}

func TestACheckpointInATransactionIsThereWhenThatCommits(t *testing.T) {
	in(func(t *testing.T) {
		p := &puppet{Store: NewMemory()}
		a, key, h := holdOne(t, p)
		begin := func() *transaction { return &transaction{store: p.Store} }
		at := func() any { return row(t, p.Store, key).Checkpoint.Position }

		tx := begin()
		if err := h.SaveIn(t.Context(), tx, saved(3)); err != nil {
			t.Fatal(err)
		}
		if at() == after(3) {
			t.Error("it is stored before the commit")
		}
		if err := tx.commit(t); err != nil {
			t.Fatal(err)
		}
		if at() != after(3) {
			t.Errorf("after the commit the row says %v", at())
		}

		// The same again, as after a commit whose answer was lost.
		if err := h.SaveIn(t.Context(), begin(), saved(3)); !errors.Is(err, checkpoint.ErrStored) {
			t.Errorf("a second time: %v", err)
		}
		// One that is rolled back leaves nothing behind, and keeps nobody from writing.
		if err := h.SaveIn(t.Context(), begin(), saved(7)); err != nil {
			t.Error(err)
		}
		if err := h.Save(t.Context(), saved(5)); err != nil || at() != after(5) {
			t.Errorf("after a roll-back: %v, the row says %v", err, at())
		}
		// In one transaction, the second time for no more than the first.
		tx = begin()
		if err := errors.Join(h.SaveIn(t.Context(), tx, saved(7)), h.SaveIn(t.Context(), tx, saved(7)), h.SaveIn(t.Context(), tx, saved(6))); err != nil {
			t.Errorf("again in one transaction: %v", err)
		}
		// Twice in one.
		tx = begin()
		if err := errors.Join(h.SaveIn(t.Context(), tx, saved(8)), h.SaveIn(t.Context(), tx, saved(9)), tx.commit(t)); err != nil || at() != after(9) {
			t.Errorf("two checkpoints in one transaction: %v, the row says %v", err, at())
		}
		if err := h.Save(t.Context(), saved(10)); err != nil || at() != after(10) {
			t.Errorf("then one outside: %v, the row says %v", err, at())
		}
		if !a.holding(key) {
			t.Errorf("the lease was lost: %v", a.cause(key))
		}
	})(t)
}

// What the worker itself wants to store knows nothing of the transaction.
func TestAnOlderCheckpointDoesNotUndoTheOneOfATransaction(t *testing.T) {
	for name, write := range map[string]func(context.Context, Hold) error{
		"save":    func(ctx context.Context, h Hold) error { return h.Save(ctx, saved(2)) },
		"release": func(ctx context.Context, h Hold) error { return h.Release(ctx, saved(2)) },
	} {
		t.Run(name, in(func(t *testing.T) {
			p := &puppet{Store: NewMemory()}
			_, key, h := holdOne(t, p)
			if err := h.Save(t.Context(), saved(1)); err != nil {
				t.Fatal(err)
			}
			tx := &transaction{store: p.Store}
			if err := errors.Join(h.SaveIn(t.Context(), tx, saved(6)), tx.commit(t)); err != nil {
				t.Fatal(err)
			}
			if name == "save" { // a first phase beyond it is not lost either
				late := checkpoint.State{Position: after(2), Pending: checkpoint.Pending{Position: after(9), Data: []byte("note")}}
				if err := h.Save(t.Context(), late); err != nil {
					t.Error(err)
				}
				if l := row(t, p.Store, key); l.Checkpoint.Position != after(6) || string(l.Checkpoint.Pending.Data) != "note" {
					t.Errorf("%+v", l)
				}
			}
			if err := write(t.Context(), h); err != nil {
				t.Error(err)
			}
			if l := row(t, p.Store, key); l.Checkpoint.Position != after(6) || (l.Owner == "") != (name == "release") {
				t.Errorf("%+v", l)
			}
			if err := h.Save(t.Context(), saved(1)); !errors.Is(err, checkpoint.ErrLeaseLost) && name == "release" {
				t.Errorf("after the release: %v", err)
			}
		}))
	}
}

// P6: a worker that has lost its shard commits nothing any more.
func TestATransactionOfAFormerHolderDoesNotCommit(t *testing.T) {
	in(func(t *testing.T) {
		p := &puppet{Store: NewMemory()}
		a, key, h := holdOne(t, p)
		tx := &transaction{store: p.Store}
		if err := h.SaveIn(t.Context(), tx, saved(6)); err != nil {
			t.Fatal(err)
		}
		l := row(t, p.Store, key)
		if _, err := p.Store.Swap(t.Context(), l, Taken(Forced(l), "b")); err != nil {
			t.Fatal(err)
		}
		if err := tx.commit(t); !errors.Is(err, ErrConflict) {
			t.Errorf("it has committed, over the new holder: %v", err)
		}
		// The transaction shows him who has it, before he hears of it otherwise.
		if err := h.SaveIn(t.Context(), &transaction{store: p.Store}, saved(7)); !errors.Is(err, checkpoint.ErrLeaseLost) {
			t.Errorf("the next one: %v", err)
		}
		if l := row(t, p.Store, key); l.Owner != "b" || l.Checkpoint.Position == after(6) {
			t.Errorf("%+v", l)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if a.holding(key) {
			t.Error("he goes on")
		}
		if err := h.SaveIn(t.Context(), &transaction{store: p.Store}, saved(8)); !errors.Is(err, checkpoint.ErrLeaseLost) {
			t.Errorf("after his time: %v", err)
		}
	})(t)
}

func TestAStoreWithoutTransactionsSaysSo(t *testing.T) {
	h := &held{s: &session{Coordinator: &Coordinator{store: NewMemory()}}}
	if err := h.SaveIn(t.Context(), nil, saved(1)); !errors.Is(err, checkpoint.ErrNoTransactions) {
		t.Errorf("%v", err)
	}
}
