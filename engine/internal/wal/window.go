package wal

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// window reads a segment in large steps.
type window struct {
	seg  *segment
	buf  []byte
	from int64 // offset of buf[0]
	// read reads the segment where the disk may fail; nil to fail with it.
	read func(seg *segment, p []byte, off int64) error
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
	if w.read != nil {
		if err := w.read(w.seg, w.buf, off); err != nil {
			w.buf = w.buf[:0]
			return nil, err
		}
	} else if err := readFull(w.seg.file, w.buf, off); err != nil {
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

// search returns the first valid header at or behind off, and its place.
func (w *window) search(off int64) (h header, at int64, found bool, err error) {
	off = (off + 7) &^ 7
	for off+headerSize <= w.seg.size {
		if _, err := w.bytes(off, headerSize); err != nil {
			return header{}, 0, false, err
		}
		b := w.buf[off-w.from:]
		for at := 0; at+headerSize <= len(b); {
			i := bytes.Index(b[at:], magicBytes)
			if i < 0 {
				break
			}
			at += i
			if at%8 == 0 && at+headerSize <= len(b) {
				if h, ok := decodeHeader(b[at:], w.seg.seedAt(off+int64(at))); ok {
					return h, off + int64(at), true, nil
				}
			}
			at++
		}
		off += int64(len(b)-headerSize)&^7 + 8 // a header may lie across the edge
	}
	return header{}, 0, false, nil
}
