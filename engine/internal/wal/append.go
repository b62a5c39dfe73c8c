package wal

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"syscall"
	"time"

	"github.com/millrace/millrace/stream"
)

// Run is the part of a put that falls into one shard.
type Run struct {
	Shard *Shard
	// At is the caller's own.
	At int
	// Entries are indexes of the put's entries, in order.
	Entries []int32
	// First is set by Append: the counter of the first entry; the others follow
	// without a gap.
	First uint64
	// Held is set by Append when the shard takes no records for now. Nothing of
	// the run was appended: ask again, where to, when it is closed.
	Held <-chan struct{}
}

// Commit is what an append waits for.
type Commit struct{ g *group }

// MaxAppend is how much one Append should have at most, by [Footprint]; one
// record may be larger.
func (l *Log) MaxAppend() int { return min(arenaBytes, int(l.opt.SegmentBytes/4)) }

// RunFootprint is what a run takes in the log beside its records: a block's
// header where it begins, and where an arena or a segment ends in it.
const RunFootprint = 3 * headerSize

// Footprint is what an entry takes in the log, its share of the headers of full
// blocks included.
func Footprint(e *stream.Entry) int {
	n := recordSize(e)
	// Two blocks in a row hold more than maxPayload together.
	return n + n/(maxPayload/2)*(headerSize+8) + 1
}

// footprint is the most that the runs can take in the file.
func footprint(entries []stream.Entry, runs []Run) int64 {
	var n int64
	for i := range runs {
		payload := 0
		for _, at := range runs[i].Entries {
			payload += recordSize(&entries[at])
		}
		n += RunFootprint + int64(payload) + int64(payload/(maxPayload/2)+1)*(headerSize+8)
	}
	return n
}

// Append adds the runs to the end of the log, in order, all or none (but for
// runs that are held). All together must have a footprint of at most half a
// segment. It waits while there is too much that is not committed, and while the
// log is too far ahead of a rewriter that gets on.
// The records are durable, and seen, when [Log.Wait] has returned nil.
func (l *Log) Append(ctx context.Context, entries []stream.Entry, runs []Run) (Commit, error) {
	need := footprint(entries, runs)
	l.mu.Lock()
	for inTurn := false; ; {
		if err := l.usableLocked(); err != nil {
			l.mu.Unlock()
			return Commit{}, err
		}
		fits := l.roomLocked() >= need
		if !inTurn && (l.grownLocked() >= l.growTo || len(l.turn) > 0) {
			l.kickLocked()
			l.mu.Unlock()
			select {
			case l.turn <- struct{}{}:
			case <-ctx.Done():
				return Commit{}, context.Cause(ctx)
			}
			inTurn = true
			defer func() { <-l.turn }()
			l.mu.Lock()
			continue
		}
		if fits && l.pending < l.opt.PendingBytes && l.grownLocked() < l.growTo {
			break
		}
		if !fits && l.nextErr != nil {
			err := l.nextErr
			l.kickLocked()
			l.mu.Unlock()
			return Commit{}, noSegment(err)
		}
		if l.waitRoom == nil {
			l.waitRoom = make(chan struct{})
		}
		wait := l.waitRoom
		var late <-chan time.Time
		if l.grownLocked() >= l.growTo {
			late = time.After(paceWait)
		}
		l.kickLocked()
		l.mu.Unlock()
		select {
		case <-wait:
		case <-late:
			l.growFreely()
		case <-ctx.Done():
			return Commit{}, context.Cause(ctx)
		}
		l.mu.Lock()
	}
	defer l.mu.Unlock()
	now := time.Now().UnixMilli()
	held := false
	for i := range runs {
		r := &runs[i]
		sh := r.Shard
		if r.Held = sh.sealed; r.Held != nil {
			held = true
			continue
		}
		sh.arrival = max(sh.arrival, now)
		r.First = sh.next
		for _, at := range r.Entries {
			l.appendLocked(sh, &entries[at])
		}
	}
	if held {
		l.kickLocked() // the caller waits for something else first, and may give up
	}
	return Commit{l.cur}, nil
}

// noSegment says that nothing can be stored before there is another segment.
func noSegment(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w: %w", stream.ErrReadOnly, ErrNoRoom, err)
	}
	return fmt.Errorf("%w until another log segment can be made, which is tried all the time: %w", stream.ErrReadOnly, err)
}

func (l *Log) usableLocked() error {
	switch {
	case l.failed != nil:
		return l.failed
	case l.closed:
		return stream.ErrClosed
	}
	return nil
}

