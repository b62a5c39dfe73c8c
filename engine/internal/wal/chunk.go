package wal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Rewriter brings what lies in the log into closed files, in the order of the
// log, so that the blocks of one shard lie together. It belongs to one
// goroutine, and there is one of it.
//
//	log   ┃a b c a b│a c b a c│b a c …┃     a, b, c: blocks of three shards
//	          └────┬────┘
//	               ▼  by retention class, shard and counter
//	chunk ┃aaaa bbb│ccc ┃ footer            neighbours become one block
//
// A run of segments is read, written anew, and made durable; then the manifest
// names the new files in place of the old ones; then the indexes do, and the
// segments are free for another use. Whenever it ends before that, the log is
// as it was.
type Rewriter struct {
	l *Log
	// Memory that one run leaves for the next one.
	data   [][]byte
	blocks []entry
	pieces []piece
	buf    []byte
	step   [collectStep]entry

	waits waits

	free bool // held back by nothing: for tests
}

// NewRewriter returns the log's rewriter.
func (l *Log) NewRewriter() *Rewriter { return &Rewriter{l: l} }

// Filled is signalled when the log has gone on in another segment: then
// something may be due for [Rewriter.Next].
func (l *Log) Filled() <-chan struct{} { return l.filled }

// Rewrite is a number of segments that are closed, but for the manifest to say so.
type Rewrite struct {
	l *Log
	// first and last are the generations of the segments that leave the log.
	first, last uint64
	closed      []uint64   // generations of the files that take its place
	chunks      []*segment // those of them that are new
	adopt       bool
	parts       []part
	pieces      []piece
	accepts     int64 // of the log, when the parts were gathered
	// Blocks and Written count what is in the closed files, and what was
	// written for it.
	Blocks  int
	Written int64
}

// part is one shard's part of a run of segments.
type part struct {
	sh    *Shard
	class uint64
	// from and to bound its blocks, and then, in a chunk, its pieces.
	from, to           int
	pieceFrom, pieceTo int
}

// Next closes the oldest segments of the log if [Options.ChunkBytes] of it are
// full and durable; it returns nil when they are not. Blocks that retention has
// dropped are left out, and shards of different classes never share a new file,
// so that it can leave as a whole. It takes about as long as the log
// needs to grow by as much, and memory for what it rewrites at a time.
//
// Segments in which damage is not accepted yet stay in the log, with all behind
// them; when it is found on the way, a [*Lost] is returned. What the disk fails to
// read is another error. Such a segment stays, too, until the disk can read it,
// which Next asks it now and then. Commit or Discard must be called on what is returned, and then Next again, until it returns nil:
// meanwhile appends may be held to its speed.
func (r *Rewriter) Next(ctx context.Context, class func(handle uint64) uint64) (*Rewrite, error) {
	l := r.l
	first, n, stop := l.hold()
	if n == 0 {
		l.growFreely()
		r.forget()
		return nil, r.readAgain(ctx, stop)
	}
	accepts := l.accepts.Load() // before any block is looked at
	parts, segs := r.collect(first, n, class)
	n, adopt := decide(segs, adoptPayload(l.opt.SegmentBytes))
	w := &Rewrite{l: l, first: first, last: first + uint64(n) - 1, adopt: adopt, accepts: accepts}
	// What lies in the segments behind stays in the log.
	for _, p := range parts {
		for p.to > p.from && r.blocks[p.to-1].pos.gen() > w.last {
			p.to--
		}
		if p.to > p.from {
			w.parts = append(w.parts, p)
		}
	}
	var err error
	if adopt {
		l.growFreely() // nothing is faster than this
		err = r.adopt(w)
	} else {
		err = r.write(ctx, w)
	}
	if err != nil {
		w.Discard()
		r.forget()
		if errors.Is(err, errUnwanted) {
			return nil, nil
		}
		return nil, err
	}
	return w, nil
}

// forget lets go of the memory when there may be no next run for long.
func (r *Rewriter) forget() { r.data, r.blocks, r.pieces, r.buf = nil, nil, nil, nil }

// hold finds the segments that are due and keeps them in the log. If there are
// none because of damage, stop is where it is.
func (l *Log) hold() (first uint64, n int, stop uint64) {
	want := l.opt.runSegments()
	durable := l.Durable().gen() // what is before it, is full
	damaged := l.damagedFiles()
	l.segs.mu.Lock()
	defer l.segs.mu.Unlock()
	first = l.segs.files.First
	var size int64 // some may be of a time when segments were larger
	for n < want && size < l.opt.ChunkBytes && first+uint64(n) < durable {
		if damaged[first+uint64(n)] {
			return 0, 0, first + uint64(n)
		}
		if seg := l.segs.byGen[first+uint64(n)]; seg != nil {
			size += seg.size
		}
		n++
	}
	if n == 0 || n < want && size < l.opt.ChunkBytes || l.segs.held {
		return 0, 0, 0
	}
	l.segs.held = true
	return first, n, 0
}

// collectStep is how many blocks are taken from an index with its lock held.
const collectStep = 1024

