package lease

import (
	"context"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/stream"
)

// Hold is a lease in hand: one term of one worker on one shard. Its context is
// the one given to the [HoldFunc]; it is cancelled, with [ErrLost], [ErrExpired],
// [ErrAbsent] or [ErrDrained] as its cause, before anyone else may take the shard.
//
// The Hold is the single writer of its row. Its methods may be called at the
// same time; they store one after the other.
type Hold interface {
	checkpoint.Saver
	// SaveIn returns [checkpoint.ErrNoTransactions] unless the store is
	// [Transactional].
	checkpoint.Joiner

	// Lease returns the row as the holder last knew it.
	Lease() Lease
	// Term is the fencing token: hand it to sinks that can refuse older ones.
	Term() int64
	// Draining is closed when the shard should be handed over: let the running
	// batch finish, checkpoint, and return from the HoldFunc.
	Draining() <-chan struct{}
	// SetLoad tells what the shard costs. It is stored along with checkpoints, and
	// by itself when it falls by half: a shard that falls idle has none.
	SetLoad(Load)
	// SetBlocked tells that the shard does not get on, and why, or with the zero
	// value that it does again. Beats carry it, so that the fleet's status tells it.
	SetBlocked(Blocked)
	// End stores SHARD_END and the children, so that they may begin.
	End(ctx context.Context, children []stream.Shard) error
	// Release stores the last state and gives the lease up, in one write. The
	// HoldFunc returns after it without another call.
	Release(ctx context.Context, s checkpoint.State) error
}

// HoldFunc processes one shard for one term. It runs on its own goroutine and
// returns when ctx is done, when h is draining, or after End. A lease that was
// neither ended nor released is released, as it is, after the return: at once
// when it was draining, else after a pause of PlanInterval, since what failed
// would fail again. An error is logged, and the shard is tried again, by
// whomever it falls to. A panic is not caught.
type HoldFunc func(ctx context.Context, h Hold) error
