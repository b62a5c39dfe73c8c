package wal

import (
	"errors"
	"fmt"
	"slices"
)

// remains is what lies behind a place: valid headers, and the records of their
// blocks.
type remains struct{ blocks, records int }

// durableLater reports whether anything says that a place was durable once: the
// manifest, or a valid block behind it, in the same segment or a later one. If
// not, it has looked at all that lies there, and tells what.
func (r *recovery) durableLater(seg *segment, off int64) (durable bool, here, later remains, err error) {
	at := makePos(seg.gen, off)
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
	f, err := r.l.opt.FS.Open(segmentName(gen))
	if err != nil {
		return remains{}, err
	}
	defer f.Close()
	h, err := r.readSegmentHeader(f, gen)
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
	w := window{seg: seg}
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

// cut ends the log at a place, for good: what lies behind must not come back
// when new blocks have been written up to it.
func (r *recovery) cut(seg *segment, off int64, here, later remains) error {
	r.ended = true
	if here.blocks > 0 {
		zeros := make([]byte, fillStep)
		for at := off; at < seg.size; {
			n := min(int64(len(zeros)), seg.size-at)
			if _, err := seg.file.WriteAt(zeros[:n], at); err != nil {
				return err
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
