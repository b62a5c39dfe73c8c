package checkpoint

import (
	"context"

	"github.com/millrace/millrace/stream"
)

// Checkpointer is given to a processor. Its methods may be called from any
// goroutine, during callbacks and between them, for as long as the term lasts;
// afterwards they return an error that wraps [ErrLeaseLost]. They return when
// the checkpoint is stored, and not before.
type Checkpointer interface {
	// Checkpoint stores that everything delivered so far is done. In a call of
	// ProcessRecords that includes the records of the running call.
	Checkpoint(ctx context.Context) error
	// CheckpointAt stores that everything up to and including that record is
	// done. [ErrOutOfRange] when it lies before the stored checkpoint or was
	// not delivered yet.
	CheckpointAt(ctx context.Context, s stream.Sequence) error
	// Prepare stores the first phase of a checkpoint at that record, with a note
	// for whoever goes on if the second does not come. A new one replaces it;
	// any checkpoint at or beyond it removes it.
	Prepare(ctx context.Context, s stream.Sequence, note []byte) (Prepared, error)
}

// Prepared is a checkpoint in its first phase.
type Prepared interface {
	// Commit is the second phase: it makes the prepared position the checkpoint.
	Commit(ctx context.Context) error
}
