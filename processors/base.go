package processors

import (
	"context"
	"errors"

	"github.com/millrace/millrace/checkpoint"
)

// Base has the callbacks that do nothing; embed it to write only those that
// you need.
type Base struct{}

// Initialize does nothing.
func (Base) Initialize(context.Context, Start) error { return nil }

// ShutdownRequested does nothing.
func (Base) ShutdownRequested(context.Context, checkpoint.Checkpointer) error { return nil }

// ShardEnded does nothing, which lets the shard's end be stored.
func (Base) ShardEnded(context.Context, checkpoint.Checkpointer) error { return nil }

// LeaseLost does nothing.
func (Base) LeaseLost(context.Context, error) {}

// Func makes a RecordProcessor of a function that processes records and needs
// nothing else. It is called for one batch after the other of one shard, and
// for different shards at the same time.
type Func func(ctx context.Context, batch *Batch) error

var _ RecordProcessor = Func(nil)

var errNoFunc = errors.New("processors.Func is nil: give a function that processes records")

// Initialize does nothing; it fails when f is nil.
func (f Func) Initialize(context.Context, Start) error {
	if f == nil {
		return errNoFunc
	}
	return nil
}

// ProcessRecords calls f.
func (f Func) ProcessRecords(ctx context.Context, batch *Batch) error { return f(ctx, batch) }

// ShutdownRequested does nothing.
func (Func) ShutdownRequested(context.Context, checkpoint.Checkpointer) error { return nil }

// ShardEnded does nothing, which lets the shard's end be stored.
func (Func) ShardEnded(context.Context, checkpoint.Checkpointer) error { return nil }

// LeaseLost does nothing.
func (Func) LeaseLost(context.Context, error) {}
