package wal

import (
	"errors"
	"fmt"
	"time"

	"github.com/millrace/millrace/stream"
)

// Cursor reads one shard forward. It belongs to one goroutine at a time.
type Cursor struct {
	log *Log
	sh  *Shard
	// next is the counter from which on records are wanted.
	next uint64
	// fresh says that nothing has been read yet from where the shard begins, so
	// that nothing before the first record can have been missed.
	fresh bool
	// since is the arrival from which on records are wanted, while fresh; Unix ms.
	since int64

	queue   []view // blocks at hand, in order
	at      int    // the first of them that has records left
	scratch [64]entry

	// What the batch under way keeps alive: arenas that it shares, and memory
	// of its own.
	arenas    int
	lastArena *arena
	slab      []byte
}

// view is a block at hand.
type view struct {
	entry
	payload []byte
	done    int // bytes of the payload that are read
	read    int // records that are read
	// owner and weight name and size the memory that the payload keeps alive.
	owner  *byte
	weight int
}

// Start says where a cursor begins.
type Start struct {
	// Counter is the first one wanted.
	Counter uint64
	// Oldest begins with what is there, and misses nothing that was dropped.
	Oldest bool
	// Since is, with Oldest, the arrival from which on records are wanted, Unix ms.
	Since int64
}

// NewCursor returns a cursor on the shard.
func (l *Log) NewCursor(s *Shard, from Start) *Cursor {
	return &Cursor{log: l, sh: s, next: max(1, from.Counter), fresh: from.Oldest, since: from.Since}
}

// Outcomes of a read that gives no records.
var (
	// ErrEnd says that the shard has ended and has no more records.
	ErrEnd = errors.New("the shard has ended")
	// ErrGone says that the shard was deleted.
	ErrGone = errors.New("the shard is gone")
)

// Trimmed says that retention has dropped records that the cursor had not
// read: those before the counter Horizon, from which it goes on.
type Trimmed struct{ Horizon uint64 }

func (t *Trimmed) Error() string {
	return fmt.Sprintf("records before %d were dropped unread", t.Horizon)
}

// Lost says that the records which follow are damaged.
type Lost struct{ Gap }

func (e *Lost) Error() string { return fmt.Sprintf("%s at %d: %s", e.File, e.Offset, e.Detail) }

const (
	defaultBatchRecords = 10_000
	defaultBatchBytes   = 1 << 20
	// sharedArenas is how many arenas one batch keeps alive at most; what lies
	// in others is copied, so that a few records cannot pin the whole cache.
	sharedArenas = 4
	// readSpan is read from the disk at once at most, unless one block is larger.
	readSpan = 1 << 20
	slabStep = 64 << 10
)

// Read empties the batch and fills it within its limits with records that
// arrived at cutoff or later. When there are none yet, it returns a channel
// that is closed when it is worth trying again.
func (c *Cursor) Read(b *stream.Batch, cutoff int64) (wait <-chan struct{}, err error) {
	b.Reset()
	maxRecords, maxBytes := b.MaxRecords, b.MaxBytes
	if maxRecords <= 0 {
		maxRecords = defaultBatchRecords
	}
	if maxBytes <= 0 {
		maxBytes = defaultBatchBytes
	}
	c.slab, c.arenas, c.lastArena = nil, 0, nil
	f := filling{c: c, b: b, maxRecords: maxRecords, maxBytes: maxBytes, cutoff: cutoff}
	for {
		for c.at < len(c.queue) {
			v := &c.queue[c.at]
			full, err := f.take(v)
			if err != nil {
				return nil, f.orRecords(err)
			}
			if full {
				return nil, f.done()
			}
			*v = view{} // let go of its memory
			c.at++
		}
		c.queue, c.at = c.queue[:0], 0
		wait, err := c.refill(cutoff, maxBytes-b.Bytes, len(b.Records) == 0)
		switch {
		case err != nil:
			return nil, f.orRecords(err)
		case len(c.queue) > 0:
		case len(b.Records) > 0:
			return nil, f.done()
		case wait != nil:
			return wait, nil
		}
	}
}

// filling is one read under way.
type filling struct {
	c                    *Cursor
	b                    *stream.Batch
	maxRecords, maxBytes int
	cutoff               int64
	owner                *byte
}

// orRecords keeps an error for the next read when there are records to give.
func (f *filling) orRecords(err error) error {
	if len(f.b.Records) > 0 {
		return f.done()
	}
	return err
}

func (f *filling) done() error {
	sh := f.c.sh
	sh.mu.Lock()
	behind := sh.hasLocked(f.c.next)
	newest := sh.newest
	sh.mu.Unlock()
	if behind {
		last := f.b.Records[len(f.b.Records)-1].Arrival.UnixMilli()
		f.b.Behind = max(time.Millisecond, time.Duration(newest-last)*time.Millisecond)
	}
	return nil
}

