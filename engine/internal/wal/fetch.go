package wal

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"unsafe"

	"github.com/millrace/millrace/internal/unset"
)

// memory is a part of some memory that is kept alive as a whole.
type memory struct {
	bytes []byte
	// owner and weight name and size the whole.
	owner  *byte
	weight int
}

func whole(b []byte) memory { return memory{b, unsafe.SliceData(b), cap(b)} }

func (m memory) part(from, to int64) memory {
	m.bytes = m.bytes[from:to:to]
	return m
}

// view is a block at hand.
type view struct {
	entry
	payload memory
	done    int // bytes of the payload that are read
	read    int // records that are read
}

func (v *view) left() bool { return v.read < int(v.count) }

// stretch is a part of a segment that was read at once.
type stretch struct {
	memory
	from Pos
	seed uint32 // of the segment's checksums
}

// holds reports whether a block lies in the stretch.
func (s *stretch) holds(e *entry) bool {
	return e.pos >= s.from && e.pos+Pos(e.length()) <= s.from+Pos(len(s.bytes))
}

// fetch returns the next block, or none when the index has changed meanwhile.
func (f *filling) fetch() (view, error) {
	e := &f.entries[0]
	if f.c.stretch.holds(e) {
		return f.verify()
	}
	if a := f.cached(e); a != nil {
		v := f.share(e, a)
		f.entries = f.entries[1:]
		return v, nil
	}
	if err := f.load(); err != nil || len(f.entries) == 0 {
		return view{}, err
	}
	return f.verify()
}

// cached returns the arena that holds a block, or nil.
func (f *filling) cached(e *entry) *arena {
	if f.arena == nil || !f.arena.holds(e) {
		f.arena = f.c.log.cache.get(e.pos)
	}
	return f.arena
}

// Reading from memory waits for memory: what is touched in a row, ahead of its
// use, is waited for once and not each by each.
const (
	cacheLine = 64
	// smallBlock is how large the blocks are at most that are touched as a
	// whole before the first of them is taken.
	smallBlock = 2 << 10
	// farApart is from where on the processor does not see by itself, from one
	// record to the next, where the reading goes.
	farApart = 256
)

// touch loads a byte of each step.
func (f *filling) touch(b []byte, step int) {
	var sum byte
	for i := 0; i < len(b); i += step {
		sum ^= b[i]
	}
	f.touched = sum // else the compiler drops the loop
}

// warm touches the small blocks that come next. They are scattered over the log.
func (f *filling) warm() {
	for i, want := 0, f.maxBytes-f.b.Bytes; i < len(f.entries) && want > 0; i++ {
		e := &f.entries[i]
		if e.size > smallBlock {
			return
		}
		a := f.cached(e)
		if a == nil {
			return
		}
		f.touch(a.payload(e), cacheLine)
		want -= int(e.size)
	}
}

// share makes a view of an arena, or of a copy when the batch could come to keep
// too much alive, with what may have to be copied after this block.
func (f *filling) share(e *entry, a *arena) view {
	payload := memory{a.payload(e), unsafe.SliceData(a.buf), len(a.buf)}
	if step := int(e.size) / int(e.count); e.size > smallBlock && step >= farApart {
		f.touch(payload.bytes, step)
	}
	worst := f.b.Footprint + payload.weight + f.maxBytes - f.b.Bytes
	if payload.owner != f.owner && worst > f.maxFootprint && payload.weight > 2*int(e.size) {
		own := f.own(int(e.size))
		copy(own.bytes, payload.bytes)
		payload = own
	}
	return view{entry: *e, payload: payload}
}

// slabStep is how large the memory is that many small blocks share.
const slabStep = 64 << 10

// own returns n bytes of memory that only this batch, and what is left over of
// its last block, keep alive.
func (f *filling) own(n int) memory {
	if n > slabStep/4 {
		return whole(unset.Bytes(n))
	}
	at := len(f.slab.bytes)
	if cap(f.slab.bytes)-at < n {
		want := int64(0)
		for i := range f.entries {
			want += f.entries[i].length()
		}
		f.slab = whole(unset.Bytes(int(max(int64(n), min(want, slabStep, int64(f.maxBytes-f.b.Bytes))))))
		at = 0
	}
	f.slab.bytes = f.slab.bytes[:at+n]
	return f.slab.part(int64(at), int64(at+n))
}

