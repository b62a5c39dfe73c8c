package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Stream is a sharded stream as its consumers see it. All methods may be
// called at the same time, and return the cause of ctx soon after it is done.
type Stream interface {
	// Identity tells which stream this is, and which incarnation of it.
	Identity(ctx context.Context) (Identity, error)

	// Shards lists every shard that can still be read, open or closed,
	// completely or with an error: never a part.
	Shards(ctx context.Context) ([]Shard, error)

	// Pin makes [Latest] concrete: it returns a position that stays where the
	// end of the shard was at some moment during the call. No record put after
	// Pin returned lies behind it.
	Pin(ctx context.Context, shardID string) (Position, error)

	// Open starts reading a shard. A position older than the oldest record
	// begins with that one; what is missing is reported by the first Next
	// ([*TrimmedError]) where the stream can know it. [ShardEnd] gives a reader
	// that ends at once. Unknown shards give [ErrShardNotFound].
	Open(ctx context.Context, shardID string, from Position) (Reader, error)
}

// Reader reads one shard forward. It belongs to one goroutine at a time; only
// Close may be called beside Next.
type Reader interface {
	// Next waits until there are records after the last ones it gave, empties b
	// and fills it within b's limits. It returns
	//
	//   - nil, and at least one record;
	//   - [*ShardEndError] when a closed shard has no more, now and ever after;
	//   - [*TrimmedError] once, when records between the last position and
	//     these were dropped by retention: reading goes on behind the gap;
	//   - [*CorruptError] when stored records cannot be trusted, again and again;
	//   - [ErrShardNotFound] when the shard has left the stream, with what was not
	//     yet read of it: a closed shard does when its last record leaves retention;
	//   - the cause of ctx, or [ErrClosed]; or what else hindered it. The next
	//     call tries again from the same place.
	//
	// Only durable records are given: none that a crash could take back.
	Next(ctx context.Context, b *Batch) error

	// Close frees what the reader holds and makes a waiting Next return
	// [ErrClosed]. It may be called twice.
	Close() error
}

// Subscriber is the push seam: a stream that has it sends records the moment
// they are durable. Found by type assertion; optional.
type Subscriber interface {
	// Subscribe calls handle with one batch after the other, in order, from one
	// goroutine, until handle returns an error (returned as it is), the shard
	// ends ([*ShardEndError]), records are missing ([*TrimmedError]: subscribe
	// again at its Horizon) or ctx is done (its cause). The batch is used again
	// after handle returns. A slow handle slows its own subscription and
	// nothing else; no more than limits.MaxBytes (or one record) and the blocks
	// that hold them are kept for it.
	Subscribe(ctx context.Context, shardID string, from Position, limits Batch, handle func(*Batch) error) error
}

// Registrar is the push seam of a stream that knows its subscribers by name, as
// Kinesis Data Streams knows the consumers of enhanced fan-out. Optional; a
// stream that pushes to anybody is a [Subscriber] itself.
type Registrar interface {
	// Register makes the consumer known to the stream, waits until it may
	// subscribe, and returns its subscriptions. Whoever registers a name that is
	// known already gets the same consumer: the workers of a fleet do so at the
	// same time. It returns [ErrTooManyConsumers] where there is no room for
	// another one. Subscriptions of a consumer that is gone end with
	// [ErrConsumerNotFound]: register it again.
	//
	// A stream may allow a consumer one subscription for each shard; then a
	// later one takes over, and the former waits to see whether its context ends.
	Register(ctx context.Context, consumer string) (Subscriber, error)
	// Deregister makes the stream forget the consumer, and so ends its
	// subscriptions, whoever holds them. It returns when the consumer is gone; a
	// name that the stream does not know is no error.
	Deregister(ctx context.Context, consumer string) error
}

// Putter is the write seam. Optional.
type Putter interface {
	// Put stores the entries and returns one result for each, in order, when
	// they are as durable as the stream promises. Entries of one call that fall
	// into one shard keep their order; how far a remote service promises that, package
	// kinesis tells. The error is for what concerns the call
	// as a whole; then no result is given, and whether anything was stored is
	// unknown unless the error says otherwise. Entries are not kept after Put
	// returns.
	Put(ctx context.Context, entries ...Entry) ([]PutResult, error)
}

// Resharder changes the shards of a stream. Optional.
type Resharder interface {
	// Split closes a shard and opens two children, the second of which begins
	// with the given point of the parent's range.
	Split(ctx context.Context, shardID string, at Hash) error
	// Merge closes two shards whose ranges lie side by side and opens one child.
	Merge(ctx context.Context, shardID, adjacentID string) error
	// UpdateShardCount splits and merges until n open shards are left. They have
	// equal ranges; those of Kinesis may have two sizes.
	UpdateShardCount(ctx context.Context, n int) error
}

// Identity names a stream and tells its incarnations apart: a stream that is
// deleted and created again under its old name is another stream, and no
// checkpoint of the former may be applied to it.
type Identity struct {
	// Name is what people call the stream; for Kinesis, its ARN.
	Name string
	// Created is when this incarnation was created, to the millisecond.
	Created time.Time
}

// ID is the incarnation's identity as one string: name:unix-milliseconds.
func (i Identity) ID() string { return i.Name + ":" + strconv.FormatInt(i.Created.UnixMilli(), 10) }

var (
	// ErrStreamNotFound says that the stream does not exist, or no longer. It
	// is never a shard's end.
	ErrStreamNotFound = errors.New("stream not found")
	// ErrShardNotFound says that the stream has no such shard, or no longer.
	ErrShardNotFound = errors.New("shard not found")
	// ErrConsumerNotFound says that the stream knows no consumer of that name,
	// or no longer.
	ErrConsumerNotFound = errors.New("consumer not found")
	// ErrTooManyConsumers says that the stream takes no further consumers, until
	// one is deregistered.
	ErrTooManyConsumers = errors.New("too many consumers")
	// ErrClosed says that a reader or a stream was used after Close.
	ErrClosed = errors.New("already closed")
	// ErrThrottled says that a limit of the stream was reached: try again later.
	ErrThrottled = errors.New("throughput limit exceeded")
	// ErrReadOnly says that the stream can be read and not written to, because
	// its storage failed.
	ErrReadOnly = errors.New("stream is read-only")
)

// ShardEndError says that a closed shard was read to its end, and names the
// shards that go on from there: all whose parent it is.
type ShardEndError struct {
	Shard    string
	Children []Shard
}

func (e *ShardEndError) Error() string {
	return fmt.Sprintf("%s has ended, %d children go on", e.Shard, len(e.Children))
}

// TrimmedError says that records were dropped by retention before they were
// read: everything between From and the first record still there.
type TrimmedError struct {
	Shard string
	// From is where reading should have gone on.
	From Position
	// Horizon is the sequence number of the oldest record that is left, or
	// the one that the next record will at least have.
	Horizon Sequence
}

func (e *TrimmedError) Error() string {
	return fmt.Sprintf("%s: records after %v left retention unread; the oldest left is %v", e.Shard, e.From, e.Horizon)
}

// CorruptError says that stored records are damaged. They are never served,
// and nothing behind them in their shard is, until somebody decides what to do.
type CorruptError struct {
	// Shard is the shard concerned, empty when that cannot be known.
	Shard string
	// File and Offset tell where the damage lies.
	File   string
	Offset int64
	Detail string
}

func (e *CorruptError) Error() string {
	where := e.Shard
	if where == "" {
		where = "unknown shard"
	}
	return fmt.Sprintf("%s: corrupt data in %s at offset %d: %s; mend the file, or accept the loss to go on behind it", where, e.File, e.Offset, e.Detail)
}
