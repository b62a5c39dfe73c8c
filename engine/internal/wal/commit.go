package wal

import (
	"context"
	"fmt"
	"time"

	"github.com/millrace/millrace/stream"
)

// group is what one commit makes durable: all that was appended while the
// commit before it was under way. No timer decides how much that is.
//
// Two ways lead to the disk. When nothing is under way, the caller who waits
// writes and syncs by himself: no hand-over costs him time. Otherwise a writer
// and a syncer take over, and what arrives during one sync is the next group;
// only a large group is written before the running sync ends.
type group struct {
	extents  []extent
	blocks   []block
	bytes    int
	end      Pos
	finished bool
	err      error
	done     chan struct{} // closed when finished; nil while nobody waits
}

// earlyWrite is how large a group must be to be written while the one before
// it is still being synced. A sync also waits for what is written beside it,
// which costs small groups more than they gain.
const earlyWrite = 512 << 10

// extent is a part of an arena that has to be written.
type extent struct {
	a        *arena
	from, to int
}

// block is a block to be published.
type block struct {
	shard *Shard
	entry entry
}

// extend adds the arena's bytes from a place up to where it is used now.
func (g *group) extend(a *arena, from int) {
	g.bytes += a.n - from
	if n := len(g.extents); n > 0 && g.extents[n-1].a == a && g.extents[n-1].to == from {
		g.extents[n-1].to = a.n
		return
	}
	g.extents = append(g.extents, extent{a, from, a.n})
}

func (l *Log) relaxed() bool { return l.opt.SyncEvery > 0 }

