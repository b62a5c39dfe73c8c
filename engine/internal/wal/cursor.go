package wal

import (
	"errors"
	"fmt"

	"github.com/millrace/millrace/stream"
)

// Cursor reads one shard forward. It belongs to one goroutine at a time. At
// rest, at the end of its shard, it keeps no records alive.
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
	// block is the one that the last batch ended in, and stretch what was read
	// from the disk and not used up by it.
	block   view
	stretch stretch
	// expected is the counter up to which the system knows what comes.
	expected uint64
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

// Read empties the batch and fills it within its limits with records that
// arrived at cutoff or later. When there are none yet, it returns a channel
// that is closed when it is worth trying again.
func (c *Cursor) Read(b *stream.Batch, cutoff int64) (wait <-chan struct{}, err error) {
	b.Reset()
	f := newFilling(c, b, cutoff)
	defer f.release()
	for {
		if c.block.left() {
			if err := f.take(&c.block); err != nil {
				return nil, f.orRecords(err)
			}
		}
		if !c.block.left() {
			c.block = view{} // let go of its memory
		}
		if f.full {
			f.done()
			return nil, nil
		}
		if len(f.entries) == 0 {
			wait, err := f.refill()
			switch {
			case err != nil:
				return nil, f.orRecords(err)
			case len(f.entries) > 0:
			case len(b.Records) > 0:
				f.done()
				return nil, nil
			case wait != nil:
				c.stretch = stretch{}
				return wait, nil
			default:
				continue
			}
		}
		if c.block, err = f.fetch(); err != nil {
			return nil, f.orRecords(err)
		}
	}
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
