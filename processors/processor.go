package processors

import (
	"context"
	"time"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/stream"
)

// RecordProcessor processes the records of one shard for one term. The calls
// come one at a time, from one goroutine. When Initialize has succeeded, one of
// the last three callbacks ends the term; when it has not, no other is called.
//
// The context of every call but LeaseLost is cancelled, with the reason as its
// cause, as soon as the shard no longer belongs to this worker: return soon
// then. A panic in a callback is taken for an error ([*PanicError]).
type RecordProcessor interface {
	// Initialize is called before the first record. An error is retried, like
	// one of ProcessRecords.
	Initialize(ctx context.Context, start Start) error

	// ProcessRecords gets the next records, in order. nil says that they are
	// done: the checkpoint may pass them. An error says that none of them are: they
	// are given again, after a pause, until they are done; nothing is ever
	// skipped. The first two times that is the same batch; what fails again comes in ever
	// smaller batches, each the first half of the one before, down to a single
	// record, so that it is known which one fails; and when one is done, the rest
	// comes in the parts that were made. No batch begins within one that failed and
	// reaches beyond its end: a transaction that was committed unheard has done all
	// of a batch that comes later, or nothing. The batch is valid until the call returns, what its records
	// point to for as long as wanted.
	ProcessRecords(ctx context.Context, batch *Batch) error

	// ShutdownRequested is called once when the shard is about to be handed to
	// another worker, or the worker stops. All batches given so far are done,
	// but for the last one if it kept failing: that is left to the next term. A
	// checkpoint follows by itself, unless checkpoints are manual. An error is
	// logged.
	ShutdownRequested(ctx context.Context, c checkpoint.Checkpointer) error

	// ShardEnded is called when a closed shard was read to its end and all its
	// records are done; or when it has left the stream with its last records unread,
	// and all that were read are done. When it returns nil the end is stored and the
	// children may begin, with manual checkpoints, too; an error is retried. While
	// it fails ShutdownRequested or LeaseLost may come instead.
	ShardEnded(ctx context.Context, c checkpoint.Checkpointer) error

	// LeaseLost is called instead of the former two when the shard was lost:
	// nothing can be stored any more. The cause says why. ctx is not cancelled
	// by the loss, but after some seconds.
	LeaseLost(ctx context.Context, cause error)
}

// Start is what a processor learns before its first record.
type Start struct {
	Shard Shard
	// Checkpoint is where the records begin, with what an earlier term left
	// prepared and not committed.
	Checkpoint checkpoint.State
}

// Shard tells a processor what it works on, and under which right.
type Shard struct {
	// Application and Worker name who processes.
	Application, Worker string
	// Stream is the incarnation of the stream, ID the shard in it.
	Stream stream.Identity
	ID     string
	// Parents and Hash are the shard's lineage and its part of the hash space.
	Parents []string
	Hash    stream.HashRange
	// Term is the fencing token of this term: it grows with every change of
	// hands. A sink that remembers the greatest it has seen can refuse a
	// former holder.
	Term int64
}

// Batch is what one call of ProcessRecords gets.
type Batch struct {
	// Records are the records, in order; never empty. The slice is used again
	// after the call, and after an error it is given again as it is, or parts of
	// it: leave its elements as they are.
	Records []stream.Record
	// Shard is the shard that they come from.
	Shard *Shard
	// Behind is how far the last record is behind the newest one of the shard.
	Behind time.Duration
	// Attempt counts how often in a row a batch that begins with this record has
	// been given, from 1: it grows while batches get smaller, until one is done. So
	// Attempt > 1 says that the first record has failed, or one that was given
	// along with it; and with a single record it counts against that one.
	Attempt int
	// Checkpointer stores how far the work has got, for those who want to say
	// so themselves.
	Checkpointer checkpoint.Checkpointer
}
