package disk

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestARingWritesWholePagesAndStaysWithinItsFile(t *testing.T) {
	for _, c := range []struct {
		kind        Kind
		group, want int
		most        int // appends of one loop
	}{
		{Recycled, 1, 4096, 1 << 30},
		{Recycled, 5000, 8192, 1 << 30},
		{Allocated, 4096, 4096, 16},
	} {
		path := filepath.Join(t.TempDir(), "ring")
		r, err := OpenRing(path, c.kind, 64<<10, c.group)
		if err != nil {
			t.Fatal(err)
		}
		if r.Group() != c.want {
			t.Errorf("%s: groups of %d are of %d bytes, want %d", c.kind, c.group, r.Group(), c.want)
		}
		for range 40 {
			if err := r.Append(); err != nil {
				t.Fatal(err)
			}
		}
		took, err := r.Loop(context.Background(), 50*time.Millisecond)
		if err != nil || len(took) == 0 || len(took) > c.most {
			t.Errorf("%s: a loop made %d appends, want 1 to %d: %v", c.kind, len(took), c.most, err)
		}
		if info, err := os.Stat(path); err != nil || info.Size() != 64<<10 {
			t.Errorf("%s: the file is %v, %v", c.kind, info, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("%s: Close leaves the file: %v", c.kind, err)
		}
	}
}

func TestReadAllReadsEveryFileUpToALimit(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a", "b/c"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, make([]byte, 3<<20+7), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := ReadAll(dir, 1<<40); err != nil || n != 2*(3<<20+7) {
		t.Errorf("%d bytes, %v", n, err)
	}
	if n, err := ReadAll(dir, 2<<20); err != nil || n != 2<<20 {
		t.Errorf("%d bytes with a limit, %v", n, err)
	}
	if how, err := DropCaches(dir); err != nil || how == "" {
		t.Errorf("caches were dropped by %q, %v", how, err)
	}
}
