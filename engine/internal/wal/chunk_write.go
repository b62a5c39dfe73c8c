package wal

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/millrace/millrace/engine/internal/vfs"
)

const (
	// chunkStep is written and synced at a time. One sync of a whole file would
	// hold up every commit of the log for tens of milliseconds.
	chunkStep = 1 << 20
	// poolReserve is how many files of the pool are left to the log: it gains
	// more by files that were written before.
	poolReserve = 2
)

// write makes chunks of what the parts have.
func (r *Rewriter) write(ctx context.Context, w *Rewrite) error {
	l := w.l
	r.pieces = r.pieces[:0]
	for i := range w.parts {
		p := &w.parts[i]
		p.pieceFrom = len(r.pieces)
		r.pieces = merge(r.pieces, p.sh, r.blocks[p.from:p.to], p.from)
		p.pieceTo = len(r.pieces)
	}
	w.pieces = r.pieces
	w.Blocks = len(w.pieces)
	pace := l.newPacer(r.free)
	if err := r.read(ctx, w, pace); err != nil {
		return err
	}
	gen := l.Files().NextChunk
	for i := 0; i < len(w.parts); {
		from, class := w.parts[i].pieceFrom, w.parts[i].class
		for i < len(w.parts) && w.parts[i].class == class {
			i++
		}
		pieces := w.pieces[from:w.parts[i-1].pieceTo]
		for _, n := range layout(pieces, gen, l.opt.SegmentBytes) {
			if err := r.writeChunk(ctx, w, pace, gen, pieces[:n]); err != nil {
				return err
			}
			pieces = pieces[n:]
			gen++
		}
	}
	if len(w.chunks) > 0 {
		if err := l.opt.FS.SyncDir(); err != nil {
			return err
		}
	}
	pace.end()
	return nil
}

// read takes the segments into memory, but for those without a block.
func (r *Rewriter) read(ctx context.Context, w *Rewrite, pace *pacer) error {
	n := int(w.last-w.first) + 1
	for len(r.data) < n {
		r.data = append(r.data, nil)
	}
	used := make([]int64, n)
	for _, p := range w.parts {
		for i := p.from; i < p.to; i++ {
			e := &r.blocks[i]
			k := e.pos.gen() - w.first
			used[k] = max(used[k], e.pos.off()+e.length())
		}
	}
	for k, end := range used {
		if int64(cap(r.data[k])) < end {
			r.data[k] = make([]byte, end)
		}
		data := r.data[k][:end]
		r.data[k] = data
		for off := int64(0); off < end; off += chunkStep {
			part := data[off:min(off+chunkStep, end)]
			seg := w.l.segs.get(w.first + uint64(k))
			err := readFull(seg.file, part, off)
			switch {
			case unreadable(err):
				err = r.readBlocks(ctx, w, seg, off, off+int64(len(part)))
			case err != nil:
				err = fmt.Errorf("read %s at %d: %w", seg.name, off, err)
			}
			if err != nil {
				return err
			}
			if err := pace.step(ctx, len(part)); err != nil {
				return err
			}
		}
	}
	return nil
}

// readBlocks reads those blocks of a segment that lie between two offsets, or
// across one. What the disk cannot read may be what nobody wants.
func (r *Rewriter) readBlocks(ctx context.Context, w *Rewrite, seg *segment, from, to int64) (failed error) {
	data := r.data[seg.gen-w.first]
	pages := newBadPages(ask(ctx))
	for _, p := range w.parts {
		for _, e := range r.blocks[p.from:p.to] {
			off, end := e.pos.off(), e.pos.off()+e.length()
			if e.pos.gen() != seg.gen || off >= to || end <= from {
				continue
			}
			err := pages.read(seg.file, seg.gen, data[off:end], off)
			switch {
			case unreadable(err):
				failed = err // of all, not of the first alone
				w.l.cannotRead(p.sh, e, err)
			case err != nil:
				return err
			}
		}
	}
	return failed
}

