package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/millrace/millrace/engine/internal/vfs"
)

// recovery reads the log from its first segment to its end and rebuilds the
// index of every shard.
//
//	valid ■■■■■■■■■ X ? ? ?            a block at X is not valid. If a later
//	                   ■■■■ synced     block, or the manifest, says that X was
//	                                   durable once, X is damage: it is reported
//	                                   and reading goes on behind it. Otherwise
//	                                   nobody was ever told of X or of anything
//	                                   behind it: the log ends at X.
type recovery struct {
	l      *Log
	known  Known
	gens   []uint64
	report Report
	shards map[uint64]*shardScan
	end    Pos  // behind the last valid block
	ended  bool // nothing after end counts
	more   bool // the last segment read says that another one follows
	// damageEnd is where the last damage ends.
	damageEnd Pos
	evident   Pos // what later blocks and the manifest call durable
}

// shardScan is what recovery knows of one shard on its way.
type shardScan struct {
	sh   *Shard
	last uint64 // counter of the last record seen, or trimmed before
	// since counts the damages found before the shard's last block.
	since int
	// hidden are losses found on the way.
	hidden []Gap
}

func (l *Log) recover(known Known) (Report, error) {
	gens, err := l.listFiles()
	if err != nil {
		return Report{}, fmt.Errorf("recover log: %w", err)
	}
	r := &recovery{l: l, known: known, gens: gens, evident: known.Durable, shards: map[uint64]*shardScan{}}
	for handle, sh := range l.shards {
		r.shards[handle] = &shardScan{sh: sh, last: sh.trimmed}
	}
	if err := r.scan(); err != nil {
		return r.report, fmt.Errorf("recover log: %w", err)
	}
	if err := r.finish(); err != nil {
		return r.report, fmt.Errorf("recover log: %w", err)
	}
	return r.report, nil
}

// scan reads all segments in order.
func (r *recovery) scan() error {
	lastGen := uint64(0)
	if n := len(r.gens); n > 0 {
		lastGen = r.gens[n-1]
	}
	lastGen = max(lastGen, r.known.Durable.gen())
	for gen := r.l.segs.first; gen <= lastGen && !r.ended; gen++ {
		if !slices.Contains(r.gens, gen) {
			r.missing(gen)
			continue
		}
		if err := r.scanSegment(gen); err != nil {
			return err
		}
	}
	if !r.ended && r.more {
		r.missing(r.end.gen() + 1)
	}
	return nil
}

// missing deals with a segment file that is not there. It was made, and its
// name durable, before the segment before it could end.
func (r *recovery) missing(gen uint64) {
	r.end = makePos(gen, math.MaxUint32)
	r.damaged(r.end, Damage{File: segmentName(gen), Detail: "the file is missing"})
}

// damaged reports damage that ends at a place of the log.
func (r *recovery) damaged(end Pos, d Damage) {
	d.File = r.l.opt.FS.Path(d.File)
	r.damageEnd = end
	r.report.Damage = append(r.report.Damage, d)
}

func (r *recovery) scanSegment(gen uint64) error {
	name := segmentName(gen)
	f, err := r.l.opt.FS.Open(name)
	if err != nil {
		return err
	}
	h, err := r.readSegmentHeader(f, gen)
	if errors.Is(err, errSegmentHeader) {
		f.Close()
		// The header was durable before the file got its name.
		r.end = makePos(gen, math.MaxUint32)
		r.damaged(r.end, Damage{File: name, Detail: err.Error()})
		return nil
	}
	if err != nil {
		f.Close()
		return fmt.Errorf("%s: %w", r.l.opt.FS.Path(name), err)
	}
	seg := &segment{gen: gen, size: h.size, seed: h.seed(), name: name, file: f}
	r.l.segs.add(seg)
	r.report.Segments++
	return r.scanBlocks(seg)
}

