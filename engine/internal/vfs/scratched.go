package vfs

import (
	"io/fs"
	"sync"
	"syscall"
	"time"
)

// PageSize is what the system reads of a disk, and a disk loses, at a time.
const PageSize = 4096

// Scratched is a directory on a disk with bad pages. They follow their file
// through every name. To read one fails with EIO; so does writing a part of it,
// since the system reads the rest first. One that is written as a whole is good
// again, and one that is cut off belongs to nobody. It is for tests.
type Scratched struct {
	FS

	mu    sync.Mutex
	files map[string]*badPages
	// healed says that all can be read for now; delay is how long the disk
	// takes to fail; short, that it gives what lies before a bad page.
	healed, short bool
	delay         time.Duration
	failures      int // of reads
}

// badPages are those of one file, by their number.
type badPages map[int64]bool

// Scratch returns the directory on a disk without bad pages yet.
func Scratch(fs FS) *Scratched { return &Scratched{FS: fs, files: map[string]*badPages{}} }

// On returns another directory in which the files of the same names have the
// same bad pages now.
func (d *Scratched) On(fs FS) *Scratched {
	d.mu.Lock()
	defer d.mu.Unlock()
	other := Scratch(fs)
	other.healed, other.short, other.delay = d.healed, d.short, d.delay
	for name, pages := range d.files {
		for page := range *pages {
			other.spoil(name, page)
		}
	}
	return other
}

// Spoil makes the pages bad in which some bytes of a file lie: from, and all
// before to.
func (d *Scratched) Spoil(name string, from, to int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for page := from / PageSize; page*PageSize < to; page++ {
		d.spoil(name, page)
	}
}

func (d *Scratched) spoil(name string, page int64) { (*d.file(name))[page] = true }

// Heal says whether the bad pages can be read and written until further notice:
// it was the cable.
func (d *Scratched) Heal(yes bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.healed = yes
}

// Delay says how long a read takes that fails.
func (d *Scratched) Delay(delay time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.delay = delay
}

// Short says whether a read that fails gives what lies before the bad page, as
// Linux does.
func (d *Scratched) Short(yes bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.short = yes
}

// Failures counts the reads that have failed, or will when they have taken their
// time.
func (d *Scratched) Failures() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failures
}

// file returns the bad pages of a file. d.mu is held.
func (d *Scratched) file(name string) *badPages {
	pages := d.files[name]
	if pages == nil {
		pages = &badPages{}
		d.files[name] = pages
	}
	return pages
}

func (d *Scratched) open(name string, f File, err error) (File, error) {
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return &scratchedFile{f, d, name, d.file(name)}, nil
}

func (d *Scratched) Open(name string) (File, error) {
	f, err := d.FS.Open(name)
	return d.open(name, f, err)
}

func (d *Scratched) Create(name string) (File, error) {
	f, err := d.FS.Create(name)
	if err == nil {
		d.mu.Lock()
		clear(*d.file(name))
		d.mu.Unlock()
	}
	return d.open(name, f, err)
}

func (d *Scratched) Rename(from, to string) error {
	err := d.FS.Rename(from, to)
	if err == nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.files[to] = d.file(from)
		delete(d.files, from)
	}
	return err
}

func (d *Scratched) Remove(name string) error {
	err := d.FS.Remove(name)
	if err == nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.files, name)
	}
	return err
}

type scratchedFile struct {
	File
	d     *Scratched
	name  string // when it was opened
	pages *badPages
}

func (f *scratchedFile) failed(op string) error {
	return &fs.PathError{Op: op, Path: f.d.Path(f.name), Err: syscall.EIO}
}

func (f *scratchedFile) ReadAt(p []byte, off int64) (int, error) {
	f.d.mu.Lock()
	bad := int64(-1)
	for page := off / PageSize; bad < 0 && page*PageSize < off+int64(len(p)); page++ {
		if (*f.pages)[page] && !f.d.healed {
			bad = page * PageSize
		}
	}
	delay, short := f.d.delay, f.d.short
	if bad >= 0 {
		f.d.failures++
	}
	f.d.mu.Unlock()
	if bad < 0 {
		return f.File.ReadAt(p, off)
	}
	if delay > 0 {
		<-time.After(delay)
	}
	n := 0
	if short && bad > off {
		n, _ = f.File.ReadAt(p[:bad-off], off)
	}
	return n, f.failed("read")
}

func (f *scratchedFile) WriteAt(p []byte, off int64) (int, error) {
	if f.d.refuses(f.pages, off, off+int64(len(p))) {
		return 0, f.failed("write")
	}
	return f.File.WriteAt(p, off)
}

// refuses reports whether a write would have to read a bad page first. If not,
// those that it covers are good from now on.
func (d *Scratched) refuses(pages *badPages, from, to int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.healed {
		return false
	}
	for page := from / PageSize; page*PageSize < to; page++ {
		whole := from <= page*PageSize && to >= (page+1)*PageSize
		if (*pages)[page] && !whole {
			return true
		}
	}
	for page := from / PageSize; page*PageSize < to; page++ {
		delete(*pages, page)
	}
	return false
}

func (f *scratchedFile) Truncate(size int64) error {
	err := f.File.Truncate(size)
	if err == nil {
		f.d.mu.Lock()
		defer f.d.mu.Unlock()
		for page := range *f.pages {
			if page*PageSize >= size {
				delete(*f.pages, page)
			}
		}
	}
	return err
}
