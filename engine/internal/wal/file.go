package wal

import (
	"errors"
	"io/fs"
	"sync/atomic"

	"github.com/millrace/millrace/engine/internal/vfs"
)

// file is an open file of the log or of the pool. Its errors do not name it:
// it has several names in its life, and who uses it tells the present one.
type file struct {
	vfs.File
	// pooled says that it came from the pool, and was not made just now.
	pooled bool
	// failed says that the disk has failed once to read or write a part of it:
	// it must not become a file of the log again, which would fail with it.
	failed atomic.Bool
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(p, off)
	return n, f.note(err)
}

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(p, off)
	return n, f.note(err)
}

func (f *file) Sync() error               { return f.note(f.File.Sync()) }
func (f *file) Truncate(size int64) error { return f.note(f.File.Truncate(size)) }
func (f *file) Allocate(size int64) error { return f.note(f.File.Allocate(size)) }

func (f *file) note(err error) error {
	if err == nil {
		return nil
	}
	if unreadable(err) {
		f.failed.Store(true)
	}
	var named *fs.PathError
	if errors.As(err, &named) {
		return named.Err
	}
	return err
}

// openFile opens a file by its present name.
func (l *Log) openFile(name string) (*file, error) {
	f, err := l.opt.FS.Open(name)
	if err != nil {
		return nil, err
	}
	return &file{File: f}, nil
}