// readSpan is read from the disk at once at most, unless one block is larger.
const readSpan = 1 << 20

// load reads blocks from the disk: neighbours with one call, as long as enough
// of what is read is wanted. Half of it must be when the batch could come to keep
// too much alive, a quarter else.
func (f *filling) load() error {
	first := &f.entries[0]
	end, useful := first.pos, int64(0)
	want := int64(f.maxBytes - f.b.Bytes)
	left := int64(f.maxFootprint - f.b.Footprint)
	for i := range f.entries {
		e := &f.entries[i]
		to := e.pos + Pos(e.length())
		span, part := int64(to-first.pos), int64(4)
		if span+want > left {
			part = 2
		}
		if i > 0 && (e.pos.gen() != first.pos.gen() || span > min(readSpan, left) ||
			useful >= want || (useful+e.length())*part < span) {
			break
		}
		end = to
		useful += e.length()
	}
	f.expect()
	seg := f.pin(first.pos.gen())
	if seg == nil {
		return f.lost(*first, "its segment is not in the log")
	}
	m := f.own(int(end - first.pos))
	read, err := seg.file.ReadAt(m.bytes, first.pos.off())
	if unreadable(err) && read < int(first.length()) {
		m.bytes = m.bytes[:first.length()]
		read, err = seg.file.ReadAt(m.bytes, first.pos.off())
	}
	switch {
	case unreadable(err) && read >= int(first.length()):
		err = nil // what lies before the place that cannot be read is given
	case unreadable(err):
		f.c.log.cannotRead(f.c.sh, *first, err)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read %s at %d: %w", segmentName(seg.gen), first.pos.off(), err)
	}
	m.bytes = m.bytes[:read]
	f.c.stretch = stretch{m, first.pos, seg.seed}
	n := 0
	for n < len(f.entries) && f.c.stretch.holds(&f.entries[n]) {
		n++
	}
	f.c.log.canRead(f.c.sh, f.entries[:n])
	return nil
}

// expectSpan is how much the system is told of at a time: as much as a disk can
// do at once, and not too much in vain.
const expectSpan = 2 << 20

// expect tells the system which parts of files come next, so that a disk fetches
// them all at once: the blocks of one shard may lie apart, and in many files, and
// it would be waited for each by each. Of what lies in a row it says nothing: the
// system sees that by itself, and reads ahead better.
func (f *filling) expect() {
	if f.entries[0].first < f.c.expected {
		return // it knows
	}
	var from, to Pos
	apart := false
	for i, left := 0, int64(expectSpan); i < len(f.entries) && left > 0; i++ {
		e := &f.entries[i]
		if i == 0 {
			from = e.pos
		} else if e.pos != to {
			f.tell(from, to)
			from, apart = e.pos, true
		}
		to = e.pos + Pos(e.length())
		f.c.expected = e.last() + 1
		left -= e.length()
	}
	if apart {
		f.tell(from, to)
	}
}

func (f *filling) tell(from, to Pos) {
	if seg := f.pin(from.gen()); seg != nil {
		seg.file.Expect(from.off(), int64(to-from))
	}
}

// verify checks the next block, which was read from the disk.
func (f *filling) verify() (view, error) {
	e, s := f.entries[0], &f.c.stretch
	if !s.holds(&e) {
		return view{}, f.lost(e, "the file ends before the block does")
	}
	block := s.part(int64(e.pos-s.from), int64(e.pos-s.from)+e.length())
	if _, detail := checkBlock(block.bytes, seedAt(s.seed, e.pos.off()), f.c.sh, &e); detail != "" {
		return view{}, f.lost(e, detail)
	}
	f.entries = f.entries[1:]
	return view{entry: e, payload: block.part(headerSize, headerSize+int64(e.size))}, nil
}

// pin returns a segment whose file is not used again before the read is over,
// or nil.
func (f *filling) pin(gen uint64) *segment {
	if f.pinned == nil || f.pinned.gen != gen {
		f.unpin()
		f.pinned = f.c.log.segs.pin(gen)
	}
	return f.pinned
}

func (f *filling) unpin() {
	if f.pinned != nil {
		f.c.log.segs.unpin(f.pinned)
		f.pinned = nil
	}
}

func checksum(seed uint32, payload []byte) uint32 { return crc32.Update(seed, castagnoli, payload) }
