package wal

import (
	"slices"
	"sync"
	"time"

	"github.com/millrace/millrace/stream"
)

const (
	defaultBatchRecords = 10_000
	defaultBatchBytes   = 1 << 20
	// A batch near the tip may be views of a few arenas; a few records cannot
	// keep the whole cache alive.
	defaultArenas = 4
)

// filling is one read under way: what it needs only until the batch is full.
type filling struct {
	c      *Cursor
	b      *stream.Batch
	cutoff int64

	maxRecords, maxBytes, maxFootprint int
	full                               bool

	entries []entry // blocks that follow the cursor's, in order
	arena   *arena  // the one that was looked at last
	pinned  *segment
	slab    memory // the batch's own
	owner   *byte  // whose memory was counted last
	found   [128]entry
	touched byte
}

var fillings = sync.Pool{New: func() any { return new(filling) }}

func newFilling(c *Cursor, b *stream.Batch, cutoff int64) *filling {
	f := fillings.Get().(*filling)
	f.c, f.b, f.cutoff, f.full = c, b, cutoff, false
	f.maxRecords, f.maxBytes = defaultBatchRecords, defaultBatchBytes
	if b.MaxRecords > 0 {
		f.maxRecords = b.MaxRecords
	}
	if b.MaxBytes > 0 {
		f.maxBytes = b.MaxBytes
	}
	f.maxFootprint = f.maxBytes + defaultArenas*arenaBytes
	if b.MaxFootprint > 0 {
		f.maxFootprint = b.MaxFootprint
	}
	return f
}

func (f *filling) release() {
	f.unpin()
	f.c, f.b, f.entries, f.arena, f.slab, f.owner = nil, nil, nil, nil, memory{}, nil
	fillings.Put(f)
}

// orRecords keeps an error for the next read when there are records to give.
func (f *filling) orRecords(err error) error {
	if len(f.b.Records) > 0 {
		f.done()
		return nil
	}
	return err
}

// done says how far the batch is behind. A cursor that is not keeps nothing.
func (f *filling) done() {
	sh := f.c.sh
	sh.mu.Lock()
	behind := sh.hasLocked(f.c.next)
	newest := sh.newest
	sh.mu.Unlock()
	if !behind {
		f.c.stretch = stretch{}
		return
	}
	last := f.b.Records[len(f.b.Records)-1].Arrival.UnixMilli()
	f.b.Behind = max(time.Millisecond, time.Duration(newest-last)*time.Millisecond)
}

// take moves records from a block into the batch, until one of the two is at
// its end.
func (f *filling) take(v *view) error {
	c, b := f.c, f.b
	payload := v.payload.bytes
	// Inside a block, records share an arrival more often than not.
	delta, arrival := -1, time.Time{}
	checkAge := v.base < f.cutoff || v.base < c.since
	for ; v.read < int(v.count); v.read++ {
		r, err := decodeRecord(payload[v.done:])
		if err != nil {
			return f.malformed(v, err)
		}
		counter := v.first + uint64(v.read)
		if counter >= c.next {
			if checkAge {
				ms := v.base + int64(r.delta)
				if ms < f.cutoff && !c.fresh {
					// Records are in order of arrival: the batch is empty.
					return f.skipExpired(v)
				}
				if ms < f.cutoff || ms < c.since {
					v.done += r.size()
					c.next = counter + 1
					continue
				}
			}
			size := r.key + r.data
			n := len(b.Records)
			if n >= f.maxRecords || n > 0 && b.Bytes+size > f.maxBytes {
				f.full = true
				return nil
			}
			if int(r.delta) != delta {
				delta = int(r.delta)
				arrival = time.UnixMilli(v.base + int64(delta))
			}
			if v.payload.owner != f.owner {
				f.owner = v.payload.owner
				b.Footprint += v.payload.weight
			}
			if n == cap(b.Records) {
				b.Records = slices.Grow(b.Records, 1)
			}
			b.Records = b.Records[:n+1]
			hash, key, data := r.split(payload[v.done:])
			// One by one: a literal would be made aside and copied.
			to := &b.Records[n]
			to.Sequence = c.sh.base.Add(counter)
			to.PartitionKey = key
			to.Data = data
			to.Arrival = arrival
			to.HashKey, to.HasHashKey = hash, r.hash > 0
			b.Bytes += size
			c.next = counter + 1
			c.fresh, c.since = false, 0
		}
		v.done += r.size()
	}
	f.full = len(b.Records) >= f.maxRecords || b.Bytes >= f.maxBytes
	return nil
}

// skipExpired reports that a part of a block has left retention unread, and
// goes on behind that part.
func (f *filling) skipExpired(v *view) error {
	for ; v.read < int(v.count); v.read++ {
		r, err := decodeRecord(v.payload.bytes[v.done:])
		if err != nil {
			return f.malformed(v, err)
		}
		if v.base+int64(r.delta) >= f.cutoff {
			break
		}
		v.done += r.size()
	}
	f.c.next = v.first + uint64(v.read)
	return &Trimmed{f.c.next}
}

func (f *filling) malformed(v *view, err error) error {
	return f.lost(v.entry, err.Error())
}

// lost takes note that a block cannot be read. It returns nil when the block is
// not wanted any more: the next look at the index tells why.
func (f *filling) lost(e entry, detail string) error {
	f.c.block, f.c.stretch, f.entries = view{}, stretch{}, nil
	return f.c.log.damaged(f.c.sh, e, detail)
}

// refill looks up the blocks that follow. With an empty batch it may also say
// why there are none.
func (f *filling) refill() (wait <-chan struct{}, err error) {
	c, sh, empty := f.c, f.c.sh, len(f.b.Records) == 0
	sh.mu.Lock()
	if sh.gone {
		sh.mu.Unlock()
		return nil, ErrGone
	}
	c.log.expireLocked(sh, f.cutoff)
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
	entries := sh.index.from(c.next, f.found[:0])
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
	f.entries = entries
	f.warm()
	return nil, nil
}