// collect gathers the blocks of n segments by class, shard and counter.
func (r *Rewriter) collect(first uint64, n int, class func(uint64) uint64) ([]part, []tally) {
	segs := make([]tally, n)
	var parts []part
	for _, sh := range r.l.allShards() {
		parts = append(parts, part{sh: sh, class: class(sh.handle)})
	}
	slices.SortFunc(parts, func(a, b part) int {
		return cmp.Or(cmp.Compare(a.class, b.class), cmp.Compare(a.sh.handle, b.sh.handle))
	})
	r.blocks = r.blocks[:0]
	for i := range parts {
		p := &parts[i]
		p.from = len(r.blocks)
		r.blocks = p.sh.blocksThrough(first+uint64(n)-1, r.blocks, r.step[:0])
		p.to = len(r.blocks)
		for j := p.from; j < p.to; j++ {
			e := &r.blocks[j]
			segs[e.pos.gen()-first].add(e, p.class)
		}
	}
	return parts, segs
}

// blocksThrough appends to dst the shard's blocks in the log, up to a
// generation; step is memory to do it with.
func (s *Shard) blocksThrough(gen uint64, dst, step []entry) []entry {
	for next := uint64(0); ; {
		s.mu.Lock()
		step = s.index.recent.from(next, step[:0])
		s.mu.Unlock()
		for i := range step {
			if step[i].pos.gen() > gen {
				return append(dst, step[:i]...)
			}
		}
		dst = append(dst, step...)
		if len(step) < cap(step) {
			return dst
		}
		next = step[len(step)-1].last() + 1
	}
}

// adopt closes segments as they are, by adding their footers.
func (r *Rewriter) adopt(w *Rewrite) error {
	blocks := map[uint64][]listed{}
	var head [headerSize]byte
	for _, p := range w.parts {
		for _, e := range r.blocks[p.from:p.to] {
			seg := w.l.segs.get(e.pos.gen())
			if err := readFull(seg.file, head[:], e.pos.off()); err != nil {
				if unreadable(err) {
					w.l.cannotRead(p.sh, e, err)
				}
				return fmt.Errorf("read %s at %d: %w", seg.name, e.pos.off(), err)
			}
			h, ok := decodeHeader(head[:], seg.seedAt(e.pos.off()))
			if !ok || !h.tells(p.sh, &e) {
				return w.damaged(p.sh, e, badHeader)
			}
			blocks[seg.gen] = append(blocks[seg.gen], listed{entry: e, shard: p.sh.handle, prev: h.prev})
			w.Blocks++
		}
	}
	for gen := w.first; gen <= w.last; gen++ {
		if len(blocks[gen]) == 0 {
			continue
		}
		seg := w.l.segs.get(gen)
		if err := writeFooter(seg.file, seg.size, blocks[gen], seg.seed); err != nil {
			return fmt.Errorf("close log segment %s: %w", seg.name, err)
		}
		w.Written += footerSize(len(blocks[gen]))
		w.closed = append(w.closed, gen)
	}
	return nil
}

// Commit takes the closed files into use. save must make durable that these
// files count; when it fails, nothing has happened. Nothing happens, and that is no
// error, if a loss was accepted since the run began: the files may have what was
// given up. Nobody may change the log's files meanwhile.
func (w *Rewrite) Commit(save func(Files) error) error {
	l := w.l
	if l.accepts.Load() != w.accepts {
		w.Discard()
		return nil
	}
	files := l.Files()
	files.First = w.last + 1
	files.Closed = append(files.Closed, w.closed...)
	files.NextChunk += uint64(len(w.chunks))
	if err := save(files); err != nil {
		w.Discard()
		return err
	}
	for _, seg := range w.chunks {
		l.segs.add(seg)
	}
	for _, p := range w.parts {
		w.install(p)
	}
	l.segs.letGo()
	return l.Release(files)
}

// install puts the closed files into the index of a shard, in place of the log.
func (w *Rewrite) install(p part) {
	s := p.sh
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.adopt {
		s.index.recent.dropThrough(w.last, s.index.stored.add)
		return
	}
	s.index.recent.dropThrough(w.last, func(*entry) {})
	// What a reader met as damage since the run began, the rewriter has read as
	// a whole.
	here := func(d Damage) bool { return d.gen >= w.first && d.gen <= w.last }
	gone := func(g Gap) bool { return slices.ContainsFunc(g.damage, here) }
	s.gaps = slices.DeleteFunc(s.gaps, gone)
	maps.DeleteFunc(s.unread, func(_ entry, g Gap) bool { return gone(g) })
	for i := p.pieceFrom; i < p.pieceTo; i++ {
		e := &w.pieces[i].entry
		if s.gone || e.last() <= s.trimmed {
			continue
		}
		s.index.stored.add(e)
		w.l.segs.get(e.pos.gen()).live.Add(1)
	}
}

// Discard gives the new files another use and leaves the log as it is.
func (w *Rewrite) Discard() {
	l := w.l
	l.growFreely()
	for _, seg := range w.chunks {
		if l.Err() != nil {
			seg.file.Close() // the manifest may name it
			continue
		}
		to, err := l.renameToPool(seg.name)
		if err != nil {
			seg.file.Close()
			continue
		}
		l.giveBack(seg.file, to)
	}
	l.segs.letGo()
}

// damaged takes note of a block that cannot be read. Its segment stays in the
// log, and the run has failed.
func (w *Rewrite) damaged(s *Shard, e entry, detail string) error {
	if err := w.l.damaged(s, e, detail); err != nil {
		return err
	}
	return errUnwanted
}

// errUnwanted says that a block left the index while it was to be rewritten.
var errUnwanted = errors.New("a block is not wanted any more")
