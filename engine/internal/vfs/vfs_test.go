package vfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// kinds are the implementations; all keep the same contract.
func kinds(t *testing.T, f func(t *testing.T, d FS)) {
	t.Run("Dir", func(t *testing.T) { f(t, Dir(t.TempDir())) })
	t.Run("Memory", func(t *testing.T) { f(t, Memory()) })
	t.Run("Crash", func(t *testing.T) { f(t, NewCrash()) })
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestAFileHoldsWhatIsWritten(t *testing.T) {
	kinds(t, func(t *testing.T, d FS) {
		if _, err := d.Open("a"); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("open a missing file: %v", err)
		}
		f, err := d.Create("a")
		must(t, err, f.Allocate(10_000))
		_, err = f.WriteAt([]byte("middle"), 5000)
		must(t, err)
		_, err = f.WriteAt([]byte("end"), 12_000)
		must(t, err, f.Sync(), d.SyncDir())
		if size, err := f.Size(); size != 12_003 || err != nil {
			t.Fatalf("size %d, %v", size, err)
		}
		b := make([]byte, 20)
		if _, err := f.ReadAt(b[:8], 4999); err != nil || string(b[:8]) != "\x00middle\x00" {
			t.Fatalf("read %q, %v", b[:8], err)
		}
		if n, err := f.ReadAt(b, 12_000); n != 3 || !errors.Is(err, io.EOF) {
			t.Fatalf("read at the end: %d, %v", n, err)
		}
		must(t, f.Truncate(5003), f.Truncate(6000))
		if _, err := f.ReadAt(b[:8], 4999); err != nil || !bytes.Equal(b[:8], []byte("\x00mid\x00\x00\x00\x00")) {
			t.Fatalf("read %q, %v", b[:8], err)
		}
		must(t, f.Close())
	})
}

func TestNamesComeAndGo(t *testing.T) {
	kinds(t, func(t *testing.T, d FS) {
		for _, name := range []string{"b", "a", "c"} {
			f, err := d.Create(name)
			must(t, err)
			_, err = f.WriteAt([]byte(name), 0)
			must(t, err, f.Close())
		}
		must(t, d.Rename("a", "c"), d.Remove("b"))
		if err := d.Remove("b"); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("remove a missing file: %v", err)
		}
		if err := d.Rename("b", "d"); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("rename a missing file: %v", err)
		}
		names, err := d.List()
		must(t, err)
		if fmt.Sprint(names) != "[c]" {
			t.Fatalf("names %v", names)
		}
		f, err := d.Open("c")
		must(t, err)
		b := make([]byte, 1)
		if _, err := f.ReadAt(b, 0); err != nil || string(b) != "a" {
			t.Fatalf("c holds %q, %v", b, err)
		}
		must(t, f.Close())
		f, err = d.Create("c")
		must(t, err)
		if size, _ := f.Size(); size != 0 {
			t.Fatalf("created anew with %d bytes", size)
		}
		must(t, f.Close())
	})
}

func TestADirectoryIsLockedOnce(t *testing.T) {
	kinds(t, func(t *testing.T, d FS) {
		l, err := d.Lock()
		must(t, err)
		if _, err := d.Lock(); !errors.Is(err, ErrLocked) {
			t.Fatalf("second lock: %v", err)
		}
		must(t, l.Close())
		l, err = d.Lock()
		must(t, err, l.Close())
	})
}

func TestAPowerCutKeepsWhatWasSyncedAndTheSeedDecidesTheRest(t *testing.T) {
	d := NewCrash()
	f, err := d.Create("a")
	must(t, err)
	_, err = f.WriteAt(bytes.Repeat([]byte("s"), 2000), 0)
	must(t, err, f.Sync(), d.SyncDir())
	_, err = f.WriteAt(bytes.Repeat([]byte("p"), 2000), 1000)
	must(t, err)
	_, err = d.Create("b")
	must(t, err)
	r := d.Replay()
	for r.Step() {
	}
	seen := map[string]bool{}
	for seed := range uint64(100) {
		var what string
		for range 2 {
			image := r.Image(seed)
			f, err := image.Open("a")
			must(t, err)
			b := make([]byte, 3000)
			f.ReadAt(b, 0)
			if !bytes.Equal(b[:1000], bytes.Repeat([]byte("s"), 1000)) {
				t.Fatal("what was synced is lost")
			}
			names, _ := image.List()
			again := fmt.Sprintf("%v %s", names, b)
			if what != "" && what != again {
				t.Fatalf("seed %d gives two images", seed)
			}
			what = again
		}
		seen[what] = true
	}
	if len(seen) < 10 {
		t.Fatalf("100 seeds gave %d images", len(seen))
	}
}

