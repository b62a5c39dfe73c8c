package vfs

import (
	"errors"
	"io"
)

// FS is one flat directory. Its methods may be called at the same time.
type FS interface {
	// Open opens an existing file for reading and writing. An error wraps
	// [fs.ErrNotExist] when there is none.
	Open(name string) (File, error)
	// Create makes an empty file, or empties an existing one.
	Create(name string) (File, error)
	// Rename gives a file another name, atomically, in place of a file that has
	// that name already.
	Rename(from, to string) error
	// Remove takes a name away.
	Remove(name string) error
	// List returns all names, sorted.
	List() ([]string, error)
	// SyncDir makes every name durable as it is now.
	SyncDir() error
	// Lock takes the directory for this process until the closer is called, or
	// the process ends in whatever way. It fails with an error that wraps
	// [ErrLocked] when somebody has it.
	Lock() (io.Closer, error)
	// Path returns the name as a person would look for it.
	Path(name string) string
}

// File is an open file. ReadAt and WriteAt may be called at the same time.
type File interface {
	io.ReaderAt
	io.WriterAt
	// Sync makes all that was written durable, and the size with it. After an
	// error it is unknown what is durable, and a second Sync that succeeds
	// proves nothing.
	Sync() error
	// Truncate sets the size.
	Truncate(size int64) error
	// Allocate makes the file that large, with zeros, and takes the room for it
	// from the disk now, where the system can.
	Allocate(size int64) error
	// Expect tells the system that n bytes at off will be read soon, so that it
	// may fetch them meanwhile. It does not wait, and promises nothing.
	Expect(off, n int64)
	// Size returns the size.
	Size() (int64, error)
	Close() error
}

// ErrLocked says that another process, or another engine of this one, uses the
// directory.
var ErrLocked = errors.New("the directory is in use: stop the process, or close the engine, that has it")

// LockName is the file that [Dir] locks. It holds nothing.
const LockName = "LOCK"
