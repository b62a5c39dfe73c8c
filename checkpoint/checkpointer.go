package checkpoint

import (
	"context"

	"github.com/millrace/millrace/stream"
)

// Checkpointer is given to a processor. Its methods may be called from any
// goroutine, during callbacks and between them, for as long as the term lasts;
// afterwards nothing is stored any more, and what is not stored already gives
// an error that wraps [ErrLeaseLost]. They return when the checkpoint is
// stored, and not before.
type Checkpointer interface {
	// Checkpoint stores that everything delivered so far is done. In a call of
	// ProcessRecords that includes the records of the running call; a batch that
	// has failed and waits for its next attempt is not included.
	Checkpoint(ctx context.Context) error
	// CheckpointAt stores that everything up to and including that record is
	// done. [ErrOutOfRange] when it lies before the stored checkpoint or was
	// not delivered yet.
	CheckpointAt(ctx context.Context, s stream.Sequence) error
	// CheckpointIn is CheckpointAt as a part of tx, a transaction of the caller's in
	// the database in which the leases are kept: what the caller writes there and
	// the checkpoint are committed together, or neither. Stores give it a face with
	// the type of their transactions, as CheckpointTx of lease/postgres, which tells
	// more. [ErrStored] when the checkpoint is there already, and
	// [ErrNoTransactions] when the store has none to take part in.
	CheckpointIn(ctx context.Context, tx any, s stream.Sequence) error
	// Prepare stores the first phase of a checkpoint at that record, with a note
	// for whoever goes on if the second does not come. A new one replaces it;
	// any checkpoint at or beyond it removes it, an automatic one, too. So what
	// is prepared in a call of ProcessRecords is committed there, unless
	// checkpoints are manual. [ErrOutOfRange] as for CheckpointAt.
	Prepare(ctx context.Context, s stream.Sequence, note []byte) (Prepared, error)
}

// Prepared is a checkpoint in its first phase.
type Prepared interface {
	// Commit is the second phase: it makes the prepared position the
	// checkpoint. It has nothing to do, and returns nil, when a checkpoint at or
	// beyond that position is stored already.
	Commit(ctx context.Context) error
}
