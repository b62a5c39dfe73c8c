package vfs

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"
)

// SectorSize is what a disk writes as a whole or not at all.
const SectorSize = 512

// Crash is a directory in memory that records every change, so that a
// [Replay] can show what a power cut would have left after any of them. It is
// for tests.
type Crash struct {
	mu sync.Mutex
	// first is how the directory was at the beginning, all of it durable.
	first  map[string]content
	fault  func(Op) error
	ops    []Op
	inodes []*content
	names  map[string]int // index of an inode
	called []string       // the last name of each inode
	locked bool
}

// Op is one change of a [Crash].
type Op struct {
	Kind OpKind
	Name string    // of the file at that moment; Rename: before
	To   string    // Rename
	Off  int64     // Write, Truncate: the new size
	Data []byte    // Write: what goes to the disk
	When time.Time // it was made

	inode int
}

// OpKind tells the changes apart.
type OpKind uint8

const (
	OpCreate OpKind = iota
	OpWrite
	OpTruncate
	OpSync
	// OpSyncFailed is a Sync that the fault hook let fail: the pages are clean
	// from then on, without being on the disk.
	OpSyncFailed
	OpRename
	OpRemove
	OpSyncDir
)

func (k OpKind) String() string {
	return [...]string{"create", "write", "truncate", "sync", "failed sync", "rename", "remove", "syncdir"}[k]
}

func (o Op) String() string {
	return fmt.Sprintf("%s %s %s %d+%d", o.Kind, o.Name, o.To, o.Off, len(o.Data))
}

// What fault hooks may return beside the errors of an operating system.
var (
	// ErrKilled plays the death of the process: what was written stays in the
	// page cache, synced or not.
	ErrKilled = errors.New("the process was killed")
	// ErrUnwritten lets a write succeed of which nothing goes to the disk: it is
	// read back as it should be until the power is cut.
	ErrUnwritten = errors.New("the disk lies, and writes nothing")
	// ErrGarbled does the same with a write that goes to the disk as something
	// else.
	ErrGarbled = errors.New("the disk lies, and writes something else")
)

// ShortWrite lets a write fail after so many bytes.
type ShortWrite struct {
	Bytes int
	Err   error
}

func (e *ShortWrite) Error() string { return fmt.Sprintf("short write: %v", e.Err) }
func (e *ShortWrite) Unwrap() error { return e.Err }

var _ FS = (*Crash)(nil)

// NewCrash returns an empty directory.
func NewCrash() *Crash { return newCrash(nil) }

// newCrash returns a directory that begins with these files. It shares their
// memory and leaves it as it is.
func newCrash(first map[string]content) *Crash {
	c := &Crash{first: first, names: make(map[string]int, len(first)+2)}
	for _, name := range slices.Sorted(maps.Keys(first)) {
		data := first[name]
		own := data.clone()
		c.names[name] = c.addInode(name, &own)
	}
	return c
}

func (c *Crash) addInode(name string, data *content) int {
	c.inodes = append(c.inodes, data)
	c.called = append(c.called, name)
	return len(c.inodes) - 1
}

// Ops returns how many changes there have been.
func (c *Crash) Ops() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.ops)
}

// History returns all changes so far.
func (c *Crash) History() []Op {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.ops)
}

// Fail sets a hook that is asked before every change whether it fails, and how;
// nil for none. It is called with the directory's lock held.
func (c *Crash) Fail(fault func(Op) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fault = fault
}

// do makes and records a change, as far as the fault hook allows it.
func (c *Crash) do(op Op, apply func(op *Op)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if op.Name == "" && op.Kind != OpSyncDir {
		op.Name = c.called[op.inode]
	}
	op.When = time.Now()
	var err error
	if c.fault != nil {
		err = c.fault(op)
	}
	var short *ShortWrite
	switch {
	case err == nil:
		apply(&op)
	case op.Kind == OpWrite && errors.Is(err, ErrUnwritten):
		apply(&op)
		op.Data, err = nil, nil
	case op.Kind == OpWrite && errors.Is(err, ErrGarbled):
		apply(&op)
		op.Data, err = garble(op.Data), nil
	case op.Kind == OpWrite && errors.As(err, &short):
		op.Data = op.Data[:min(short.Bytes, len(op.Data))]
		apply(&op)
	case op.Kind == OpSync && !errors.Is(err, ErrKilled):
		op.Kind = OpSyncFailed
	default:
		return err
	}
	c.ops = append(c.ops, op)
	return err
}