// readSegmentHeader reads the two copies, and repairs one by the other.
func (r *recovery) readSegmentHeader(f vfs.File, gen uint64) (segmentHeader, error) {
	var copies [2][segHeadSize]byte
	var heads [2]segmentHeader
	var errs [2]error
	for i := range copies {
		if err := readFull(f, copies[i][:], int64(i)*headerCopy); err != nil {
			return segmentHeader{}, err
		}
		heads[i], errs[i] = decodeSegmentHeader(copies[i][:])
		if errs[i] == nil && heads[i].gen != gen {
			errs[i] = errSegmentHeader
		}
	}
	good := 0
	if errs[0] != nil {
		good = 1
	}
	if errs[good] != nil {
		return segmentHeader{}, errs[0]
	}
	if bad := 1 - good; errs[bad] != nil {
		r.l.opt.Logger.Warn("one copy of a log segment's header is damaged; restoring it from the other",
			"file", r.l.opt.FS.Path(segmentName(gen)))
		if _, err := f.WriteAt(copies[good][:], int64(bad)*headerCopy); err != nil {
			return segmentHeader{}, err
		}
		if err := f.Sync(); err != nil {
			return segmentHeader{}, err
		}
	}
	return heads[good], nil
}

// readFull reads p, taking what lies behind the end of the file for zeros.
func readFull(f vfs.File, p []byte, off int64) error {
	n, err := f.ReadAt(p, off)
	if errors.Is(err, io.EOF) {
		clear(p[n:])
		return nil
	}
	return err
}

func (r *recovery) scanBlocks(seg *segment) error {
	w := window{seg: seg}
	r.more = false
	for off := int64(blocksStart); ; {
		r.end = makePos(seg.gen, off)
		h, valid, err := w.block(off)
		if err != nil {
			return err
		}
		if valid {
			r.apply(seg, off, &h)
			off += h.length()
			r.end = makePos(seg.gen, off)
			if h.kind == kindEnd {
				r.more = true
				return nil
			}
			continue
		}
		durable, err := r.durableLater(r.end, seg, off)
		if err != nil {
			return err
		}
		if !durable {
			return r.cut(seg, off)
		}
		next, found, err := w.search(off + 8)
		if err != nil {
			return err
		}
		if !found {
			next = seg.size
		}
		if h.kind == kindData && off+h.length() <= next {
			// The header is whole: what is lost is known.
			r.lostPayload(seg, off, &h)
			off += h.length()
			continue
		}
		r.damaged(makePos(seg.gen, next), Damage{File: seg.name, Offset: off, Length: next - off, Detail: "blocks fail their checksums"})
		off = next
		if !found {
			r.end = makePos(seg.gen, off)
			return nil
		}
	}
}

// apply takes a valid block into the index of its shard.
func (r *recovery) apply(seg *segment, off int64, h *header) {
	r.report.Blocks++
	if h.kind != kindData {
		return
	}
	s := r.shards[h.shard]
	if s == nil {
		return // of a deleted stream
	}
	r.follow(s, h)
	e := entry{first: h.first, pos: makePos(seg.gen, off), base: h.base, size: h.size, count: h.count, span: h.span}
	sh := s.sh
	s.last = e.last()
	if e.last() <= sh.trimmed {
		return
	}
	sh.index.append(e)
	sh.committed, sh.newest = e.last(), e.newest()
	seg.live.Add(1)
}

// follow checks the chain of a shard's blocks: what the block names as its
// predecessor must have been seen.
func (r *recovery) follow(s *shardScan, h *header) {
	if h.prev > s.last {
		g := Gap{Range: Range{s.last + 1, h.prev}, before: h.base}
		r.blame(&g, s.since)
		s.hidden = append(s.hidden, g)
	}
	s.since = len(r.report.Damage)
}

// blame names the first damage since the shard was seen last.
func (r *recovery) blame(g *Gap, since int) {
	g.Detail = "blocks are missing"
	if since < len(r.report.Damage) {
		d := r.report.Damage[since]
		g.File, g.Offset, g.Detail = d.File, d.Offset, d.Detail
	}
}

func (r *recovery) lostPayload(seg *segment, off int64, h *header) {
	d := Damage{File: seg.name, Offset: off, Length: h.length(), Detail: "the records of a block fail their checksum"}
	s := r.shards[h.shard]
	if s != nil {
		r.follow(s, h)
	}
	r.damaged(makePos(seg.gen, off), d)
	if s == nil {
		return
	}
	e := entry{first: h.first, base: h.base, count: h.count, span: h.span}
	s.last = e.last()
	s.since = len(r.report.Damage)
	if e.last() > s.sh.trimmed {
		s.hidden = append(s.hidden, Gap{
			Range: Range{e.first, e.last()}, before: e.newest() + 1,
			File: r.l.opt.FS.Path(seg.name), Offset: off, Detail: d.Detail,
		})
	}
}

