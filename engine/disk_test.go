package engine

import (
	"math/rand/v2"
	"strings"
	"syscall"
	"time"

	"github.com/millrace/millrace/engine/internal/vfs"
)

// pacedDisk takes its time for every change, in the time of a bubble. How long
// follows from what is changed and when, and not from the order in which
// goroutines come to ask: so a seed gives the same history again.
type pacedDisk struct {
	vfs.FS
	seed uint64
}

type pacedFile struct {
	vfs.File
	d    pacedDisk
	name string
}

// pace waits at least for a time, and up to eight times as long.
func (d pacedDisk) pace(least time.Duration, what string, off int64) {
	rng := rand.New(rand.NewPCG(d.seed^textHash(what), uint64(off)^uint64(time.Now().UnixNano())))
	time.Sleep(least + time.Duration(rng.Int64N(int64(7*least))))
}

func textHash(s string) (h uint64) {
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

const (
	writeTime = 5 * time.Microsecond
	nameTime  = 100 * time.Microsecond
	syncTime  = 500 * time.Microsecond
)

func (d pacedDisk) file(f vfs.File, err error, name string) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return pacedFile{f, d, name}, nil
}

func (d pacedDisk) Open(name string) (vfs.File, error) {
	f, err := d.FS.Open(name)
	return d.file(f, err, name)
}

func (d pacedDisk) Create(name string) (vfs.File, error) {
	d.pace(nameTime, name, 0)
	f, err := d.FS.Create(name)
	return d.file(f, err, name)
}

func (d pacedDisk) Rename(from, to string) error {
	d.pace(nameTime, to, 1)
	return d.FS.Rename(from, to)
}

func (d pacedDisk) Remove(name string) error {
	d.pace(nameTime, name, 2)
	return d.FS.Remove(name)
}

func (d pacedDisk) SyncDir() error {
	d.pace(syncTime, "", 3)
	return d.FS.SyncDir()
}

func (f pacedFile) WriteAt(p []byte, off int64) (int, error) {
	f.d.pace(writeTime, f.name, off)
	return f.File.WriteAt(p, off)
}

func (f pacedFile) Truncate(size int64) error {
	f.d.pace(nameTime, f.name, size)
	return f.File.Truncate(size)
}

func (f pacedFile) Allocate(size int64) error {
	f.d.pace(nameTime, f.name, size)
	return f.File.Allocate(size)
}

func (f pacedFile) Sync() error {
	f.d.pace(syncTime, f.name, -1)
	return f.File.Sync()
}

// A fault is a hook for [vfs.Crash.Fail]. It is made anew for every life, and
// counts the changes of that life.
type fault func(rng *rand.Rand) func(vfs.Op) error

// failing lets one change fail, of any kind, or every one from there on.
func failing(rng *rand.Rand) func(vfs.Op) error {
	from, sticky, short := 15+rng.IntN(400), rng.IntN(2) == 0, rng.IntN(400)
	n := 0
	return func(op vfs.Op) error {
		n++
		if n != from && !(sticky && n > from) {
			return nil
		}
		if op.Kind == vfs.OpWrite && short%2 == 0 {
			return &vfs.ShortWrite{Bytes: short, Err: syscall.EIO}
		}
		return syscall.EIO
	}
}

// full is a disk without room for a while. What is allocated can be
// overwritten, unless the file system is of the kind that copies on write.
func full(rng *rand.Rand) func(vfs.Op) error {
	from := 15 + rng.IntN(300)
	to, copies, short := from+1+rng.IntN(200), rng.IntN(4) == 0, rng.IntN(2) == 0
	n := 0
	return func(op vfs.Op) error {
		n++
		if n < from || n >= to {
			return nil
		}
		takes := op.Kind == vfs.OpCreate || op.Kind == vfs.OpTruncate && op.Off > 0 ||
			op.Kind == vfs.OpWrite && (copies || !strings.HasSuffix(op.Name, ".log"))
		switch {
		case !takes:
			return nil
		case op.Kind == vfs.OpWrite && short:
			return &vfs.ShortWrite{Bytes: len(op.Data) / 2, Err: syscall.ENOSPC}
		}
		return syscall.ENOSPC
	}
}

// lying says of a few writes to the log that they went well, and writes nothing
// or something else.
func lying(rng *rand.Rand) func(vfs.Op) error {
	return func(op vfs.Op) error {
		if op.Kind != vfs.OpWrite || !strings.HasSuffix(op.Name, ".log") {
			return nil
		}
		switch rng.IntN(80) {
		case 0:
			return vfs.ErrUnwritten
		case 1:
			return vfs.ErrGarbled
		}
		return nil
	}
}
