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
	// the term has ended, so that the former holder must stop. Any other error
	// leaves open whether the state was stored; saving it again is safe.
	Save(ctx context.Context, s State) error
}

var (
	// ErrLeaseLost says that the shard now belongs, or may belong, to another
	// worker. Nothing was stored, and nothing will be: stop. The context of the
	// callback is already cancelled, or about to be.
	ErrLeaseLost = errors.New("lease lost")
	// ErrOutOfRange says that a checkpoint was asked for before the last one or
	// beyond what has been delivered.
	ErrOutOfRange = errors.New("checkpoint out of range")
)
