package lease

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/stream"
)

// Lease is the row in which it is written who owns a shard and how far it has
// been processed. It is a value: stores keep it and compare-and-swap it, and
// every decision about it is a pure function of this package.
type Lease struct {
	// Key names the row: unique in the application.
	Key string
	// Stream, StreamID and Shard say which shard of which incarnation of which
	// stream: Stream is its name, StreamID [stream.Identity.ID].
	Stream, StreamID, Shard string

	// Owner is the incarnation of the worker that should hold the shard; empty
	// for nobody.
	Owner string
	// CheckpointOwner is set during a handoff only: the incarnation that still
	// holds the shard and may still checkpoint. Owner waits until it is empty.
	CheckpointOwner string
	// Counter grows by one with every write of the row, and is the guard of
	// every swap. A new row starts at the Unix millisecond of its creation, so
	// that counters, and with them terms, grow even across deletion and
	// re-creation.
	Counter int64
	// Term is the Counter with which the present holder took the shard: the
	// fencing token, which grows with every change of hands. 0 while nobody
	// holds the shard.
	Term int64

	// Checkpoint is how far the shard has been processed.
	Checkpoint checkpoint.State

	// Parents and Children are shard IDs. Children are known from the shard's
	// end on.
	Parents, Children []string
	// Hash is the shard's part of the hash space.
	Hash stream.HashRange
	// Load is what processing the shard costs.
	Load Load
}

// Load is the smoothed traffic of a shard or of a whole worker.
type Load struct {
	BytesPerSecond, RecordsPerSecond float64
}

// below reports whether a load is less than half of another one.
func (l Load) below(other Load) bool {
	return 2*l.BytesPerSecond < other.BytesPerSecond || 2*l.RecordsPerSecond < other.RecordsPerSecond
}

// Member is the row of one incarnation of a worker: one start of one process.
// It is never used again after its end.
type Member struct {
	// Incarnation is the key: the worker's name and a nonce made at its start.
	Incarnation string
	// Worker is the name that people know.
	Worker string
	// Version grows by one with every write of the row, and is the guard of
	// every swap.
	Version int64
	// Beats is moved by the worker itself and by nobody else: while it moves,
	// the worker lives. It grows with the milliseconds of the worker's own
	// monotonic clock from its start to when the beat was sent, by one at least.
	Beats int64
	// Revision is moved by the leader after it changed leases of this worker.
	Revision int64
	// Fenced says that the worker is out: nothing that it holds is its own any
	// more, and its next beat fails.
	Fenced bool
	// Draining says that the worker gives away what it holds and takes nothing.
	Draining bool
	// FailoverTime and HandoffTimeout are those of the worker's [Config], in whole
	// milliseconds: for how long it may go on unheard, and with a handoff that it was
	// told of. Whoever waits for it waits for as long at least, whatever he has
	// himself. 0 says that the row does not tell, as that of an earlier program.
	FailoverTime, HandoffTimeout time.Duration

	// Load is what the worker carries, in sum.
	Load Load
	// MaxLeases is how many leases the worker takes at most; 0 is no bound.
	MaxLeases int
	// Streams are the streams that the worker serves, as far as it has reached
	// them: it is given leases of these alone, so that a fleet in which only some
	// know of a stream, as during a rollout, gives it to those. Leases of a stream
	// that nobody lists are given to anybody.
	Streams StreamSet
	// Blocked is what the worker holds and does not get on with.
	Blocked BlockedSet
	// Code is the revision of the program, for rollouts; Zone and Host tell
	// where it runs. All may be empty.
	Code, Zone, Host string
}

// Note is a row in which people tell a fleet what they want of it, until they
// take it back: see [Operator]. Workers only read notes.
type Note struct {
	// Name is the key: unique in the application, at most 1,000 bytes.
	Name string
	// Version is the guard of every swap. It grows by one with each; a new note
	// begins at the Unix millisecond of its creation, so that it never has a
	// Version again that a removed one of the same name had.
	Version int64
	// Value is what is wanted, as text, at most 100 KB.
	Value string
}

// Store is the whole contract that a backend has to meet. One store holds the
// rows of one application. Methods may be called at the same time by many
// goroutines of many processes; every row is linearizable. Lists and byte
// slices that are given or returned are never changed afterwards by either
// side; empty ones and nil are the same, and a store may return either.
//
// An error other than [ErrConflict] leaves open whether a write took place:
// callers read the row back before they decide anything. One that wraps
// [checkpoint.ErrTooLarge] says that the row has no room in the store, so that the
// write did not take place, and never will.
//
// lease/leasetest is the contract as tests.
type Store interface {
	// Leases yields every lease of the application, in no certain order. It
	// need not be a snapshot; a row that exists during the whole call is
	// yielded, and no key twice. It stops after the first error. A row that
	// cannot be understood is passed over: it stands for no other.
	Leases(ctx context.Context) iter.Seq2[Lease, error]
	// Owned returns the leases whose Owner or CheckpointOwner is that
	// incarnation, by an index and not by a scan. It may lag behind the rows,
	// but not for ever. Nobody owns nothing: for "" it returns no rows. A row that
	// cannot be understood is passed over.
	Owned(ctx context.Context, incarnation string) ([]Lease, error)
	// Read returns the rows with these keys as they are now (strongly
	// consistent), in no certain order; those that do not exist are left out.
	// One that cannot be understood is [ErrUnreadable].
	Read(ctx context.Context, keys ...string) ([]Lease, error)
	// Create adds the rows that do not exist yet, with the Counter that they
	// carry, and leaves existing ones alone.
	Create(ctx context.Context, leases ...Lease) error
	// Swap replaces the row if its Counter and Owner are those of old, and
	// returns what it wrote: next with the Counter old.Counter+1. Otherwise it
	// returns the row as it is, and [ErrConflict]; the zero Lease when there is
	// none. The row is that of old.Key; Key, Stream, StreamID and Shard never
	// change, whatever next says.
	Swap(ctx context.Context, old, next Lease) (Lease, error)
	// Delete removes the row under the same guard; [ErrConflict] also when
	// there is none.
	Delete(ctx context.Context, old Lease) error

	// Members returns every member row as it is now (strongly consistent).
	Members(ctx context.Context) ([]Member, error)
	// SwapMember is the one way to write a member row: it joins (old is zero:
	// the row must not exist), beats, bumps, fences, and ends a row (next is
	// zero). The row must have the Version of old; it gets old.Version+1, which
	// is 1 for a join, and is returned as written. Otherwise it returns the row
	// as it is, and [ErrConflict]; the zero Member when there is none. It never
	// creates a row but by a join. Two zero rows are an error that is no conflict.
	SwapMember(ctx context.Context, old, next Member) (Member, error)

	// Notes returns every note as it is now (strongly consistent).
	Notes(ctx context.Context) ([]Note, error)
	// SwapNote is the one way to write a note: it creates (old is zero: there must
	// be none of that name), replaces, and removes one (next is zero), by the rules
	// of SwapMember, but that a new note gets the Version that next carries.
	SwapNote(ctx context.Context, old, next Note) (Note, error)
}