// take moves records from a block into the batch. It reports whether the batch
// is full.
func (f *filling) take(v *view) (full bool, err error) {
	c, b := f.c, f.b
	var r recordView
	// Inside a block, records share an arrival more often than not.
	delta, arrival := -1, time.Time{}
	checkAge := v.base < f.cutoff || v.base < c.since
	for ; v.read < int(v.count); v.read++ {
		if err := decodeRecord(v.payload[v.done:], &r); err != nil {
			return false, c.malformed(v, err)
		}
		counter := v.first + uint64(v.read)
		if counter >= c.next {
			if checkAge {
				ms := v.base + int64(r.delta)
				if ms < f.cutoff && !c.fresh {
					// Records are in order of arrival: the batch is empty.
					return false, c.skipExpired(v, f.cutoff)
				}
				if ms < f.cutoff || ms < c.since {
					v.done += r.size
					c.next = counter + 1
					continue
				}
			}
			size := len(r.key) + len(r.data)
			if n := len(b.Records); n >= f.maxRecords || n > 0 && b.Bytes+size > f.maxBytes {
				return true, nil
			}
			if int(r.delta) != delta {
				delta = int(r.delta)
				arrival = time.UnixMilli(v.base + int64(delta))
			}
			if v.owner != f.owner {
				f.owner = v.owner
				b.Footprint += v.weight
			}
			b.Records = append(b.Records, stream.Record{
				Sequence:     c.sh.base.Add(counter),
				PartitionKey: r.key,
				Data:         r.data,
				Arrival:      arrival,
				HashKey:      r.hash,
				HasHashKey:   r.hasHash,
			})
			b.Bytes += size
			c.next = counter + 1
			c.fresh, c.since = false, 0
		}
		v.done += r.size
	}
	return false, nil
}

// skipExpired reports that a part of a block has left retention unread, and
// goes on behind that part.
func (c *Cursor) skipExpired(v *view, cutoff int64) error {
	var r recordView
	for ; v.read < int(v.count); v.read++ {
		if err := decodeRecord(v.payload[v.done:], &r); err != nil {
			return c.malformed(v, err)
		}
		if v.base+int64(r.delta) >= cutoff {
			break
		}
		v.done += r.size
	}
	c.next = v.first + uint64(v.read)
	return &Trimmed{c.next}
}

func (c *Cursor) malformed(v *view, err error) error {
	return c.lost(v.entry, err.Error())
}

// lost takes note that a block cannot be read. It returns nil when the block is
// not wanted any more: the next look at the index tells why.
func (c *Cursor) lost(e entry, detail string) error {
	c.queue, c.at = c.queue[:0], 0
	return c.log.damaged(c.sh, e, detail)
}

// refill puts the blocks that follow into the queue. With an empty batch it
// may also say why there are none.
func (c *Cursor) refill(cutoff int64, maxBytes int, empty bool) (wait <-chan struct{}, err error) {
	sh := c.sh
	sh.mu.Lock()
	if sh.gone {
		sh.mu.Unlock()
		return nil, ErrGone
	}
	c.log.expireLocked(sh, cutoff)
	if sh.trimmed >= c.next {
		if !empty {
			sh.mu.Unlock()
			return nil, nil
		}
		t := &Trimmed{sh.trimmed + 1}
		c.next = t.Horizon
		if !c.fresh {
			sh.mu.Unlock()
			return nil, t
		}
	}
	entries := sh.index.from(c.next, c.scratch[:0])
	if c.since > 0 {
		entries = sh.index.fromTime(c.since, entries[:0])
	}
	if g := sh.gapAt(c.next, c.since); g != nil {
		entries = before(entries, g.First)
		if len(entries) == 0 {
			lost := &Lost{*g}
			sh.mu.Unlock()
			return nil, lost
		}
	}
	if len(entries) == 0 {
		// Not told by committed: the last records may be lost, or of too early
		// a time.
		ended := sh.ended
		if !ended && empty {
			wait = sh.waiterLocked()
		}
		sh.mu.Unlock()
		if ended {
			return nil, ErrEnd
		}
		return wait, nil
	}
	sh.mu.Unlock()
	return nil, c.fetch(entries, maxBytes)
}

// hasLocked reports whether there are records at or behind a counter, be they
// lost.
func (s *Shard) hasLocked(next uint64) bool {
	return s.index.last() >= next || s.gapAt(next, 0) != nil
}

// gapAt returns the first gap that lies at or behind a counter, and may hold
// records that arrived at a time or later.
func (s *Shard) gapAt(next uint64, since int64) *Gap {
	for i := range s.gaps {
		if s.gaps[i].Last >= next && s.gaps[i].before > since {
			return &s.gaps[i]
		}
	}
	return nil
}

// before returns the entries that lie before a counter.
func before(entries []entry, counter uint64) []entry {
	for i := range entries {
		if entries[i].first >= counter {
			return entries[:i]
		}
	}
	return entries
}
