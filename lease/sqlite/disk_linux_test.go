package sqlite

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/millrace/millrace/lease"
)

// smallDisk mounts a file system of its own, in memory, or skips the test
// where this user may not.
func smallDisk(t *testing.T) (dir string) {
	dir = t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("no file system can be mounted: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

// A disk fills up under the write-ahead log, which is written when a statement
// has already returned its row and commits.
func TestAWriteThatDidNotFitOnTheDiskIsNotAcknowledged(t *testing.T) {
	dir := smallDisk(t)
	s := open(t, filepath.Join(dir, "leases.db"), Config{Application: "app"})
	ctx := t.Context()
	row := lease.Lease{Key: "a", Counter: 1}
	if err := s.Create(ctx, row); err != nil {
		t.Fatal(err)
	}
	member, err := s.SwapMember(ctx, lease.Member{}, lease.Member{Incarnation: "w/1"})
	if err != nil {
		t.Fatal(err)
	}

	ballast := filepath.Join(dir, "ballast")
	if err := fill(ballast); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Swap(ctx, row, row); !errors.Is(err, ErrDiskFull) {
		t.Errorf("swap: got counter %d and error %v, want %v", got.Counter, err, ErrDiskFull)
	}
	if err := s.Delete(ctx, row); !errors.Is(err, ErrDiskFull) {
		t.Errorf("delete: got error %v, want %v", err, ErrDiskFull)
	}
	if err := s.Create(ctx, lease.Lease{Key: "b"}); !errors.Is(err, ErrDiskFull) {
		t.Errorf("create: got error %v, want %v", err, ErrDiskFull)
	}
	if got, err := s.SwapMember(ctx, member, member); !errors.Is(err, ErrDiskFull) {
		t.Errorf("beat: got version %d and error %v, want %v", got.Version, err, ErrDiskFull)
	}
	if rows, err := s.Read(ctx, "a", "b"); err != nil || len(rows) != 1 || rows[0].Counter != 1 {
		t.Errorf("after refused writes: %v, error %v; want the row from before", rows, err)
	}

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Swap(ctx, row, row); err != nil || got.Counter != 2 {
		t.Errorf("swap when there is space again: counter %d, error %v", got.Counter, err)
	}
}

// fill writes a file until its file system is full.
func fill(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	block := make([]byte, 4096)
	for {
		if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) {
			return nil
		} else if err != nil {
			return err
		}
	}
}