// Notifier is a store that can wake others at once. Optional, found by type
// assertion: notifications only speed things up.
type Notifier interface {
	// Changes calls wake, soon, after any write of another process, until ctx
	// is done. Several writes may be one call, and a call may come for nothing.
	// Writes that only move beats or checkpoints need not wake anybody: a store
	// that can tell them apart saves its users much reading. wake may block.
	Changes(ctx context.Context, wake func()) error
}

// Named is a store that knows whose rows it holds. Optional, found by type
// assertion: a coordinator of another application refuses it. A store that wraps
// one, and has no such method of its own, is not asked.
type Named interface {
	// Application returns the name of the application that the rows belong to.
	Application() string
}

// Inheritor is a store that may have rows of another program, which do not say of
// which incarnation of their stream they are. Optional, found by type assertion.
type Inheritor interface {
	// Inherit tells which incarnation of a stream is the present one, as a leader
	// has just heard from the stream itself. Rows that do not say belong to it from
	// the next listing on, and whatever becomes of the stream later.
	Inherit(id stream.Identity)
}

// Transactional is a store whose swaps can be part of a transaction of the
// caller's. Optional, found by type assertion.
type Transactional interface {
	// SwapIn is Swap within tx, whose type the store names: it takes place if and
	// when that commits, and until then whoever else writes the row waits. The row
	// that comes with [ErrConflict] is that which tx sees.
	SwapIn(ctx context.Context, tx any, old, next Lease) (Lease, error)
}

// Grouping is a store that may make one write of many swaps. Optional, found by
// type assertion: a worker lets the checkpoints of its shards come at the same
// moments then, and spreads them otherwise.
type Grouping interface {
	// GroupsSwaps reports whether swaps that come at the same moment cost less
	// than the same number one after the other.
	GroupsSwaps() bool
}

// Presence is a store that knows at once when the process of a worker has ended,
// from the end of a connection for example, so that its leases need not wait for
// FailoverTime. Optional, found by type assertion.
//
// Who relies on it assumes that a presence ends with the process, or else that the
// process knows it first: it then stops at once, and comes back as a new
// incarnation. Should the others learn of it first all the same, two workers may
// process a shard for a moment; what they store stays fenced by terms.
type Presence interface {
	// Attend makes an incarnation present, calls attending, once, when it is so,
	// and returns when its presence has ended: because ctx is done, or with the
	// reason. The member row is created afterwards, and says for good that there was
	// a presence: who never had one has not ended. A store that keeps none returns
	// [errors.ErrUnsupported] at once.
	//
	// That the store does not answer is no end: it may stand still, and know the
	// worker when it goes on. patience is for how long a worker may go on unanswered;
	// a presence that was not confirmed for longer has ended.
	Attend(ctx context.Context, incarnation string, patience time.Duration, attending func()) error
	// Ended returns those of the incarnations whose presence has ended, or whose
	// member rows are fenced or gone. It returns none when observer, who asks, is not
	// present itself: it may have lost touch with all at once.
	Ended(ctx context.Context, observer string, incarnations ...string) ([]string, error)
}

// ErrConflict says that a row is not as the caller believed, so that nothing
// was written.
var ErrConflict = errors.New("lease store: the row has changed")

// ErrUnreadable says that a row cannot be understood, as after a person has changed
// it. A [Store.Read] whose error wraps it has read none of the rows, and would read
// the others without that one.
var ErrUnreadable = errors.New("lease store: a row cannot be understood")

// Causes with which the context of a hold is cancelled. All of them wrap
// [checkpoint.ErrLeaseLost].
var (
	// ErrLost says that the row shows another holder, or a later term.
	ErrLost error = lost("another worker took the shard")
	// ErrExpired says that the worker could not prove in time that it lives,
	// and stops by its own clock before anyone else may take its shards.
	ErrExpired error = lost("no heartbeat in time")
	// ErrAbsent says that the worker's presence has ended ([Presence]), so that its
	// process may be taken for ended, and others may take its shards.
	ErrAbsent error = lost("the worker's presence ended")
	// ErrDrained says that the worker was told to stop and its time is over.
	ErrDrained error = lost("handed over unfinished: the time to drain is over")
)

type lost string

func (l lost) Error() string { return "lease lost: " + string(l) }
func (l lost) Unwrap() error { return checkpoint.ErrLeaseLost }
