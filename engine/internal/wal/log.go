package wal

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace/millrace/engine/internal/vfs"
)

// Options of a log. The zero value of every field but FS works.
type Options struct {
	FS vfs.FS
	// SegmentBytes is the size of a segment file. Default: 64 MiB.
	SegmentBytes int64
	// CacheBytes is how much of what was written last stays in memory. Default: 64 MiB.
	CacheBytes int
	// PendingBytes holds back appends while as much is not yet committed.
	// Default: 16 MiB.
	PendingBytes int
	// SyncEvery answers appends when they are written, and syncs at most that
	// much later. Default: 0, answer when they are synced.
	SyncEvery time.Duration
	// ChunkBytes is how much of the log is rewritten at a time, by whole
	// segments, one at least. Default: 0, [Rewriter.Next] does nothing.
	ChunkBytes int64
	// IdleMark is how long after the last commit the log notes in itself what
	// is durable. Default: 1 s.
	IdleMark time.Duration
	// Logger is told of what the log does by itself. Default: slog.Default().
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	o.SegmentBytes = cmp.Or(o.SegmentBytes, 64<<20)
	o.CacheBytes = cmp.Or(o.CacheBytes, 64<<20)
	o.PendingBytes = cmp.Or(o.PendingBytes, 16<<20)
	o.IdleMark = cmp.Or(o.IdleMark, time.Second)
	o.Logger = cmp.Or(o.Logger, slog.Default())
	return o
}

// runSegments is how many segments are rewritten at a time.
func (o Options) runSegments() int {
	if o.ChunkBytes <= 0 {
		return 0
	}
	return int(max(1, o.ChunkBytes/o.SegmentBytes))
}

// MaxRecord returns how large a record may be in a log with segments of that
// size, key included.
func MaxRecord(segmentBytes int64) int {
	return int(segmentBytes/2) - 2*headerSize - recordHead - hashSize - blocksStart/2
}

// ErrNoRoom says that nothing was stored because the disk has no room for another
// segment. The log tries to make one again and again.
var ErrNoRoom = errors.New("no room for another log segment: free some on its disk, or shorten a retention")

// Log is an open log. All methods may be called at the same time.
type Log struct {
	opt     Options
	openGen uint64
	segs    segments
	cache   cache

	// mu guards the end of the log. It is held for copying and never for I/O.
	mu     sync.Mutex
	shards map[uint64]*Shard
	arena  *arena
	open   openBlock
	cur    *group // what is appended and not yet taken by a commit
	last   *group // what was taken last; nil before the first
	// The memory of a finished group, for another one.
	spareExtents []extent
	spareBlocks  []block
	// written are the groups that are in the file and wait for a sync.
	written []*group
	// writing and syncing say that somebody does, and who sets them acts alone.
	writing, syncing bool
	pending          int // bytes appended and not settled
	durable          Pos // everything before it is synced
	settled          Pos // everything before it is answered
	unsynced         []*segment
	failed           error // set once, when nothing can be appended any more
	told             sync.Once
	closed           bool

	next     *segment      // prepared, or nil
	nextGen  uint64        // of the segment to prepare after next
	nextErr  error         // why there is no next
	waitRoom chan struct{} // closed when room or a segment may have come; nil while nobody waits
	growTo   int64         // how far the log may grow, in terms of grownLocked, before the rewriter gets on
	turn     chan struct{} // held by who waits for growTo: the others come after him, in order

	accepts atomic.Int64 // counts the calls of Accept
	// atOpen are pages that the disk could not read when the log was opened, by
	// file. It does not change afterwards.
	atOpen map[uint64][]int64

	wantSegment chan struct{}
	filled      chan struct{} // signalled when the log has gone on in another segment
	kickWriter  chan struct{}
	kickSyncer  chan struct{}
	kickMarker  chan struct{}
	syncSlot    chan struct{} // held by who syncs in the background mode
	stop        context.CancelCauseFunc
	stopped     <-chan struct{}
	wg          sync.WaitGroup
}

// openBlock is the block at the end of the arena that can still grow.
type openBlock struct {
	header
	shard *Shard
	at    int // of the header in the arena
}

// NewShard adds a shard. Its handle must be new, or its counters must begin
// after those of its former life: the open generation sees to that.
func (l *Log) NewShard(state ShardState) *Shard {
	l.mu.Lock()
	defer l.mu.Unlock()
	sh := l.makeShard(state)
	l.shards[state.Handle] = sh
	return sh
}

func (l *Log) makeShard(state ShardState) *Shard {
	sh := &Shard{
		handle:  state.Handle,
		base:    state.Base,
		next:    max(state.Last+1, l.openGen<<openGenShift),
		tail:    state.Last,
		arrival: state.Arrival,
		trimmed: state.Trimmed,
		ended:   state.Ended,
	}
	if sh.ended {
		sh.sealed = closedChan
	}
	return sh
}

// openGenShift leaves each opening of the log a trillion counters of every
// shard for itself: what an earlier one gave away and lost is never given again.
const openGenShift = 40

// Shard returns the shard with that handle, or nil.
func (l *Log) Shard(handle uint64) *Shard {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.shards[handle]
}

func (l *Log) allShards() []*Shard {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Values(l.shards))
}

// Forget gives up the shard's handle. Cursors on it go on.
func (l *Log) Forget(s *Shard) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.shards, s.handle)
}

// Durable returns a place before which everything is synced.
func (l *Log) Durable() Pos {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.durable
}

// Fail stops the log for good, as a failed write does.
func (l *Log) Fail(err error) { _ = l.fail(err) }

// Err returns why nothing can be appended any more, or nil.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
