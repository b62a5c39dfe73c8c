package wal

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"syscall"
)

// sector is what is given up where the disk cannot read: a page, since the
// system reads no less.
const sector = 4 << 10

// unreadable tells that the disk has lost what it was asked for from other
// reasons why a read may fail.
func unreadable(err error) bool { return errors.Is(err, syscall.EIO) }

// readAround reads p, and zeros where the disk cannot read, which no checksum
// accepts, and returns those places: so that what is lost is told of, and what lies
// beside it is read. Zeros pass for the end of the log, too: the caller has to know
// that it does not end there, or not to believe it.
func readAround(seg *segment, p []byte, off int64) (bad []span, err error) {
	err = readFull(seg.file, p, off)
	if err == nil {
		return nil, nil
	}
	if !unreadable(err) {
		return nil, fmt.Errorf("read %s at %d: %w", seg.name, off, err)
	}
	for at := 0; at < len(p); {
		from := off + int64(at)
		part := p[at:min(len(p), at+sector-int(from%sector))]
		switch err := readFull(seg.file, part, from); {
		case unreadable(err):
			clear(part)
			if n := len(bad); n > 0 && bad[n-1].to == from {
				bad[n-1].to += int64(len(part))
			} else {
				bad = append(bad, span{from, from + int64(len(part))})
			}
		case err != nil:
			return nil, fmt.Errorf("read %s at %d: %w", seg.name, from, err)
		}
		at += len(part)
	}
	return bad, nil
}

// span is a part of a file.
type span struct{ from, to int64 }

// cannotRead takes note that the disk failed to read a block. That is no loss by
// itself: cables and controllers fail, too, and the next try may succeed. Nobody
// but who calls [Log.LookAgain] and [Log.Accept] gives the block up.
func (l *Log) cannotRead(s *Shard, e entry, err error) {
	g := l.gapOf(e, err.Error())
	s.mu.Lock()
	defer s.mu.Unlock()
	same := func(old Gap) bool { return old.block == e }
	if s.index.has(e) && !slices.ContainsFunc(s.unread, same) {
		g.First = s.beginLocked(g.First)
		s.unread = append(s.unread, g)
	}
}

// canRead takes note that the disk could read a part of a file.
func (s *Shard) canRead(from, to Pos) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unread = slices.DeleteFunc(s.unread, func(g Gap) bool {
		return g.block.pos >= from && g.block.pos+Pos(g.block.length()) <= to
	})
}

// LookAgain reads once more what is lost of a shard, or could not be read. Who
// can read it by now goes on; what still cannot be read is returned. With an error
// it is not known.
func (l *Log) LookAgain(s *Shard) (lost []Gap, err error) {
	now := s.Status()
	for _, g := range slices.Concat(now.Gaps, now.Unread) {
		readable, err := l.readable(s, &g.block)
		if err != nil {
			return nil, err
		}
		if !readable {
			lost = append(lost, g)
			continue
		}
		s.mu.Lock()
		s.forgetLocked(g.Range)
		s.wakeLocked()
		s.mu.Unlock()
		signal(l.filled) // the rewriter may go on
	}
	return lost, nil
}

// readable reports whether a block is on the disk as it was written.
func (l *Log) readable(s *Shard, e *entry) (bool, error) {
	if e.count == 0 {
		return false, nil // nobody knows where it was
	}
	seg := l.segs.pin(e.pos.gen())
	if seg == nil {
		return false, nil
	}
	defer l.segs.unpin(seg)
	b := make([]byte, e.length())
	switch n, err := seg.file.ReadAt(b, e.pos.off()); {
	case n == len(b):
	case unreadable(err), errors.Is(err, io.EOF):
		return false, nil
	default:
		return false, fmt.Errorf("read %s at %d: %w", seg.name, e.pos.off(), err)
	}
	if _, detail := checkBlock(b, seg.seedAt(e.pos.off()), s, e); detail != "" {
		return false, nil
	}
	b = b[headerSize : headerSize+int(e.size)]
	for range e.count {
		r, err := decodeRecord(b)
		if err != nil {
			return false, nil
		}
		b = b[r.size():]
	}
	return true, nil
}
