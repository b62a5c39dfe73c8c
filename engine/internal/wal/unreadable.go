package wal

import (
	"errors"
	"fmt"
	"syscall"
)

// sector is what is given up where the disk cannot read: a page, since the
// system reads no less.
const sector = 4 << 10

// unreadable tells that the disk has lost what it was asked for from other
// reasons why a read may fail.
func unreadable(err error) bool { return errors.Is(err, syscall.EIO) }

// readAround reads p, and zeros where the disk cannot read, which no checksum
// accepts: so that what is lost is told of, and what lies beside it is read. It is
// for places that were written once, and for those alone: zeros elsewhere pass for
// the end of the log.
func (l *Log) readAround(seg *segment, p []byte, off int64) error {
	err := readFull(seg.file, p, off)
	if err == nil {
		return nil
	}
	if !unreadable(err) {
		return fmt.Errorf("read %s at %d: %w", seg.name, off, err)
	}
	lost := 0
	for at := 0; at < len(p); {
		from := off + int64(at)
		part := p[at:min(len(p), at+sector-int(from%sector))]
		switch err := readFull(seg.file, part, from); {
		case unreadable(err):
			clear(part)
			lost += len(part)
		case err != nil:
			return fmt.Errorf("read %s at %d: %w", seg.name, from, err)
		}
		at += len(part)
	}
	l.opt.Logger.Error("the disk cannot read a part of a log file", "file", l.opt.FS.Path(seg.name),
		"offset", off, "bytes", len(p), "unreadable", lost, "err", err)
	return nil
}
