package vfs

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
)

// SectorSize is what a disk writes as a whole or not at all.
const SectorSize = 512

// Crash is a directory in memory that records every change, so that a
// [Replay] can show what a power cut would have left after any of them. It is
// for tests.
type Crash struct {
	mu     sync.Mutex
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
	Name string // of the file at that moment; Rename: before
	To   string // Rename
	Off  int64  // Write, Truncate: the new size
	Data []byte // Write

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

// ErrKilled is for fault hooks that play the death of the process: what was
// written stays in the page cache, synced or not.
var ErrKilled = errors.New("the process was killed")

var _ FS = (*Crash)(nil)

// NewCrash returns an empty directory.
func NewCrash() *Crash { return &Crash{names: map[string]int{}} }

// Ops returns how many changes there have been.
func (c *Crash) Ops() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.ops)
}

// Fail sets a hook that is asked before every change whether it fails; nil for
// none. It is called with the directory's lock held.
func (c *Crash) Fail(fault func(Op) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fault = fault
}

// do records a change that the fault hook allows.
func (c *Crash) do(op Op, apply func(op *Op)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if op.Name == "" && op.Kind != OpSyncDir {
		op.Name = c.called[op.inode]
	}
	if c.fault != nil {
		if err := c.fault(op); err != nil {
			if op.Kind == OpSync && !errors.Is(err, ErrKilled) {
				op.Kind = OpSyncFailed
				c.ops = append(c.ops, op)
			}
			return err
		}
	}
	apply(&op)
	c.ops = append(c.ops, op)
	return nil
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
		op.inode = len(c.inodes)
		c.inodes = append(c.inodes, &content{})
		c.called = append(c.called, name)
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

func (f *crashFile) WriteAt(p []byte, off int64) (int, error) {
	op := Op{Kind: OpWrite, Off: off, Data: slices.Clone(p), inode: f.inode}
	if err := f.c.do(op, func(*Op) { f.c.inodes[f.inode].writeAt(p, off) }); err != nil {
		return 0, err
	}
	return len(p), nil
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

func (f *crashFile) Close() error { return nil }

// Replay walks over the changes of a [Crash] and keeps what is durable apart
// from what is not.
type Replay struct {
	ops    []Op
	at     int
	inodes []replayed
	// names are the durable ones, dir the changes to them that are not.
	names map[string]int
	dir   []Op
}

type replayed struct {
	durable content
	pending []Op
}

// Replay returns a walk over the changes so far. It begins before the first.
func (c *Crash) Replay() *Replay {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &Replay{ops: slices.Clone(c.ops), names: map[string]int{}}
}

// At returns how many changes lie behind.
func (r *Replay) At() int { return r.at }

// Step goes over one change; false at the end.
func (r *Replay) Step() bool {
	if r.at == len(r.ops) {
		return false
	}
	op := r.ops[r.at]
	r.at++
	switch op.Kind {
	case OpCreate:
		for len(r.inodes) <= op.inode {
			r.inodes = append(r.inodes, replayed{})
		}
		r.dir = append(r.dir, op)
	case OpRename, OpRemove:
		r.dir = append(r.dir, op)
	case OpWrite, OpTruncate:
		r.inodes[op.inode].pending = append(r.inodes[op.inode].pending, op)
	case OpSync:
		x := &r.inodes[op.inode]
		x.apply(&x.durable, func() bool { return true })
		x.pending = nil
	case OpSyncFailed:
		// What reached the disk reached it; the rest never will.
		x := &r.inodes[op.inode]
		rng := rand.New(rand.NewPCG(uint64(r.at), 0))
		x.apply(&x.durable, func() bool { return rng.IntN(2) == 0 })
		x.pending = nil
	case OpSyncDir:
		applyNames(r.names, r.dir, func() bool { return true })
		r.dir = nil
	}
	return true
}

// apply writes the pending changes, sector by sector, where keep says so.
func (x *replayed) apply(to *content, keep func() bool) {
	for _, op := range x.pending {
		if op.Kind == OpTruncate {
			if keep() {
				to.truncate(op.Off)
			}
			continue
		}
		for off, data := op.Off, op.Data; len(data) > 0; {
			n := min(len(data), SectorSize-int(off%SectorSize))
			if keep() {
				to.writeAt(data[:n], off)
			}
			off, data = off+int64(n), data[n:]
		}
	}
}

func applyNames(names map[string]int, ops []Op, keep func() bool) {
	for _, op := range ops {
		if !keep() {
			continue
		}
		switch op.Kind {
		case OpCreate:
			names[op.Name] = op.inode
		case OpRename:
			if inode, ok := names[op.Name]; ok && inode == op.inode {
				delete(names, op.Name)
				names[op.To] = op.inode
			}
		case OpRemove:
			delete(names, op.Name)
		}
	}
}

// Image returns a directory as a power cut at this moment may have left it:
// all that is durable, and of the rest what the seed says. The same seed gives
// the same image.
func (r *Replay) Image(seed uint64) *Crash {
	rng := rand.New(rand.NewPCG(seed, uint64(r.at)))
	// From nothing of the rest to all of it.
	odds := []int{0, 10, 50, 90, 100}[rng.IntN(5)]
	keep := func() bool { return rng.IntN(100) < odds }
	names := maps.Clone(r.names)
	applyNames(names, r.dir, keep)
	image := NewCrash()
	for _, name := range slices.Sorted(maps.Keys(names)) {
		x := r.inodes[names[name]]
		data := x.durable.clone()
		x.apply(&data, keep)
		image.add(name, data)
	}
	return image
}

// Now returns the directory as it is now, all of it durable.
func (c *Crash) Now() *Crash {
	c.mu.Lock()
	defer c.mu.Unlock()
	image := NewCrash()
	for _, name := range slices.Sorted(maps.Keys(c.names)) {
		image.add(name, c.inodes[c.names[name]].clone())
	}
	return image
}

// add puts in a file that is durable, by the changes that make it so.
func (c *Crash) add(name string, data content) {
	inode := len(c.inodes)
	c.inodes = append(c.inodes, &data)
	c.called = append(c.called, name)
	c.names[name] = inode
	c.ops = append(c.ops, Op{Kind: OpCreate, Name: name, inode: inode})
	if data.size > 0 {
		c.ops = append(c.ops, Op{Kind: OpTruncate, Name: name, Off: data.size, inode: inode})
	}
	for i, page := range data.pages {
		if page != nil {
			n := min(int64(len(page)), data.size-int64(i)*pageSize)
			c.ops = append(c.ops, Op{Kind: OpWrite, Name: name, Off: int64(i) * pageSize, Data: slices.Clone(page[:n]), inode: inode})
		}
	}
	c.ops = append(c.ops, Op{Kind: OpSync, Name: name, inode: inode}, Op{Kind: OpSyncDir})
}

// Flip inverts bits of one byte of a file, behind the back of whoever uses it.
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