func TestADirectoryIsMadeWithThoseAboveIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b", "c")
	for range 2 {
		if err := MakeDir(path); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || !info.IsDir() {
			t.Fatalf("%v, %v", info, err)
		}
	}
	file := filepath.Join(path, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{file, filepath.Join(file, "d")} {
		if err := MakeDir(bad); err == nil {
			t.Errorf("%s was made", bad)
		}
	}
}

func TestACutShowsWhatTheDiskOnlyPretended(t *testing.T) {
	text := bytes.Repeat([]byte("w"), 1000)
	for _, c := range []struct {
		fault error
		told  int  // bytes that the writer is told of
		fails bool // and that it failed
		kept  func(disk []byte) bool
	}{
		{ErrUnwritten, 1000, false, func(disk []byte) bool { return len(disk) == 0 }},
		{ErrGarbled, 1000, false, func(disk []byte) bool { return len(disk) == 1000 && !bytes.Equal(disk, text) }},
		{&ShortWrite{300, errors.New("no room")}, 300, true, func(disk []byte) bool { return bytes.Equal(disk, text[:300]) }},
		{ErrKilled, 0, true, func(disk []byte) bool { return len(disk) == 0 }},
	} {
		d := NewCrash()
		f, err := d.Create("a")
		must(t, err, d.SyncDir())
		d.Fail(func(op Op) error {
			if op.Kind == OpWrite {
				return c.fault
			}
			return nil
		})
		if n, err := f.WriteAt(text, 0); n != c.told || (err != nil) != c.fails {
			t.Errorf("%v: wrote %d, %v", c.fault, n, err)
		}
		live := make([]byte, 1000)
		if n, _ := f.ReadAt(live, 0); n != c.told || !bytes.Equal(live[:n], text[:n]) {
			t.Errorf("%v: the page cache has %d bytes, or others", c.fault, n)
		}
		must(t, f.Sync())
		r := d.Replay()
		for r.Step() {
		}
		image, err := r.Image(1).Open("a")
		must(t, err)
		disk := make([]byte, 1000)
		n, _ := image.ReadAt(disk, 0)
		if !c.kept(disk[:n]) {
			t.Errorf("%v: the disk has %d bytes, %.10q", c.fault, n, disk[:n])
		}
	}
}

// Images share memory with the walk that they come from, and with each other.
func TestImagesDoNotDisturbOneAnother(t *testing.T) {
	d := NewCrash()
	f, err := d.Create("a")
	must(t, err)
	_, err = f.WriteAt(bytes.Repeat([]byte("1"), 3*pageSize), 0)
	must(t, err, f.Sync(), d.SyncDir())
	r := d.Replay()
	for r.Step() {
	}
	read := func(c *Crash) string {
		f, err := c.Open("a")
		must(t, err)
		size, _ := f.Size()
		b := make([]byte, size)
		f.ReadAt(b, 0)
		return string(b)
	}
	before := read(d)
	one, two := r.Image(1), r.Image(2)
	g, err := one.Open("a")
	must(t, err)
	_, err = g.WriteAt([]byte("other"), pageSize-2)
	must(t, err, g.Truncate(2*pageSize+5))
	for what, c := range map[string]*Crash{"the second image": two, "the directory": d, "a third image": r.Image(3), "the one before the change": one.Replay().Image(1)} {
		if read(c) != before {
			t.Errorf("%s was changed", what)
		}
	}
	again := one.Replay()
	for again.Step() {
	}
	if read(again.Killed()) != read(one) || read(one.Now()) != read(one) || read(one) == before {
		t.Error("the changed image is not what was written to it")
	}
}

func TestTheDeathOfAProcessKeepsWhatWasWritten(t *testing.T) {
	d := NewCrash()
	f, err := d.Create("a")
	must(t, err)
	_, err = f.WriteAt([]byte("not synced"), 0)
	must(t, err)
	r := d.Replay()
	for r.Step() {
	}
	names, err := r.Killed().List()
	must(t, err)
	if fmt.Sprint(names) != "[a]" {
		t.Errorf("names %v", names)
	}
}