// garble returns other bytes than these.
func garble(data []byte) []byte {
	other := slices.Clone(data)
	for i := range other {
		other[i] ^= byte(i*7) | 0x80
	}
	return other
}

func (c *Crash) Path(name string) string { return name }

func (c *Crash) Open(name string) (File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	inode, ok := c.names[name]
	if !ok {
		return nil, notExist("open", name)
	}
	return &crashFile{c, inode}, nil
}

func (c *Crash) Create(name string) (File, error) {
	c.mu.Lock()
	inode, exists := c.names[name]
	c.mu.Unlock()
	if exists {
		f := &crashFile{c, inode}
		return f, f.Truncate(0)
	}
	err := c.do(Op{Kind: OpCreate, Name: name}, func(op *Op) {
		op.inode = c.addInode(name, &content{})
		c.names[name] = op.inode
		inode = op.inode
	})
	if err != nil {
		return nil, err
	}
	return &crashFile{c, inode}, nil
}

func (c *Crash) Rename(from, to string) error {
	c.mu.Lock()
	inode, ok := c.names[from]
	c.mu.Unlock()
	if !ok {
		return notExist("rename", from)
	}
	return c.do(Op{Kind: OpRename, Name: from, To: to, inode: inode}, func(*Op) {
		delete(c.names, from)
		c.names[to] = inode
		c.called[inode] = to
	})
}

func (c *Crash) Remove(name string) error {
	c.mu.Lock()
	_, ok := c.names[name]
	c.mu.Unlock()
	if !ok {
		return notExist("remove", name)
	}
	return c.do(Op{Kind: OpRemove, Name: name}, func(*Op) { delete(c.names, name) })
}

func (c *Crash) List() ([]string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.names)), nil
}

func (c *Crash) SyncDir() error { return c.do(Op{Kind: OpSyncDir}, func(*Op) {}) }

func (c *Crash) Lock() (io.Closer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.locked {
		return nil, ErrLocked
	}
	c.locked = true
	return closer(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.locked = false
	}), nil
}

type crashFile struct {
	c     *Crash
	inode int
}

func (f *crashFile) ReadAt(p []byte, off int64) (int, error) {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	return f.c.inodes[f.inode].readAt(p, off)
}

func (f *crashFile) WriteAt(p []byte, off int64) (n int, err error) {
	op := Op{Kind: OpWrite, Off: off, Data: slices.Clone(p), inode: f.inode}
	err = f.c.do(op, func(op *Op) {
		n = len(op.Data)
		f.c.inodes[f.inode].writeAt(op.Data, off)
	})
	return n, err
}

func (f *crashFile) Truncate(size int64) error {
	op := Op{Kind: OpTruncate, Off: size, inode: f.inode}
	return f.c.do(op, func(*Op) { f.c.inodes[f.inode].truncate(size) })
}

func (f *crashFile) Allocate(size int64) error { return f.Truncate(size) }

func (f *crashFile) Sync() error {
	return f.c.do(Op{Kind: OpSync, inode: f.inode}, func(*Op) {})
}

func (f *crashFile) Size() (int64, error) {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	return f.c.inodes[f.inode].size, nil
}

func (f *crashFile) Expect(off, n int64) {}

func (f *crashFile) Close() error { return nil }

// Now returns the directory as it is now, all of it durable: what is left when
// the process dies and nothing else does.
func (c *Crash) Now() *Crash {
	c.mu.Lock()
	defer c.mu.Unlock()
	files := make(map[string]content, len(c.names))
	for name, inode := range c.names {
		files[name] = c.inodes[inode].clone()
	}
	return newCrash(files)
}

// Flip inverts bits of one byte of a file, behind the back of whoever uses it.
// No [Replay] knows of it: it is for files that are opened again as they are.
func (c *Crash) Flip(name string, off int64, bits byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	data := c.inodes[c.names[name]]
	var b [1]byte
	if _, err := data.readAt(b[:], off); err == nil || err == io.EOF {
		b[0] ^= bits
		data.writeAt(b[:], off)
	}
}

// Cut shortens a file in the same way.
func (c *Crash) Cut(name string, size int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inodes[c.names[name]].truncate(size)
}

// SizeOf returns the size of a file.
func (c *Crash) SizeOf(name string) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.inodes[c.names[name]].size
}
