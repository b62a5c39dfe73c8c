package wal

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/millrace/millrace/engine/internal/vfs"
	"github.com/millrace/millrace/stream"
)

const (
	// fillStep is written and synced at a time when a file is filled with
	// zeros: one sync of a whole segment would hold up every commit meanwhile.
	fillStep = 1 << 20
	// hurry is how soon after another a segment has to be wanted for the log to
	// be short of bandwidth rather than of latency: writing zeros first would
	// take half of it.
	hurry = 2 * time.Second
	// retryPrepare is the pause before another try to make a segment.
	retryPrepare = time.Second
	// poolFiles is how many files without content are kept for another use, or
	// twice as many as one rewriting takes; four times as many while the log is
	// short of bandwidth: to make a file again costs more of it than anything else.
	poolFiles = 8
	// shrinkStep is cut off at a time from a file that is not needed: to unlink
	// a large file at once holds up the syncs of the whole file system.
	shrinkStep = 4 << 20
)

// runPreparer has one segment ready before it is needed, so that no append
// ever waits for a new file.
func (l *Log) runPreparer() {
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	failing := false
	var prepared, hurried time.Time // when a segment was begun last; and when in a hurry
	for {
		select {
		case <-l.wantSegment:
		case <-retry.C:
		case <-l.stopped:
			return
		}
		fast, err := l.prepareNext(&prepared)
		signal(l.filled) // by now, what filled the last one is durable
		switch {
		case errors.Is(err, stream.ErrClosed):
			return
		case err != nil:
			l.remove(l.segs.takeBad, l.segs.putBad)
			retry.Reset(retryPrepare)
			if !failing {
				l.opt.Logger.Error("cannot prepare a log segment; trying again", "err", err)
			}
			failing = true
			continue
		case failing:
			l.opt.Logger.Info("log segments can be prepared again")
		}
		failing = false
		if fast {
			hurried = prepared
		}
		stay := max(poolFiles, 2*l.opt.runSegments())
		if time.Since(hurried) < hurry {
			stay *= 4
			retry.Reset(hurry)
		}
		l.remove(l.segs.takeBad, l.segs.putBad)
		l.remove(func() string { return l.segs.takePooled(stay) }, l.segs.putPooled)
	}
}

// prepareNext makes the next segment, if there is none yet, and reports whether
// it had to be fast; prepared is when the last one was begun.
func (l *Log) prepareNext(prepared *time.Time) (fast bool, err error) {
	l.mu.Lock()
	gen, have := l.nextGen, l.next != nil
	l.mu.Unlock()
	if have {
		return false, nil
	}
	fast = time.Since(*prepared) < hurry
	*prepared = time.Now()
	seg, err := l.prepare(gen, fast)
	l.mu.Lock()
	l.next, l.nextErr = seg, err
	if err == nil {
		l.nextGen++
	}
	waiting := l.takeWaitingLocked()
	l.mu.Unlock()
	wake(waiting)
	return fast, err
}

// prepare makes an empty segment of a pooled or a new file. The file gets its
// name as the last step, so that a segment file without a header is always damage.
func (l *Log) prepare(gen uint64, fast bool) (*segment, error) {
	for {
		f, name, err := l.takeFile(0)
		if err != nil {
			return nil, fmt.Errorf("prepare log segment: %w", err)
		}
		seg, err := l.fillAndName(f, name, fast, gen)
		if err == nil {
			l.segs.add(seg)
			return seg, nil
		}
		f.Close()
		if f.failed.Load() && f.pooled {
			l.opt.Logger.Warn("the disk fails to write a file of the pool; removing it", "file", l.opt.FS.Path(name), "err", err)
			continue // the next one, or a new one, may be better
		}
		return nil, fmt.Errorf("prepare log segment: %w", err)
	}
}

// fillAndName makes an empty segment of a file. If it cannot, the file stays for
// another try, as long as it is, unless the disk has failed it.
func (l *Log) fillAndName(f *file, name string, fast bool, gen uint64) (*segment, error) {
	seg, err := l.fill(f, fast, gen)
	if err == nil {
		err = l.opt.FS.Rename(name, seg.name)
	}
	switch {
	case err == nil:
		// When this fails, the next try replaces the file.
		return seg, l.opt.FS.SyncDir()
	case f.failed.Load():
		l.setAside(name)
	default:
		l.segs.putPooled(name)
	}
	return nil, fmt.Errorf("%s: %w", l.opt.FS.Path(name), err)
}

// takeFile opens a file of the pool, when there are more than have to stay, or
// else makes one.
func (l *Log) takeFile(stay int) (f *file, name string, err error) {
	for {
		if name = l.segs.takePooled(stay); name == "" {
			break
		}
		switch f, err := l.openFile(name); {
		case err == nil:
			f.pooled = true
			return f, name, nil
		case unreadable(err):
			l.setAside(name)
		case !errors.Is(err, fs.ErrNotExist):
			l.segs.putPooled(name)
			return nil, name, err
		}
	}
	name = l.segs.newName(poolPrefix)
	made, err := l.opt.FS.Create(name)
	if err != nil {
		return nil, name, err
	}
	return &file{File: made}, name, nil
}

// giveBack closes a file of [Log.takeFile] that did not become a chunk. One that
// was made for it goes, and its room on the disk, however often that is tried.
func (l *Log) giveBack(f *file, name string) {
	size, err := f.Size()
	f.Close()
	if f.failed.Load() {
		l.setAside(name)
		return
	}
	if err == nil && size < l.opt.SegmentBytes && shrink(l.opt.FS, name) == nil {
		return
	}
	l.segs.putPooled(name)
}

