package checkpoint

import (
	"context"
	"errors"

	"github.com/millrace/millrace/stream"
)

// State is what is stored of how far a shard has been processed.
type State struct {
	// Position is the checkpoint: everything at or before it is done. Reading
	// goes on from here. [stream.ShardEnd] says that the shard is finished.
	Position stream.Position
	// Pending is a checkpoint in its first phase; its Position is zero when
	// there is none.
	Pending Pending
	// Progress is an opaque account of what is done beyond Position, kept by
	// parallel processing; empty when there is nothing beyond.
	Progress []byte
}

// Pending is a checkpoint that was prepared and not yet committed. Whoever
// holds the shard next finds it in its start.
type Pending struct {
	Position stream.Position
	// Data is the application's own note on what it was about to do.
	Data []byte
}

// Saver stores the state of one shard under one term. A lease in hand is one.
type Saver interface {
	// Save stores the state, or returns an error that wraps [ErrLeaseLost] when
	// the term has ended, so that the former holder must stop, and one that wraps
	// [ErrTooLarge] when this state cannot be stored at all. Any other error leaves
	// open whether the state was stored; saving it again is safe.
	Save(ctx context.Context, s State) error
}

// Joiner is a [Saver] that can also store as part of a transaction of the
// caller's, in the database in which the states are kept.
type Joiner interface {
	// SaveIn is Save within tx, whose type the store names: the state is stored if
	// and when that commits. It returns [ErrStored] when a state at or beyond that
	// position is stored already, as tx sees it. After any error tx is to be rolled
	// back.
	SaveIn(ctx context.Context, tx any, s State) error
}

var (
	// ErrLeaseLost says that the shard now belongs, or may belong, to another
	// worker. Nothing was stored, and nothing will be: stop. The context of the
	// callback is already cancelled, or about to be.
	ErrLeaseLost = errors.New("lease lost")
	// ErrStored says that a checkpoint at or beyond that place is stored already,
	// so that what was to be committed with it was committed with that one: the
	// answer of that commit was lost, or the callback failed after it. Roll back,
	// and take the records for done.
	ErrStored = errors.New("a checkpoint there or beyond is stored already: what belongs to it was committed before, so roll back and return nil for these records")
	// ErrNoTransactions says that the lease store takes no part in transactions.
	ErrNoTransactions = errors.New("the lease store takes no part in transactions: keep the leases in the database of your writes, for example with lease/postgres")
	// ErrTooLarge says that the lease store has no room for a state, and never will
	// have: nothing was stored.
	ErrTooLarge = errors.New("the state has no room in the lease store: give Prepare a shorter note, and keep what is long elsewhere")
	// ErrOutOfRange says that a checkpoint was asked for before the last one or
	// beyond what has been delivered.
	ErrOutOfRange = errors.New("checkpoint out of range")
)
