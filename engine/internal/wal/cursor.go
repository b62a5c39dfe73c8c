package wal

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"
	"unsafe"

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
			full, err := f.take(&c.queue[c.at])
			if err != nil {
				return nil, f.orRecords(err)
			}
			if full {
				return nil, f.done()
			}
			c.queue[c.at] = view{} // let go of its memory
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
	behind := f.c.next <= sh.committed
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

// lost takes note that a block cannot be read.
func (c *Cursor) lost(e entry, detail string) error {
	g := Gap{
		Range: Range{e.first, e.last()}, before: e.newest() + 1,
		File: c.log.opt.FS.Path(segmentName(e.pos.gen())), Offset: e.pos.off(), Detail: detail,
	}
	c.sh.mu.Lock()
	defer c.sh.mu.Unlock()
	c.sh.addGapLocked(g)
	c.queue, c.at = c.queue[:0], 0
	return &Lost{g}
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
		ended := sh.ended && c.next > sh.committed
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

// fetch brings blocks into the queue, up to about maxBytes, but one at least.
func (c *Cursor) fetch(entries []entry, maxBytes int) error {
	for i, bytes := 0, 0; i < len(entries) && (i == 0 || bytes < maxBytes); {
		e := entries[i]
		a := c.log.cache.get(e.pos)
		if a == nil {
			if i > 0 {
				return nil // from memory first: the rest with the next call
			}
			return c.load(entries, maxBytes)
		}
		from := e.pos.off() - a.start + headerSize
		payload := a.buf[from : from+int64(e.size) : from+int64(e.size)]
		v := view{entry: e, payload: payload, owner: unsafe.SliceData(a.buf), weight: len(a.buf)}
		if a != c.lastArena {
			c.arenas++
			c.lastArena = a
		}
		if c.arenas > sharedArenas {
			c.copyToSlab(&v, maxBytes-bytes)
		}
		c.queue = append(c.queue, v)
		bytes += int(e.size)
		i++
	}
	return nil
}

// copyToSlab gives a view memory of the batch's own.
func (c *Cursor) copyToSlab(v *view, want int) {
	n := len(v.payload)
	if cap(c.slab)-len(c.slab) < n {
		c.slab = make([]byte, 0, max(n, min(slabStep, want)))
	}
	at := len(c.slab)
	c.slab = append(c.slab, v.payload...)
	v.payload = c.slab[at : at+n : at+n]
	v.owner, v.weight = unsafe.SliceData(c.slab[:1]), cap(c.slab)
}

// load reads blocks from the disk: neighbours with one call, as long as most
// of what is read is wanted.
func (c *Cursor) load(entries []entry, maxBytes int) error {
	first := entries[0]
	end, useful, n := first.pos.off(), int64(0), 0
	for _, e := range entries {
		to := e.pos.off() + e.length()
		if n > 0 && (e.pos.gen() != first.pos.gen() || to-first.pos.off() > readSpan ||
			useful >= int64(maxBytes) || (useful+e.length())*4 < to-first.pos.off()) {
			break
		}
		end = to
		useful += e.length()
		n++
	}
	seg := c.log.segs.pin(first.pos.gen())
	if seg == nil {
		c.sh.mu.Lock()
		dropped := c.sh.trimmed >= first.first || c.sh.gone
		c.sh.mu.Unlock()
		if dropped {
			return nil // and the next look at the index tells
		}
		return c.lost(first, "its segment is not in the log")
	}
	defer c.log.segs.unpin(seg)
	buf := make([]byte, end-first.pos.off())
	if read, err := seg.file.ReadAt(buf, first.pos.off()); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read %s at %d: %w", seg.name, first.pos.off(), err)
	} else if read < len(buf) {
		buf = buf[:read]
	}
	for _, e := range entries[:n] {
		at := e.pos.off() - first.pos.off()
		if at+e.length() > int64(len(buf)) {
			return c.unlessFirst(e, "the file ends before the block does")
		}
		b := buf[at : at+e.length()]
		seed := seg.seedAt(e.pos.off())
		h, ok := decodeHeader(b, seed)
		if !ok || h.shard != c.sh.handle || h.first != e.first || h.size != e.size || h.count != e.count {
			return c.unlessFirst(e, "the header of a block fails its checksum")
		}
		if h.sum != checksum(seed, b[headerSize:]) {
			return c.unlessFirst(e, "the records of a block fail their checksum")
		}
		c.queue = append(c.queue, view{
			entry: e, payload: b[headerSize : headerSize+e.size : headerSize+e.size],
			owner: unsafe.SliceData(buf), weight: cap(buf),
		})
	}
	return nil
}

// unlessFirst leaves a damaged block for the next call when there are good
// ones before it.
func (c *Cursor) unlessFirst(e entry, detail string) error {
	if len(c.queue) > 0 {
		return nil
	}
	return c.lost(e, detail)
}

func checksum(seed uint32, payload []byte) uint32 { return crc32.Update(seed, castagnoli, payload) }