// writeChunk makes one file of the pieces.
func (r *Rewriter) writeChunk(ctx context.Context, w *Rewrite, pace *pacer, gen uint64, pieces []piece) error {
	last := &pieces[len(pieces)-1]
	end := last.pos.off() + last.length()
	stay := poolReserve
	if end < w.l.opt.SegmentBytes/2 {
		stay = 1 << 30 // a full file would be wasted on it
	}
	f, name, err := w.l.takeFile(stay)
	if err != nil {
		return fmt.Errorf("make a chunk: %w", err)
	}
	h := segmentHeader{gen: gen, salt: newSalt(), size: chunkSize(end)}
	c := &chunkFile{file: f, seed: h.seed(), buf: r.buf[:0], off: blocksStart}
	err = r.fillChunk(ctx, w, pace, c, h, pieces)
	r.buf = c.buf
	if err == nil {
		err = w.l.opt.FS.Rename(name, segmentName(gen))
	}
	if err != nil {
		w.l.giveBack(f, name)
		return fmt.Errorf("write chunk %s: %w", segmentName(gen), err)
	}
	w.chunks = append(w.chunks, &segment{gen: gen, size: h.size, seed: c.seed, name: segmentName(gen), file: f})
	w.closed = append(w.closed, gen)
	w.Written += h.size
	return nil
}

func (r *Rewriter) fillChunk(ctx context.Context, w *Rewrite, pace *pacer, c *chunkFile, h segmentHeader, pieces []piece) error {
	for i := range pieces {
		p := &pieces[i]
		if err := r.assemble(w, c, p); err != nil {
			return err
		}
		if len(c.buf) >= chunkStep {
			n := len(c.buf)
			if err := c.flush(); err != nil {
				return err
			}
			if err := pace.step(ctx, n); err != nil {
				return err
			}
		}
	}
	c.end(h.size)
	if err := c.flush(); err != nil {
		return err
	}
	blocks := make([]listed, len(pieces))
	for i := range pieces {
		blocks[i] = pieces[i].listed
	}
	if err := writeFooter(c.file, h.size, blocks, c.seed); err != nil {
		return err
	}
	if err := h.write(c.file); err != nil {
		return err
	}
	return c.file.Sync()
}

// assemble makes one block of its sources, all of which are checked.
func (r *Rewriter) assemble(w *Rewrite, c *chunkFile, p *piece) error {
	at := len(c.buf)
	c.buf = append(c.buf, make([]byte, headerSize)...)
	for i := p.from; i < p.from+p.n; i++ {
		e := &r.blocks[i]
		seg := w.l.segs.get(e.pos.gen())
		b := r.data[e.pos.gen()-w.first][e.pos.off():][:e.length()]
		h, detail := checkBlock(b, seg.seedAt(e.pos.off()), p.sh, e)
		if detail == "" {
			from := len(c.buf)
			c.buf = append(c.buf, b[headerSize:headerSize+int(e.size)]...)
			if !delay(c.buf[from:], int(e.count), uint16(e.base-p.base)) {
				detail = errMalformed.Error()
			}
		}
		if detail != "" {
			return w.damaged(p.sh, *e, detail)
		}
		if i == p.from {
			p.prev = h.prev
		}
	}
	c.seal(&header{
		kind: kindData, count: p.count, span: p.span, size: p.size,
		shard: p.shard, first: p.first, prev: p.prev, base: p.base,
	}, at)
	return nil
}

// delay makes the arrivals of the records in a payload count from an earlier
// time than before.
func delay(payload []byte, count int, ms uint16) bool {
	if ms == 0 {
		return true
	}
	for range count {
		r, err := decodeRecord(payload)
		if err != nil {
			return false
		}
		binary.LittleEndian.PutUint16(payload[6:], r.delta+ms)
		payload = payload[r.size():]
	}
	return true
}

// chunkFile is a chunk on its way to the disk.
type chunkFile struct {
	file vfs.File
	seed uint32
	buf  []byte
	off  int64 // of buf in the file
}

// seal pads the block that begins at a place of the buffer and writes its header.
func (c *chunkFile) seal(h *header, at int) {
	c.buf = append(c.buf, make([]byte, int(h.length())-(len(c.buf)-at))...)
	seed := seedAt(c.seed, c.off+int64(at))
	h.sum = checksum(seed, c.buf[at+headerSize:])
	h.encode(c.buf[at:], seed)
}

// end closes the file's blocks and fills it up to its size.
func (c *chunkFile) end(size int64) {
	at := len(c.buf)
	c.buf = append(c.buf, make([]byte, size-c.off-int64(at))...)
	seed := seedAt(c.seed, c.off+int64(at))
	h := header{kind: kindEnd, sum: seed}
	h.encode(c.buf[at:], seed)
}

func (c *chunkFile) flush() error {
	if _, err := c.file.WriteAt(c.buf, c.off); err != nil {
		return err
	}
	c.off += int64(len(c.buf))
	c.buf = c.buf[:0]
	return c.file.Sync()
}