// Wait returns when the append is durable (with [Options.SyncEvery], when it
// is written) and readers can see it, or with the reason why that will never
// be. When ctx is done before, its cause is returned and the outcome is open.
func (l *Log) Wait(ctx context.Context, c Commit) error {
	g := c.g
	l.mu.Lock()
	if g.finished {
		l.mu.Unlock()
		return g.err
	}
	if g == l.cur && !l.writing && !l.syncing && len(l.written) == 0 {
		l.writing, l.syncing = true, true
		l.takeLocked()
		l.mu.Unlock()
		l.lead(g)
		return g.err
	}
	if g.done == nil {
		g.done = make(chan struct{})
	}
	done := g.done
	l.kickLocked()
	l.mu.Unlock()
	select {
	case <-done:
		return g.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// takeLocked closes the current group and begins the next one.
func (l *Log) takeLocked() *group {
	l.sealBlockLocked()
	g := l.cur
	g.end = l.endLocked()
	l.cur, l.last = &group{extents: l.spareExtents, blocks: l.spareBlocks}, g
	l.spareExtents, l.spareBlocks = nil, nil
	return g
}

// emptyLocked reports whether there is nothing to commit.
func (l *Log) emptyLocked() bool { return l.open.shard == nil && len(l.cur.extents) == 0 }

// mayWriteLocked reports whether the writer has something to do.
func (l *Log) mayWriteLocked() bool {
	return !l.emptyLocked() && !l.writing &&
		(!l.syncing || l.relaxed() || l.cur.bytes >= earlyWrite)
}

func (l *Log) kickLocked() {
	if l.mayWriteLocked() {
		signal(l.kickWriter)
	}
}

// lead commits one group in the caller's goroutine. The caller has set writing
// and syncing.
func (l *Log) lead(g *group) {
	err := l.write(g)
	if err == nil && !l.relaxed() {
		err = syncSegments(g.segments(nil))
	}
	l.settle(err, true, true, g)
}

// runWriter writes groups whenever somebody appends faster than one sync.
func (l *Log) runWriter() {
	for {
		select {
		case <-l.kickWriter:
		case <-l.stopped:
			return
		}
		for l.writeOne() {
		}
	}
}

func (l *Log) writeOne() bool {
	l.mu.Lock()
	if !l.mayWriteLocked() {
		l.mu.Unlock()
		return false
	}
	l.writing = true
	g := l.takeLocked()
	l.mu.Unlock()

	err := l.write(g)
	if err != nil || l.relaxed() {
		l.settle(err, true, false, g)
		return true
	}
	l.mu.Lock()
	l.writing = false
	if l.failed != nil {
		finished := l.finishLocked(l.failed, g)
		l.mu.Unlock()
		wake(finished)
		return false
	}
	l.written = append(l.written, g)
	l.mu.Unlock()
	signal(l.kickSyncer)
	return true
}

// runSyncer syncs what the writer has written.
func (l *Log) runSyncer() {
	for {
		select {
		case <-l.kickSyncer:
		case <-l.stopped:
			return
		}
		if l.relaxed() {
			l.syncLater()
			continue
		}
		for l.syncOne() {
		}
	}
}

func (l *Log) syncOne() bool {
	l.mu.Lock()
	if l.syncing || len(l.written) == 0 {
		l.mu.Unlock()
		return false
	}
	l.syncing = true
	groups := l.written
	l.written = nil
	l.mu.Unlock()

	var segs []*segment
	for _, g := range groups {
		segs = g.segments(segs)
	}
	l.settle(syncSegments(segs), false, true, groups...)
	return true
}

// syncLater is the background sync of a log that answers before it: it waits,
// so that one sync covers many appends.
func (l *Log) syncLater() {
	timer := time.NewTimer(l.opt.SyncEvery)
	defer timer.Stop()
	select {
	case <-timer.C:
		l.syncNow(context.Background())
	case <-l.stopped:
	}
}

// syncNow syncs all that is written.
func (l *Log) syncNow(ctx context.Context) error {
	select {
	case l.syncSlot <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-l.syncSlot }()
	l.mu.Lock()
	segs, upTo, err := l.unsynced, l.settled, l.failed
	l.unsynced = nil
	l.mu.Unlock()
	if err != nil || len(segs) == 0 {
		return err
	}
	if err := syncSegments(segs); err != nil {
		return l.fail(err)
	}
	l.mu.Lock()
	l.durable = max(l.durable, upTo)
	l.mu.Unlock()
	return nil
}

func (l *Log) write(g *group) error {
	for _, x := range g.extents {
		off := x.a.start + int64(x.from)
		if _, err := x.a.seg.file.WriteAt(x.a.buf[x.from:x.to], off); err != nil {
			return fmt.Errorf("write %d bytes to %s at %d: %w", x.to-x.from, x.a.seg.name, off, err)
		}
	}
	return nil
}

// segments adds the group's segments to those given, each once.
func (g *group) segments(to []*segment) []*segment {
	for _, x := range g.extents {
		if n := len(to); n == 0 || to[n-1] != x.a.seg {
			to = append(to, x.a.seg)
		}
	}
	return to
}

func syncSegments(segs []*segment) error {
	for _, seg := range segs {
		if err := seg.file.Sync(); err != nil {
			return fmt.Errorf("sync %s: %w", seg.name, err)
		}
	}
	return nil
}

// settle ends the commit of groups: publishes them, or stops the log for good.
// wrote and synced say which of the two roles the caller gives back.
func (l *Log) settle(err error, wrote, synced bool, groups ...*group) {
	end := groups[len(groups)-1].end
	records := false
	if err == nil && l.relaxed() {
		err = l.Err() // a sync has failed meanwhile
	}
	if err == nil {
		for _, g := range groups {
			records = records || len(g.blocks) > 0
			for i := range g.blocks {
				l.publish(&g.blocks[i])
			}
		}
	}
	l.mu.Lock()
	if wrote {
		l.writing = false
	}
	if synced {
		l.syncing = false
	}
	var finished []chan struct{}
	if err != nil {
		finished = l.failLocked(err)
		finished = append(finished, l.finishLocked(l.failed, groups...)...)
	} else {
		l.settled = end
		if l.relaxed() {
			for _, g := range groups {
				l.unsynced = g.segments(l.unsynced)
			}
			signal(l.kickSyncer)
		} else {
			l.durable = end
			if len(l.written) > 0 {
				signal(l.kickSyncer)
			}
		}
		finished = l.finishLocked(nil, groups...)
		l.kickLocked()
	}
	l.mu.Unlock()
	wake(finished)
	if err != nil {
		l.tellFailure()
	}
	l.cache.trim(end)
	if records {
		signal(l.kickMarker)
	}
}

// finishLocked gives groups their outcome and returns the channels to close.
func (l *Log) finishLocked(err error, groups ...*group) (waiting []chan struct{}) {
	for _, g := range groups {
		if g.finished {
			continue
		}
		g.finished, g.err = true, err
		l.pending -= g.bytes
		if g.done != nil {
			waiting = append(waiting, g.done)
		}
		clear(g.extents)
		clear(g.blocks)
		l.spareExtents, l.spareBlocks = g.extents[:0], g.blocks[:0]
		g.extents, g.blocks = nil, nil
	}
	return append(waiting, l.takeWaitingLocked()...)
}

// takeWaitingLocked returns the channel of those who wait for room, if anybody does.
func (l *Log) takeWaitingLocked() (waiting []chan struct{}) {
	if l.waitRoom != nil {
		waiting = append(waiting, l.waitRoom)
		l.waitRoom = nil
	}
	return waiting
}

func wake(waiting []chan struct{}) {
	for _, c := range waiting {
		close(c)
	}
}

// fail stops the log for good: after a failed write or sync nobody knows what
// is on the disk, and trying again would only pretend to. It returns what stopped
// the log, which may be something earlier.
func (l *Log) fail(err error) error {
	l.mu.Lock()
	finished := l.failLocked(err)
	err = l.failed
	l.mu.Unlock()
	wake(finished)
	l.tellFailure()
	return err
}

// tellFailure logs why the log has failed, once. Loggers may wait, and so may
// not be called with the lock held.
func (l *Log) tellFailure() {
	l.told.Do(func() { l.opt.Logger.Error("log has failed and takes no more records", "err", l.Err()) })
}

func (l *Log) failLocked(err error) []chan struct{} {
	if l.failed == nil {
		l.failed = fmt.Errorf("%w: its log has failed: %w", stream.ErrReadOnly, err)
	}
	l.sealBlockLocked()
	failed := append(l.written, l.cur)
	l.written, l.cur = nil, &group{}
	return l.finishLocked(l.failed, failed...)
}

// Flush makes durable, in every mode, all that was appended before.
func (l *Log) Flush(ctx context.Context) error {
	l.mu.Lock()
	g := l.last
	if !l.emptyLocked() {
		g = l.cur
	}
	err := l.failed
	l.mu.Unlock()
	if err != nil {
		return err
	}
	if g != nil {
		if err := l.Wait(ctx, Commit{g}); err != nil {
			return err
		}
	}
	if l.relaxed() {
		return l.syncNow(ctx)
	}
	return nil
}

// markLocked appends a mark. It reports false when the segment ends here and
// there is no other yet: the log can do without.
func (l *Log) markLocked() bool {
	l.sealBlockLocked()
	if l.endLocked().off()+2*headerSize > l.arena.seg.size {
		if l.next == nil {
			return false
		}
		l.rollLocked()
	}
	if l.arena.n+headerSize > l.arena.limit() {
		l.growLocked(headerSize)
	}
	l.emptyBlockLocked(kindMark)
	return true
}

// runMarker notes what is durable whenever the log has come to rest.
func (l *Log) runMarker() {
	for {
		select {
		case <-l.kickMarker:
		case <-l.stopped:
			return
		}
		timer := time.NewTimer(l.opt.IdleMark)
		select {
		case <-timer.C:
		case <-l.stopped:
			timer.Stop()
			return
		}
		select {
		case <-l.kickMarker: // more came meanwhile: not at rest
			signal(l.kickMarker)
			continue
		default:
		}
		l.mu.Lock()
		if l.failed != nil || l.closed {
			l.mu.Unlock()
			return
		}
		marked, c := l.markLocked(), Commit{l.cur}
		l.mu.Unlock()
		if !marked {
			continue
		}
		// A failure stops the log and is told there.
		_ = l.Wait(context.Background(), c)
	}
}