// durableLater reports whether anything says that a place was durable once:
// the manifest, or a valid block behind it, in the same segment or a later one.
func (r *recovery) durableLater(at Pos, seg *segment, off int64) (bool, error) {
	if r.evident > at {
		return true, nil
	}
	if seg != nil {
		if err := r.gather(seg, off+8); err != nil || r.evident > at {
			return err == nil, err
		}
	}
	for _, gen := range r.gens {
		if gen <= at.gen() {
			continue
		}
		if err := r.gatherFile(gen); err != nil || r.evident > at {
			return err == nil, err
		}
	}
	return false, nil
}

func (r *recovery) gatherFile(gen uint64) error {
	f, err := r.l.opt.FS.Open(segmentName(gen))
	if err != nil {
		return err
	}
	defer f.Close()
	h, err := r.readSegmentHeader(f, gen)
	if errors.Is(err, errSegmentHeader) {
		return nil // it says nothing
	}
	if err != nil {
		return err
	}
	return r.gather(&segment{gen: gen, size: h.size, seed: h.seed(), name: segmentName(gen), file: f}, blocksStart)
}

// gather takes note of what the valid headers from a place on call durable.
func (r *recovery) gather(seg *segment, off int64) error {
	w := window{seg: seg}
	for {
		at, found, err := w.search(off)
		if err != nil || !found {
			return err
		}
		h, _, err := w.block(at)
		if err != nil {
			return err
		}
		r.evident = max(r.evident, h.synced)
		off = at + headerSize
	}
}

// cut ends the log at a place, for good: what lies behind must not come back
// when new blocks have been written up to it.
func (r *recovery) cut(seg *segment, off int64) error {
	r.ended = true
	w := window{seg: seg}
	var remains bool
	for at := off; ; {
		next, found, err := w.search(at)
		if err != nil {
			return err
		}
		if !found {
			break
		}
		remains = true
		h, _, err := w.block(next)
		if err != nil {
			return err
		}
		r.report.CutRecords += int(h.count)
		at = next + headerSize
	}
	if remains {
		zeros := make([]byte, fillStep)
		for at := off; at < seg.size; {
			n := min(int64(len(zeros)), seg.size-at)
			if _, err := seg.file.WriteAt(zeros[:n], at); err != nil {
				return err
			}
			at += n
		}
	}
	later := r.gens[slices.Index(r.gens, seg.gen)+1:]
	for _, gen := range later {
		if err := r.countCut(gen); err != nil {
			return err
		}
	}
	if remains || r.report.CutRecords > 0 {
		r.report.Cut = fmt.Sprintf("%s at offset %d", r.l.opt.FS.Path(seg.name), off)
	}
	// From the last to the first, so that no hole is left whenever this ends.
	for _, gen := range slices.Backward(later) {
		if err := r.l.moveToPool(segmentName(gen), gen); err != nil {
			return err
		}
	}
	return nil
}

func (r *recovery) countCut(gen uint64) error {
	f, err := r.l.opt.FS.Open(segmentName(gen))
	if err != nil {
		return err
	}
	defer f.Close()
	h, err := r.readSegmentHeader(f, gen)
	if err != nil {
		return nil // nothing in it can be counted
	}
	w := window{seg: &segment{gen: gen, size: h.size, seed: h.seed(), file: f}}
	for off := int64(blocksStart); ; {
		at, found, err := w.search(off)
		if err != nil || !found {
			return err
		}
		b, _, err := w.block(at)
		if err != nil {
			return err
		}
		r.report.CutRecords += int(b.count)
		off = at + headerSize
	}
}

// finish settles what the shards have lost, makes durable what was read, and
// sets the end of the log.
func (r *recovery) finish() error {
	l := r.l
	for _, state := range r.known.Shards {
		r.settleShard(r.shards[state.Handle], state)
	}
	if err := l.opt.FS.SyncDir(); err != nil {
		return err
	}
	// What was read may have been in the page cache only.
	for _, seg := range l.segs.byGen {
		if seg.gen >= r.known.Durable.gen() {
			if err := seg.file.Sync(); err != nil {
				return fmt.Errorf("sync %s: %w", seg.name, err)
			}
		}
	}
	seg := l.segs.byGen[r.end.gen()]
	if off := r.end.off(); seg != nil && r.ended && off+headerSize <= seg.size {
		l.startLocked(seg, off)
	} else {
		// The end is damaged, or this is the beginning.
		gen := max(l.segs.first, r.end.gen()+1)
		seg, err := l.prepare(gen, false)
		if err != nil {
			return err
		}
		l.startLocked(seg, blocksStart)
	}
	l.nextGen = l.arena.seg.gen + 1
	l.durable = l.endLocked()
	l.settled = l.durable
	return nil
}

