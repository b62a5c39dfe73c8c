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
