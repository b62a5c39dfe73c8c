package wal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/millrace/millrace/engine/internal/vfs"
)

const (
	// sector is what is given up where the disk cannot read: a page, since the
	// system reads no less.
	sector = 4 << 10
	// The rewriter asks again for what the disk failed to read after a pause
	// that doubles from the first of these to the last.
	askAgain = 5 * time.Second
	askLast  = 5 * time.Minute
)

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

// missed takes note of what the disk could not read of a file when the log was
// opened.
func (l *Log) missed(gen uint64, bad ...span) {
	for _, part := range bad {
		for page := part.from - part.from%sector; page < part.to; page += sector {
			if !slices.Contains(l.atOpen[gen], page) {
				l.atOpen[gen] = append(l.atOpen[gen], page)
			}
		}
	}
}

// cannotRead takes note that the disk failed to read a block. That is no loss by
// itself: cables and controllers fail, too, and the next try may succeed. Nobody
// but who calls [Log.LookAgain] and [Log.Accept] gives the block up.
func (l *Log) cannotRead(s *Shard, e entry, err error) {
	g := l.gapOf(e, err.Error())
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.unread[e]; known || !s.index.has(e) {
		return
	}
	if s.unread == nil {
		s.unread = map[entry]Gap{}
	}
	g.First = s.beginLocked(g.First)
	s.unread[e] = g
}

// canRead takes note that the disk could read some blocks.
func (l *Log) canRead(s *Shard, blocks []entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.unread)
	if n == 0 {
		return
	}
	for _, e := range blocks {
		delete(s.unread, e)
	}
	if len(s.unread) < n {
		signal(l.filled) // the rewriter may go on
	}
}

// badPages reads where the disk may fail, and keeps the pages at which it did: it
// is asked for each of them once, since it may take its time to fail. The
// question whether to go on is asked before each page.
type badPages struct {
	failed map[Pos]error
	goOn   func() error
}

func newBadPages(goOn func() error) badPages { return badPages{map[Pos]error{}, goOn} }

// ask returns why to stop: when a context is done, with its cause.
func ask(ctx context.Context) func() error {
	return func() error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return nil
	}
}

// read reads p of the file of that generation.
func (b badPages) read(f vfs.File, gen uint64, p []byte, off int64) error {
	for at := 0; at < len(p); {
		from := off + int64(at)
		part := p[at:min(len(p), at+sector-int(from%sector))]
		page := makePos(gen, from-from%sector)
		err := b.failed[page]
		if err == nil {
			if err := b.goOn(); err != nil {
				return err
			}
			err = readFull(f, part, from)
		}
		if unreadable(err) {
			b.failed[page] = err
		}
		if err != nil {
			return fmt.Errorf("read %s at %d: %w", segmentName(gen), from, err)
		}
		at += len(part)
	}
	return nil
}

// waits is what the rewriter waits for: a segment that the disk cannot read.
type waits struct {
	gen   uint64
	err   error // why
	until time.Time
	pause time.Duration
}

// readAgain asks the disk once more for what it failed to read of a segment (0 for
// none), if it is time to, and returns the error that it still has. It stops at
// the first one: until all can be read, the rewriter cannot go on.
func (r *Rewriter) readAgain(ctx context.Context, gen uint64) error {
	l := r.l
	if r.waits.gen != gen {
		r.waits = waits{gen: gen}
	}
	if gen == 0 {
		return nil
	}
	pages := newBadPages(ask(ctx))
	for _, s := range l.allShards() {
		for _, g := range s.Status().Unread {
			if g.block.pos.gen() != gen {
				continue
			}
			if w := &r.waits; time.Now().Before(w.until) {
				return w.err
			}
			if err := l.tryRead(&g.block, pages); err != nil {
				w := &r.waits
				w.err, w.pause = err, min(max(askAgain, 2*w.pause), askLast)
				w.until = time.Now().Add(w.pause)
				return err
			}
			l.canRead(s, []entry{g.block})
		}
	}
	return nil
}

func (l *Log) tryRead(e *entry, pages badPages) error {
	seg := l.segs.pin(e.pos.gen())
	if seg == nil {
		return nil
	}
	defer l.segs.unpin(seg)
	return pages.read(seg.file, seg.gen, make([]byte, e.length()), e.pos.off())
}

// ErrReopen says that what was lost when the log was opened, since the disk could
// not read it, can be read by now.
var ErrReopen = errors.New("the disk can read again what it could not when this was opened: close and open it again to have those records back")

// LookAgain reads once more what is lost of a shard, or could not be read. Who
// can read it by now goes on; what still cannot be read is returned. Of what the
// disk could not read when the log was opened only another opening brings
// anything back: as soon as it can read a page of that, LookAgain returns
// [ErrReopen]. It asks goOn again and again whether to go on, and returns what
// that returns. With an error nothing is known.
func (l *Log) LookAgain(s *Shard, goOn func() error) (lost []Gap, err error) {
	now := s.Status()
	pages := newBadPages(goOn)
	for _, g := range slices.Concat(now.Gaps, now.Unread) {
		readable := false
		if g.block.count == 0 { // nobody knows where it was
			err = l.stillUnread(&g, pages)
		} else {
			readable, err = l.readable(s, &g.block, pages)
		}
		if err != nil {
			return nil, err
		}
		if !readable {
			lost = append(lost, g)
			continue
		}
		l.canRead(s, []entry{g.block})
		s.mu.Lock()
		s.gaps = slices.DeleteFunc(s.gaps, func(old Gap) bool { return old.Range == g.Range })
		s.wakeLocked()
		s.mu.Unlock()
		signal(l.filled) // the rewriter may go on
	}
	return lost, nil
}

// stillUnread returns [ErrReopen] when the disk can read a page of the files in
// which a gap is that it could not read when they were opened.
func (l *Log) stillUnread(g *Gap, pages badPages) error {
	for i, d := range g.damage {
		if len(l.atOpen[d.gen]) == 0 || i > 0 && d.gen == g.damage[i-1].gen {
			continue
		}
		name := segmentName(d.gen)
		f, err := l.openFile(name) // where its header is lost, there is no segment
		if err != nil {
			return err
		}
		defer f.Close()
		for _, off := range l.atOpen[d.gen] {
			err := pages.read(f, d.gen, make([]byte, sector), off)
			if err == nil {
				return fmt.Errorf("%s at %d: %w", l.opt.FS.Path(name), off, ErrReopen)
			}
			if !unreadable(err) {
				return err
			}
		}
	}
	return nil
}

// readable reports whether a block is on the disk as it was written.
func (l *Log) readable(s *Shard, e *entry, pages badPages) (bool, error) {
	seg := l.segs.pin(e.pos.gen())
	if seg == nil {
		return false, nil
	}
	defer l.segs.unpin(seg)
	if size, err := seg.file.Size(); err != nil || e.pos.off()+e.length() > size {
		return false, err
	}
	b := make([]byte, e.length())
	if err := pages.read(seg.file, seg.gen, b, e.pos.off()); err != nil {
		if unreadable(err) {
			err = nil
		}
		return false, err
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
