package wal

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/millrace/millrace/engine/internal/vfs"
)

// recovery rebuilds the index of every shard: from what the closed files say of
// themselves, and from the log, which it reads from its first segment to its end.
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
	gens   []uint64        // of the log, in order
	closed map[uint64]bool // the closed files that are there
	report Report
	into   *rebuilder
	shards []shardScan // by handle; without a Shard where there is none
	end    Pos         // behind the last valid block
	ended  bool        // nothing after end counts
	more   bool        // the last segment read says that another one follows
	// logDamage is the first of the damages that are in the log, damageEnd where
	// the last one ends.
	logDamage int
	damageEnd Pos
	evident   Pos // what later blocks and the manifest call durable
	// unread is the first place that the disk could not read while it was looked
	// for what would say that a place was durable.
	unread *unreadPlace
}

// shardScan is what recovery knows of one shard on its way.
type shardScan struct {
	sh   *Shard
	last uint64 // counter of the last record seen, or trimmed before
	// since counts the damages found before the shard's last block.
	since int
	// hidden are losses found on the way.
	hidden []Gap
	// accepted are those that count no more.
	accepted []Range
}

func (l *Log) recover(known Known) (Report, error) {
	gens, closed, err := l.listFiles()
	if err != nil {
		return Report{}, fmt.Errorf("recover log: %w", err)
	}
	top := uint64(0)
	for handle := range l.shards {
		top = max(top, handle)
	}
	r := &recovery{l: l, known: known, gens: gens, closed: closed, evident: known.Durable, shards: make([]shardScan, top+1)}
	for handle, sh := range l.shards {
		r.shards[handle] = shardScan{sh: sh, last: sh.trimmed}
	}
	for _, state := range known.Shards {
		r.shards[state.Handle].accepted = state.Accepted
	}
	if err := r.scanAll(); err != nil {
		return r.report, fmt.Errorf("recover log: %w", err)
	}
	if err := r.finish(); err != nil {
		return r.report, fmt.Errorf("recover log: %w", err)
	}
	return r.report, nil
}

// shard returns the scan of a shard, or nil when there is no such shard.
func (r *recovery) shard(handle uint64) *shardScan {
	if handle >= uint64(len(r.shards)) || r.shards[handle].sh == nil {
		return nil
	}
	return &r.shards[handle]
}

// scanAll reads the closed files, and then the log.
func (r *recovery) scanAll() error {
	r.into = newRebuilder(r)
	defer r.into.close()
	if err := r.scanClosed(); err != nil {
		return err
	}
	r.logDamage = len(r.report.Damage)
	return r.scan()
}

