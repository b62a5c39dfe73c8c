package processors

import (
	"context"
	"fmt"

	"github.com/sourcegraph/conc/panics"

	"github.com/millrace/millrace/checkpoint"
)

// PanicError is what a panic in a callback becomes.
type PanicError struct {
	// Value is what panic was called with.
	Value any
	// Stack is the stack of the panicking goroutine.
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic in record processor: %v", e.Value) }

// Unwrap returns the panic's value when that is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// Try calls f and returns its error, or its panic as a [*PanicError]. An error that
// panics when it is asked for its text, as a nil pointer in the guise of one may,
// counts as a panic of f.
func Try(f func() error) (err error) {
	caught := panics.Try(func() {
		if err = f(); err != nil {
			_ = err.Error()
		}
	})
	if caught != nil {
		return &PanicError{Value: caught.Value, Stack: caught.Stack}
	}
	return err
}

// Recover wraps a processor so that a panic in a callback becomes the error of
// that callback. Workers wrap every processor with it, outermost. LeaseLost has
// no way to return an error, so a panic of it ends in Recover unseen.
// It panics itself when p is nil.
func Recover(p RecordProcessor) RecordProcessor {
	if p == nil {
		panic("processors: Recover was given no RecordProcessor: give one")
	}
	return recovering{p}
}

type recovering struct{ next RecordProcessor }

func (r recovering) Initialize(ctx context.Context, start Start) error {
	return Try(func() error { return r.next.Initialize(ctx, start) })
}

func (r recovering) ProcessRecords(ctx context.Context, batch *Batch) error {
	return Try(func() error { return r.next.ProcessRecords(ctx, batch) })
}

func (r recovering) ShutdownRequested(ctx context.Context, c checkpoint.Checkpointer) error {
	return Try(func() error { return r.next.ShutdownRequested(ctx, c) })
}

func (r recovering) ShardEnded(ctx context.Context, c checkpoint.Checkpointer) error {
	return Try(func() error { return r.next.ShardEnded(ctx, c) })
}

func (r recovering) LeaseLost(ctx context.Context, cause error) {
	_ = panics.Try(func() { r.next.LeaseLost(ctx, cause) })
}
