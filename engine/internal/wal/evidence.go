package wal

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"syscall"
)

// remains is what lies behind a place: valid headers, and the records of their
// blocks.
type remains struct{ blocks, records int }

// unreadPlace is a place that the disk cannot read.
type unreadPlace struct {
	name string
	off  int64
	err  error
}

// durableLater reports whether anything says that a place was durable once: the
// manifest, or a valid block behind it, in the same segment or a later one. If
// not, it has looked at all that lies there, and tells what. It is an error when
// the disk could not read all of that: what it cannot read may be what says so.
func (r *recovery) durableLater(seg *segment, off int64) (durable bool, here, later remains, err error) {
	at := makePos(seg.gen, off)
	defer func() {
		if durable {
			r.unread = nil
		} else if err == nil && r.unread != nil {
			err = r.refuse()
		}
	}()
	if r.evident > at {
		return true, here, later, nil
	}
	here, err = r.gather(seg, off)
	if err != nil || r.evident > at {
		return err == nil, here, later, err
	}
	for _, gen := range r.gens {
		if gen <= seg.gen {
			continue
		}
		some, err := r.gatherFile(gen)
		if err != nil || r.evident > at {
			return err == nil, here, later, err
		}
		later.blocks += some.blocks
		later.records += some.records
	}
	return false, here, later, nil
}

func (r *recovery) gatherFile(gen uint64) (remains, error) {
	f, err := r.l.openFile(segmentName(gen))
	if err != nil {
		return remains{}, err
	}
	defer f.Close()
	h, err := r.readSegmentHeader(f, gen)
	if unreadable(err) {
		r.cannotRead(segmentName(gen), 0, err)
		return remains{}, nil
	}
	if errors.Is(err, errSegmentHeader) {
		return remains{}, nil // it says nothing
	}
	if err != nil {
		return remains{}, fmt.Errorf("%s: %w", r.l.opt.FS.Path(segmentName(gen)), err)
	}
	return r.gather(&segment{gen: gen, size: h.size, seed: h.seed(), name: segmentName(gen), file: f}, blocksStart)
}

// gather takes note of what the valid headers from a place on call durable.
func (r *recovery) gather(seg *segment, off int64) (found remains, err error) {
	w := window{seg: seg, read: r.readEvidence}
	for {
		h, at, ok, err := w.search(off)
		if err != nil || !ok {
			return found, err
		}
		r.evident = max(r.evident, h.synced)
		found.blocks++
		found.records += int(h.count)
		off = at + headerSize
	}
}

// readEvidence reads a part of a segment in which evidence may lie. It believes
// nothing but valid headers, and so may read around what the disk cannot read.
func (r *recovery) readEvidence(seg *segment, p []byte, off int64) error {
	bad, err := readAround(seg, p, off)
	if len(bad) > 0 {
		r.cannotRead(seg.name, bad[0].from, syscall.EIO)
	}
	return err
}

// readDurable reads a part of a file. What the disk cannot read of it, and what was
// durable once, is read as zeros: it is damage. Anything else must not pass for what
// was never written, since the log would end there: it is refused.
func (r *recovery) readDurable(seg *segment, p []byte, off int64) error {
	bad, err := readAround(seg, p, off)
	for _, part := range bad {
		if r.whole(seg.gen) {
			break
		}
		r.cannotRead(seg.name, part.from, syscall.EIO)
		if _, _, _, err := r.durableLater(seg, part.to-8); err != nil { // a block ends there at the latest
			return err
		}
	}
	if len(bad) > 0 {
		r.l.missed(seg.gen, bad...)
		r.l.opt.Logger.Error("the disk cannot read a part of a log file", "file", r.l.opt.FS.Path(seg.name),
			"offset", bad[0].from, "parts", len(bad), "err", syscall.EIO)
	}
	return err
}

// whole reports whether all of a file is known to have been durable once.
func (r *recovery) whole(gen uint64) bool { return !r.inLog(gen) || gen < r.evident.gen() }

// mustBeWhole refuses a file whose header the disk cannot read if the log may end
// in it.
func (r *recovery) mustBeWhole(gen uint64, name string) error {
	if r.whole(gen) {
		return nil
	}
	r.cannotRead(name, 0, syscall.EIO)
	_, _, _, err := r.durableLater(&segment{gen: gen}, math.MaxUint32)
	return err
}

// cannotRead takes note of the first place that cannot be read.
func (r *recovery) cannotRead(name string, off int64, err error) {
	if r.unread == nil {
		r.unread = &unreadPlace{name, off, err}
	}
}

// refuse says why the log is not opened.
func (r *recovery) refuse() error {
	u := r.unread
	return fmt.Errorf("the disk cannot read %s at offset %d, and nothing says that the log does not end there: %w: "+
		"open it again when the disk can; or give up what is there, and behind it, by a copy of the file with zeros in its place; "+
		"or move the file away, which gives up all that is in it", r.l.opt.FS.Path(u.name), u.off, u.err)
}

// cut ends the log at a place, for good: what lies behind must not come back
// when new blocks have been written up to it.
func (r *recovery) cut(seg *segment, off int64, here, later remains) error {
	r.ended = true
	if here.blocks > 0 {
		zeros := make([]byte, fillStep)
		for at := off; at < seg.size; {
			n := min(int64(len(zeros)), seg.size-at)
			if _, err := seg.file.WriteAt(zeros[:n], at); err != nil {
				return fmt.Errorf("cut off %s at %d: %w", seg.name, at, err)
			}
			at += n
		}
	}
	r.report.CutRecords += here.records + later.records
	if here.blocks > 0 || r.report.CutRecords > 0 {
		r.report.Cut = fmt.Sprintf("%s at offset %d", r.l.opt.FS.Path(seg.name), off)
	}
	// From the last to the first, so that no hole is left whenever this ends.
	for _, gen := range slices.Backward(r.gens[slices.Index(r.gens, seg.gen)+1:]) {
		if err := r.l.moveToPool(segmentName(gen)); err != nil {
			return err
		}
	}
	return nil
}