// setAside takes a file out of use for good, which somebody removes at leisure.
// Its name says so to those who open the directory before that.
func (l *Log) setAside(name string) {
	bad, err := l.renameTo(badPrefix, name)
	if err != nil {
		bad = name
	}
	l.segs.putBad(bad)
}

// fillZeros writes zeros: to overwrite a block costs a sync half of what the
// first write to an allocated one does. What the log would have to wait for is
// allocated only. Close ends it; the file is filled to its end another time.
func (l *Log) fillZeros(f *file, from, to int64) error {
	zeros := make([]byte, fillStep)
	for from < to {
		if l.nearer(to - from) {
			return f.Allocate(to)
		}
		select {
		case <-l.stopped:
			return stream.ErrClosed
		default:
		}
		n := min(int64(len(zeros)), to-from)
		if _, err := f.WriteAt(zeros[:n], from); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
		from += n
	}
	return nil
}

// nearer reports whether the log comes faster to the end of its segment than
// zeros to the end of the next, of which that much is left. A lead of an
// eighth counts for nothing; the last quarter is for what follows the zeros.
func (l *Log) nearer(left int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	size := l.arena.seg.size
	return size-l.endLocked().off() < max(left-size/8, size/4)
}

// fill brings a file to its size and writes the header. When it has to be
// fast, what was never written is allocated only.
func (l *Log) fill(f *file, fast bool, gen uint64) (*segment, error) {
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	want := l.opt.SegmentBytes
	switch {
	case size > want:
		err = f.Truncate(want)
	case size < want && fast:
		err = f.Allocate(want)
	case size < want:
		err = l.fillZeros(f, size, want)
	}
	if err != nil {
		return nil, err
	}
	h := segmentHeader{gen: gen, salt: newSalt(), size: want}
	if err := h.write(f); err != nil {
		return nil, err
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	return &segment{gen: gen, size: want, seed: h.seed(), name: segmentName(gen), file: f}, nil
}

func newSalt() uint64 {
	var salt [8]byte
	rand.Read(salt[:])
	return binary.LittleEndian.Uint64(salt[:])
}

// remove removes the files that take gives, in steps, until it gives none. One
// that cannot be removed goes back, for another time. A segment that is wanted
// meanwhile comes first.
func (l *Log) remove(take func() string, back func(name string)) {
	for len(l.wantSegment) == 0 {
		select {
		case <-l.stopped:
			return
		default:
		}
		name := take()
		if name == "" {
			return
		}
		if err := shrink(l.opt.FS, name); err != nil {
			back(name)
			l.opt.Logger.Warn("cannot remove a log segment that is not needed", "file", name, "err", err)
			return
		}
	}
}

// shrink removes a file in steps, or at once when the disk fails to take a step.
func shrink(fs vfs.FS, name string) error {
	f, err := fs.Open(name)
	if err == nil {
		err = empty(f)
		f.Close()
	}
	if err != nil && !unreadable(err) {
		return err
	}
	return fs.Remove(name)
}

func empty(f vfs.File) error {
	size, err := f.Size()
	if err != nil {
		return err
	}
	for size > 0 {
		size = max(0, size-shrinkStep)
		if err := f.Truncate(size); err != nil {
			return err
		}
	}
	return nil
}

// Spare returns the files that have to stay: in all others nothing is left that
// anybody may read, or might want to mend. The log loses its oldest segments
// only, closed files leave in any order.
func (l *Log) Spare() Files {
	l.mu.Lock()
	// What is not synced yet still needs its file, be it an empty block.
	end := l.durable.gen()
	l.mu.Unlock()
	damaged := l.damagedFiles()
	l.segs.mu.Lock()
	defer l.segs.mu.Unlock()
	wanted := func(gen uint64) bool {
		seg := l.segs.byGen[gen]
		return damaged[gen] || seg != nil && seg.live.Load() > 0
	}
	f := l.segs.files.clone()
	for !l.segs.held && f.First < end && !wanted(f.First) {
		f.First++
	}
	f.Closed = slices.DeleteFunc(f.Closed, func(gen uint64) bool { return !wanted(gen) })
	return f
}

// Files returns the files that are in use.
func (l *Log) Files() Files {
	l.segs.mu.Lock()
	defer l.segs.mu.Unlock()
	return l.segs.files.clone()
}

// Release gives all files but those another use, or removes them if the disk has
// failed to read them. That they are not wanted must
// be durable, where the next Open learns of it. One call at a time.
func (l *Log) Release(stay Files) error {
	closed := make(map[uint64]bool, len(stay.Closed))
	for _, gen := range stay.Closed {
		closed[gen] = true
	}
	var leave []*segment
	l.segs.mu.Lock()
	l.segs.files = stay.clone()
	for gen, seg := range l.segs.byGen {
		if (isChunk(gen) || gen < stay.First) && !closed[gen] {
			leave = append(leave, seg)
		}
	}
	l.segs.mu.Unlock()
	slices.SortFunc(leave, func(a, b *segment) int { return cmp.Compare(a.gen, b.gen) })
	for _, seg := range leave {
		prefix := poolPrefix
		if seg.file.failed.Load() {
			prefix = badPrefix
		}
		to, err := l.renameTo(prefix, seg.name)
		if err != nil {
			return err
		}
		l.segs.retire(seg, to)
	}
	signal(l.wantSegment) // and with it, the pool's surplus goes
	return nil
}