// end is where the next block goes.
func (l *Log) endLocked() Pos { return makePos(l.arena.seg.gen, l.arena.start+int64(l.arena.n)) }

// roomLocked is how much fits into this segment, or surely into the next.
func (l *Log) roomLocked() int64 {
	room := l.arena.seg.size - headerSize - l.endLocked().off()
	if l.next != nil {
		room = max(room, l.next.size-headerSize-blocksStart)
	}
	return room
}

// appendLocked gives one record its counter and copies it into the arena.
func (l *Log) appendLocked(sh *Shard, e *stream.Entry) {
	need := recordSize(e)
	o := &l.open
	if o.shard != sh || int(o.size)+need > maxPayload || sh.arrival-o.base > maxSpan ||
		l.arena.n+need+7 > l.arena.limit() {
		l.sealBlockLocked()
		l.beginBlockLocked(sh, need)
	}
	a := l.arena
	dst := a.buf[a.n : a.n+need]
	o.span = uint16(sh.arrival - o.base)
	encodeRecord(dst, e, o.span)
	o.sum = crc32.Update(o.sum, castagnoli, dst)
	o.size += uint32(need)
	o.count++
	a.n += need
	sh.next++
}

// beginBlockLocked opens a block for a first record of that size.
func (l *Log) beginBlockLocked(sh *Shard, need int) {
	length := headerSize + pad8(need)
	if l.endLocked().off()+int64(length)+headerSize > l.arena.seg.size {
		l.rollLocked()
	}
	if l.arena.n+length > l.arena.limit() {
		l.growLocked(length)
	}
	a := l.arena
	l.open = openBlock{
		header: header{
			kind: kindData, shard: sh.handle, first: sh.next, prev: sh.tail, base: sh.arrival,
			sum: a.seg.seedAt(a.start + int64(a.n)),
		},
		shard: sh,
		at:    a.n,
	}
	a.n += headerSize
}

// sealBlockLocked closes the open block, if there is one: pads it, writes its
// header, and gives it to the current group.
func (l *Log) sealBlockLocked() {
	o := &l.open
	if o.shard == nil {
		return
	}
	a := l.arena
	pad := a.buf[a.n : a.n+pad8(int(o.size))-int(o.size)]
	clear(pad)
	o.sum = crc32.Update(o.sum, castagnoli, pad)
	a.n += len(pad)
	e := entry{
		first: o.first, pos: makePos(a.seg.gen, a.start+int64(o.at)),
		base: o.base, size: o.size, count: o.count, span: o.span,
	}
	a.seg.live.Add(1)
	o.shard.tail = e.last()
	l.putHeaderLocked(&o.header, o.at)
	l.cur.blocks = append(l.cur.blocks, block{o.shard, e})
	o.shard = nil
}

// putHeaderLocked writes a block's header at a place of the arena and makes
// the arena, as far as it is used, part of the current group.
func (l *Log) putHeaderLocked(h *header, at int) {
	a := l.arena
	h.synced = l.durable
	h.encode(a.buf[at:], a.seg.seedAt(a.start+int64(at)))
	l.cur.extend(a, at)
	l.pending += a.n - at
}

// emptyBlockLocked adds a block without records.
func (l *Log) emptyBlockLocked(k kind) {
	a := l.arena
	at := a.n
	a.n += headerSize
	h := header{kind: k, sum: a.seg.seedAt(a.start + int64(at)), base: time.Now().UnixMilli()}
	l.putHeaderLocked(&h, at)
}

// rollLocked ends the segment and goes on in the next, which must be prepared.
func (l *Log) rollLocked() {
	l.emptyBlockLocked(kindEnd)
	l.startLocked(l.next, blocksStart)
	l.next = nil
	signal(l.wantSegment)
}

// startLocked makes a place of a segment the end of the log.
func (l *Log) startLocked(seg *segment, off int64) {
	l.arena = l.cache.add(seg, off, arenaSize(seg, off, 0))
}

// growLocked goes on in a new arena with room for a block of that length.
func (l *Log) growLocked(length int) {
	end := l.endLocked().off()
	l.arena = l.cache.add(l.arena.seg, end, arenaSize(l.arena.seg, end, length))
}

// arenaSize is the usual size, more for a large block, less at the end of a segment.
func arenaSize(seg *segment, off int64, length int) int {
	return int(min(max(arenaBytes, int64(length+headerSize)), seg.size-off))
}