// scan reads all segments of the log in order.
func (r *recovery) scan() error {
	lastGen := uint64(0)
	if n := len(r.gens); n > 0 {
		lastGen = r.gens[n-1]
	}
	lastGen = max(lastGen, r.known.Durable.gen())
	for gen := r.l.segs.files.First; gen <= lastGen && !r.ended; gen++ {
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

// inLog tells the log's own segments from closed files.
func (r *recovery) inLog(gen uint64) bool { return !isChunk(gen) && gen >= r.l.segs.files.First }

// missing deals with a segment file that is not there. It was made, and its
// name durable, before the segment before it could end.
func (r *recovery) missing(gen uint64) {
	r.end = makePos(gen, math.MaxUint32)
	r.damaged(r.end, Damage{File: segmentName(gen), Detail: "the file is missing"})
}

// damaged reports damage that ends at a place of the log.
func (r *recovery) damaged(end Pos, d Damage) {
	r.into.settle() // what was found before is before it
	if r.inLog(end.gen()) {
		r.damageEnd = end
	}
	d.File, d.gen = r.l.opt.FS.Path(d.File), end.gen()
	r.report.Damage = append(r.report.Damage, d)
}

func (r *recovery) scanSegment(gen uint64) error {
	seg, err := r.openSegment(gen)
	if seg == nil || err != nil {
		// The header was durable before the file got its name.
		r.end = makePos(gen, math.MaxUint32)
		return err
	}
	r.report.Segments++
	return r.scanBlocks(seg)
}

// openSegment opens a file and reads its header. A damaged header is reported:
// there is no segment then, and no error.
func (r *recovery) openSegment(gen uint64) (*segment, error) {
	name := segmentName(gen)
	f, err := r.l.openFile(name)
	if err != nil {
		return nil, err
	}
	h, err := r.readSegmentHeader(f, gen)
	lost := unreadable(err)
	if lost {
		if err := r.mustBeWhole(gen, name); err != nil {
			f.Close()
			return nil, err
		}
	}
	if errors.Is(err, errSegmentHeader) || lost {
		f.Close()
		if lost {
			r.l.missed(gen, span{0, blocksStart})
		}
		r.damaged(makePos(gen, math.MaxUint32), Damage{File: name, Detail: err.Error()})
		return nil, nil
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", r.l.opt.FS.Path(name), err)
	}
	seg := &segment{gen: gen, size: h.size, seed: h.seed(), name: name, file: f}
	r.l.segs.add(seg)
	return seg, nil
}

// readSegmentHeader reads the two copies, and repairs one by the other.
func (r *recovery) readSegmentHeader(f vfs.File, gen uint64) (segmentHeader, error) {
	var copies [2][segHeadSize]byte
	var heads [2]segmentHeader
	var errs [2]error
	for i := range copies {
		if errs[i] = readFull(f, copies[i][:], int64(i)*headerCopy); errs[i] != nil {
			continue
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
		if errors.Is(errs[0], errSegmentHeader) {
			return segmentHeader{}, errs[1] // it may be no more than unreadable
		}
		return segmentHeader{}, errs[0]
	}
	if bad := 1 - good; errs[bad] != nil {
		file := r.l.opt.FS.Path(segmentName(gen))
		r.l.opt.Logger.Warn("one copy of a log segment's header is damaged; restoring it from the other", "file", file, "err", errs[bad])
		// It is not synced here: an error that this meets must not be missed by
		// who makes durable what was read. If it is lost, it is repaired again.
		if _, err := f.WriteAt(copies[good][:], int64(bad)*headerCopy); err != nil {
			r.l.opt.Logger.Warn("cannot restore the copy of a log segment's header; going on with the other", "file", file, "err", err)
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
	w := window{seg: seg, read: r.readDurable}
	r.more = false
	for off := int64(blocksStart); ; {
		r.end = makePos(seg.gen, off)
		h, valid, err := w.block(off)
		if err != nil {
			return err
		}
		if valid {
			r.take(seg, off, &h)
			off += h.length()
			r.end = makePos(seg.gen, off)
			if h.kind == kindEnd {
				r.more = true
				return nil
			}
			continue
		}
		if r.inLog(seg.gen) {
			durable, here, later, err := r.durableLater(seg, off)
			if err != nil {
				return err
			}
			if !durable {
				return r.cut(seg, off, here, later)
			}
		}
		_, next, found, err := w.search(off + 8)
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

// take notes a valid block.
func (r *recovery) take(seg *segment, off int64, h *header) {
	r.report.Blocks++
	if h.kind != kindData || r.shard(h.shard) == nil {
		return // of a deleted stream
	}
	r.into.take(seg, &listed{
		entry: entry{first: h.first, pos: makePos(seg.gen, off), base: h.base, size: h.size, count: h.count, span: h.span},
		shard: h.shard, prev: h.prev,
	})
}

// apply takes a valid block into the index of its shard.
func (r *recovery) apply(seg *segment, x *listed) {
	s := &r.shards[x.shard]
	r.follow(s, x.prev, x.base)
	sh := s.sh
	s.last = x.last()
	if s.last <= sh.trimmed {
		return
	}
	if r.inLog(seg.gen) {
		sh.index.recent.add(&x.entry)
	} else if !within(s.accepted, Range{x.first, s.last}) {
		sh.index.stored.add(&x.entry)
	} else {
		seg.file.failed.Store(true) // the disk may be the reason, and nobody asks it again
		return
	}
	sh.committed, sh.newest = s.last, x.newest()
	seg.live.Add(1)
}

// follow checks the chain of a shard's blocks: what the block names as its
// predecessor must have been seen.
func (r *recovery) follow(s *shardScan, prev uint64, base int64) {
	if prev > s.last {
		g := Gap{Range: Range{s.last + 1, prev}, before: base}
		r.blame(&g, s.since)
		s.hidden = append(s.hidden, g)
	}
	s.since = len(r.report.Damage)
}

// blame names the first damage since the shard was seen last, and keeps the
// files of all.
func (r *recovery) blame(g *Gap, since int) {
	g.Detail = "blocks are missing"
	g.damage = r.report.Damage[since:]
	if len(g.damage) > 0 {
		d := g.damage[0]
		g.File, g.Offset, g.Detail = d.File, d.Offset, d.Detail
	}
}

func (r *recovery) lostPayload(seg *segment, off int64, h *header) {
	d := Damage{File: seg.name, Offset: off, Length: h.length(), Detail: "the records of a block fail their checksum"}
	r.into.settle()
	s := r.shard(h.shard)
	if s != nil {
		r.follow(s, h.prev, h.base)
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
			File: r.l.opt.FS.Path(seg.name), Offset: off, Detail: d.Detail, damage: r.report.Damage[s.since-1:],
		})
	}
}

// finish settles what the shards have lost, makes durable what was read, and
// sets the end of the log.
func (r *recovery) finish() error {
	l := r.l
	for _, state := range r.known.Shards {
		r.settleShard(r.shard(state.Handle), state)
	}
	if err := l.opt.FS.SyncDir(); err != nil {
		return err
	}
	// What was read may have been in the page cache only.
	for _, seg := range l.segs.byGen {
		if !isChunk(seg.gen) && seg.gen >= r.known.Durable.gen() {
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
		gen := max(l.segs.files.First, r.end.gen()+1)
		seg, err := l.prepare(gen, true) // nobody shall wait for zeros
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
	if since := max(s.since, r.logDamage); since < len(r.report.Damage) && !state.Ended && r.damageEnd > r.known.Durable {
		// Whether the shard had records in what is damaged, and behind what the
		// manifest knows, nobody can tell. From now on they count as lost: the
		// chain and the manifest go on from the last counter they can have had.
		g := Gap{Range: Range{s.last + 1, sh.next - 1}, before: before}
		r.blame(&g, since)
		g.Detail += " (it cannot be told whether records of this shard were there)"
		add(g)
		s.last = g.Last
	}
	sh.tail = s.last
	sh.committed = s.last
	sh.arrival = max(sh.arrival, sh.newest)
}

// within reports whether all of a range was accepted, at once or in parts.
func within(accepted []Range, r Range) bool {
	for next := r.First; next <= r.Last; {
		i := slices.IndexFunc(accepted, func(a Range) bool { return a.First <= next && next <= a.Last })
		if i < 0 {
			return false
		}
		next = accepted[i].Last + 1
	}
	return true
}
