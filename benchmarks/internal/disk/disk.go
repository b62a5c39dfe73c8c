// Package disk is the yardstick below every log: what the bare disk and the page
// cache do with plain system calls, one thread, no format.
//
//	Ring.Append ──write, fdatasync──► a file that was written before, or is only allocated
//	ReadAll     ◄─pread of 1 MiB, CRC32C── files
//	DropCaches    so that the next read comes from the disk
package disk

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Kind is the state of the blocks that a ring writes to. It decides what a sync
// costs: to overwrite what was written once needs no commit of the file
// system's journal.
type Kind string

// The kinds of blocks.
const (
	Recycled  Kind = "recycled file"
	Allocated Kind = "fallocated file"
)

// Ring is a file that is written from its beginning to its end, and over again.
type Ring struct {
	f    *os.File
	kind Kind
	size int64
	at   int64
	data []byte
}

// fillStep is how much is written at once when a file is prepared.
const fillStep = 4 << 20

// OpenRing makes a file of that size and kind, in which each append is group
// bytes. Sizes are rounded to whole groups of whole 4 KiB pages.
func OpenRing(path string, kind Kind, size int64, group int) (*Ring, error) {
	group = max(4096, (group+4095)/4096*4096)
	size = max(1, size/int64(group)) * int64(group)
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	r := &Ring{f: f, kind: kind, size: size, data: make([]byte, group)}
	_, _ = rand.Read(r.data)
	if err := r.prepare(); err != nil {
		f.Close()
		return nil, fmt.Errorf("prepare %s: %w", path, err)
	}
	return r, nil
}

func (r *Ring) prepare() error {
	if err := unix.Fallocate(int(r.f.Fd()), 0, 0, r.size); err != nil {
		return err
	}
	if r.kind == Recycled {
		zeros := make([]byte, fillStep)
		for at := int64(0); at < r.size; at += fillStep {
			if _, err := r.f.WriteAt(zeros[:min(fillStep, r.size-at)], at); err != nil {
				return err
			}
		}
	}
	return r.f.Sync()
}

// Group is how many bytes one append writes.
func (r *Ring) Group() int { return len(r.data) }

// Append writes one group and syncs it.
func (r *Ring) Append() error {
	if _, err := r.f.WriteAt(r.data, r.at); err != nil {
		return err
	}
	if r.at += int64(len(r.data)); r.at == r.size {
		r.at = 0
	}
	return unix.Fdatasync(int(r.f.Fd()))
}

// Loop appends for that long, at least once, and returns how long each append took. In an
// allocated file it stops at its end: what comes then would be recycled.
func (r *Ring) Loop(ctx context.Context, d time.Duration) ([]time.Duration, error) {
	most := int64(math.MaxInt64)
	if r.kind == Allocated {
		most = r.size / int64(len(r.data))
	}
	var took []time.Duration
	for begin := time.Now(); len(took) == 0 || time.Since(begin) < d && int64(len(took)) < most; {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		start := time.Now()
		if err := r.Append(); err != nil {
			return nil, err
		}
		took = append(took, time.Since(start))
	}
	return took, nil
}

// Paced appends so often in a second for that long, at least once, and returns how
// long each append took. What cannot be had in time comes later.
func (r *Ring) Paced(ctx context.Context, rate int, d time.Duration) ([]time.Duration, error) {
	n := max(1, int(d.Seconds()*float64(rate)))
	took := make([]time.Duration, n)
	begin, timer := time.Now(), time.NewTimer(0)
	defer timer.Stop()
	for i := range n {
		timer.Reset(time.Until(begin.Add(time.Duration(i) * time.Second / time.Duration(rate))))
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		start := time.Now()
		if err := r.Append(); err != nil {
			return nil, err
		}
		took[i] = time.Since(start)
	}
	return took, nil
}

// Close removes the file.
func (r *Ring) Close() error { return errors.Join(r.f.Close(), os.Remove(r.f.Name())) }

// Free is how many bytes the file system of dir can still take.
func Free(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return int64(s.Bavail) * s.Bsize, nil
}

// Settle waits until the file system of dir has written everything, so that
// what was done before does not weigh on what is measured next.
func Settle(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}
