package wal

import (
	"errors"
	"fmt"
	"slices"
)

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
		if err := r.l.moveToPool(segmentName(gen)); err != nil {
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
