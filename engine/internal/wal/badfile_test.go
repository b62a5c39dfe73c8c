package wal

import (
	"fmt"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/millrace/millrace/engine/internal/vfs"
)

// spare puts files of that size into a directory, called with numbers from 1 on.
func spare(t *testing.T, fs vfs.FS, prefix string, n int, size int64) {
	t.Helper()
	for i := range n {
		f, err := fs.Create(fmt.Sprintf("%s%016x", prefix, i+1))
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Allocate(size); err != nil {
			t.Fatal(err)
		}
	}
}

// count returns how many files begin with a prefix.
func count(fs vfs.FS, prefix string) (n int) {
	names, _ := fs.List()
	for _, name := range names {
		if strings.HasPrefix(name, prefix) {
			n++
		}
	}
	return n
}

// What takes room on the disk is not forgotten because it could not be removed.
func TestAFileThatCannotBeRemovedIsRemovedLater(t *testing.T) {
	const size = 64 << 10
	for _, kind := range []vfs.OpKind{vfs.OpTruncate, vfs.OpRemove} {
		synctest.Test(t, func(t *testing.T) {
			fs := vfs.NewCrash()
			spare(t, fs, poolPrefix, 20, size)
			fs.Fail(func(op vfs.Op) error {
				if op.Kind == kind && strings.HasPrefix(op.Name, poolPrefix) {
					return syscall.EACCES
				}
				return nil
			})
			l, _, err := Open(Options{FS: fs, SegmentBytes: size, Logger: slog.New(slog.DiscardHandler)}, Known{OpenGen: 1})
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if n := count(fs, poolPrefix); n <= poolFiles {
				t.Fatalf("%d files are in the pool: none had to be removed", n)
			}
			fs.Fail(nil)
			signal(l.wantSegment)
			synctest.Wait()
			if n := count(fs, poolPrefix); n != poolFiles {
				t.Errorf("%s has failed, and later there are %d files in the pool, want %d", kind, n, poolFiles)
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAFileThatFailedIsRemovedByTheNextOpening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.Memory()
		spare(t, fs, badPrefix, 3, 64<<10)
		l, _, err := Open(Options{FS: fs, SegmentBytes: 64 << 10}, Known{OpenGen: 1})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := count(fs, badPrefix); n > 0 {
			t.Errorf("%d of 3 files are left", n)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}
