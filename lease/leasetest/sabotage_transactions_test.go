package leasetest

import (
	"context"
	"sync"
	"testing"

	"github.com/millrace/millrace/lease"
)

// ledger lets the memory store take part in transactions: a row that one has
// written belongs to it until it ends.
type ledger struct {
	mu    sync.Mutex // guards what follows
	owner map[string]*pending
	// What a broken one does instead.
	early, sticky, deaf, mute, blind, rude bool
}

// pending is a transaction that has not ended.
type pending struct {
	b     *broken
	rows  map[string]lease.Lease // as they will be
	was   map[string]lease.Lease
	ended chan struct{}
}

func beginPending(_ testing.TB, store lease.Store) Transaction {
	tx := &pending{b: store.(*broken), rows: map[string]lease.Lease{}, was: map[string]lease.Lease{}, ended: make(chan struct{})}
	return Transaction{Tx: tx, Commit: tx.commit, Rollback: tx.rollback, Locks: true}
}

// wait returns when nobody else's transaction has the row.
func (l *ledger) wait(ctx context.Context, key string, me *pending) error {
	for {
		l.mu.Lock()
		other := l.owner[key]
		l.mu.Unlock()
		if other == nil || other == me || l.rude {
			return nil
		}
		select {
		case <-other.ended:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (b *broken) SwapIn(ctx context.Context, in any, old, next lease.Lease) (lease.Lease, error) {
	tx, l := in.(*pending), &b.ledger
	if err := l.wait(ctx, old.Key, tx); err != nil {
		return lease.Lease{}, err
	}
	row, seen := tx.rows[old.Key]
	if !seen || l.blind {
		row, _ = b.current(old.Key)
	}
	if (row.Key == "" || row.Counter != old.Counter || row.Owner != old.Owner) && !l.deaf {
		if l.mute {
			row = lease.Lease{}
		}
		return row, lease.ErrConflict
	}
	if l.early {
		return b.Memory.Swap(ctx, old, next)
	}
	if !seen {
		tx.was[old.Key] = row
	}
	next.Key, next.Stream, next.StreamID, next.Shard, next.Counter = row.Key, row.Stream, row.StreamID, row.Shard, row.Counter+1
	tx.rows[old.Key] = next
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.owner == nil {
		l.owner = map[string]*pending{}
	}
	l.owner[old.Key] = tx
	return next, nil
}

func (tx *pending) commit(ctx context.Context) error {
	for key, next := range tx.rows {
		for now := tx.was[key]; now.Counter < next.Counter; { // one swap for each of its own
			var err error
			if now, err = tx.b.Memory.Swap(ctx, now, next); err != nil && !tx.b.ledger.rude {
				tx.end()
				return err
			} else if err != nil {
				break
			}
		}
	}
	tx.end()
	return nil
}

func (tx *pending) rollback(ctx context.Context) error {
	if tx.b.ledger.sticky {
		return tx.commit(ctx)
	}
	tx.end()
	return nil
}

func (tx *pending) end() {
	l := &tx.b.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	for key := range tx.rows {
		if l.owner[key] == tx {
			delete(l.owner, key)
		}
	}
	select {
	case <-tx.ended:
	default:
		close(tx.ended)
	}
}

// brokenTransactions do not hold together, or hold nobody up.
var brokenTransactions = []sabotage{
	{"a swap in a transaction is there at once", "ASwapInATransactionIsThereWhenItCommits", func(b *broken) { b.ledger.early = true }},
	{"a roll-back is a commit", "ASwapInATransactionThatIsRolledBackNeverWas", func(b *broken) { b.ledger.sticky = true }},
	{"in a transaction there is no guard", "ASwapInATransactionNeedsTheRowAsItIs", func(b *broken) { b.ledger.deaf = true }},
	{"a conflict in a transaction tells of no row", "ASwapInATransactionNeedsTheRowAsItIs", func(b *broken) { b.ledger.mute = true }},
	{"a transaction sees the rows of others alone", "ATransactionSeesWhatItHasWritten", func(b *broken) { b.ledger.blind = true }},
	{"nobody waits for a transaction", "WhoeverElseWritesTheRowWaitsForTheTransaction", func(b *broken) { b.ledger.rude = true }},
	{"who was faster than a commit is not noticed", "ASwapAndATransactionNeverBothWin", func(b *broken) { b.ledger.rude = true }},
}