// settleShard decides what a shard has lost.
func (r *recovery) settleShard(s *shardScan, state ShardState) {
	sh := s.sh
	add := func(g Gap) {
		if g.Last > sh.trimmed && !within(state.Accepted, g.Range) {
			sh.addGapLocked(g)
		}
	}
	for _, g := range s.hidden {
		add(g)
	}
	before := time.Now().UnixMilli() + 1 // no later block bounds it
	if s.last < state.Last {
		g := Gap{Range: Range{s.last + 1, state.Last}, before: before}
		r.blame(&g, s.since)
		add(g)
		s.last = state.Last
	}
	sh.next = max(sh.next, s.last+1)
	if s.since < len(r.report.Damage) && !state.Ended && r.damageEnd > r.known.Durable {
		// Whether the shard had records in what is damaged, and behind what the
		// manifest knows, nobody can tell. From now on they count as lost: the
		// chain and the manifest go on from the last counter they can have had.
		g := Gap{Range: Range{s.last + 1, sh.next - 1}, before: before}
		r.blame(&g, s.since)
		g.Detail += " (it cannot be told whether records of this shard were there)"
		add(g)
		s.last = g.Last
	}
	sh.tail = s.last
	sh.committed = s.last
	sh.arrival = sh.newest
}

func within(accepted []Range, r Range) bool {
	for _, a := range accepted {
		if a.First <= r.First && r.Last <= a.Last {
			return true
		}
	}
	return false
}

// window reads a segment in large steps.
type window struct {
	seg  *segment
	buf  []byte
	from int64 // offset of buf[0]
}

const windowStep = 1 << 20

// bytes returns n bytes at off, zeros behind the end of the file.
func (w *window) bytes(off int64, n int) ([]byte, error) {
	if at := off - w.from; at >= 0 && at+int64(n) <= int64(len(w.buf)) {
		return w.buf[at : at+int64(n)], nil
	}
	want := int(min(max(windowStep, int64(n)), max(int64(n), w.seg.size-off)))
	if cap(w.buf) < want {
		w.buf = make([]byte, want)
	}
	w.buf, w.from = w.buf[:want], off
	if err := readFull(w.seg.file, w.buf, off); err != nil {
		return nil, fmt.Errorf("read %s at %d: %w", w.seg.name, off, err)
	}
	return w.buf[:n], nil
}

// block reads the block at off. valid means that header and payload are whole;
// if only the header is, its kind is set.
func (w *window) block(off int64) (h header, valid bool, err error) {
	if off+headerSize > w.seg.size {
		return header{}, false, nil
	}
	b, err := w.bytes(off, headerSize)
	if err != nil {
		return header{}, false, err
	}
	seed := w.seg.seedAt(off)
	h, ok := decodeHeader(b, seed)
	if !ok || off+h.length() > w.seg.size {
		return header{}, false, nil
	}
	if b, err = w.bytes(off, int(h.length())); err != nil {
		return header{}, false, err
	}
	return h, h.sum == checksum(seed, b[headerSize:]), nil
}

var magicBytes = binary.LittleEndian.AppendUint32(nil, blockMagic)

// search returns the first place at or behind off with a valid header.
func (w *window) search(off int64) (at int64, found bool, err error) {
	off = (off + 7) &^ 7
	for off+headerSize <= w.seg.size {
		n := int(min(windowStep, w.seg.size-off))
		b, err := w.bytes(off, n)
		if err != nil {
			return 0, false, err
		}
		for at := 0; at+headerSize <= len(b); {
			i := bytes.Index(b[at:], magicBytes)
			if i < 0 {
				break
			}
			at += i
			if at%8 == 0 && at+headerSize <= len(b) {
				if _, ok := decodeHeader(b[at:], w.seg.seedAt(off+int64(at))); ok {
					return off + int64(at), true, nil
				}
			}
			at++
		}
		if n < windowStep {
			break
		}
		off += int64(n - headerSize) // a header may lie across the edge
	}
	return 0, false, nil
}
