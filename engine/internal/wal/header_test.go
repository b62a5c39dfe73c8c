package wal

import (
	"errors"
	"log/slog"
	"syscall"
	"testing"

	"github.com/millrace/millrace/engine/internal/vfs"
)

// badPage fails to read one copy of a header, and to write either.
type badPage struct {
	vfs.File
	unread int64
}

func (f badPage) ReadAt(p []byte, off int64) (int, error) {
	if off == f.unread {
		return 0, syscall.EIO
	}
	return f.File.ReadAt(p, off)
}

func (f badPage) WriteAt([]byte, int64) (int, error) { return 0, syscall.EIO }

func TestOneGoodCopyOfAHeaderIsEnough(t *testing.T) {
	const none = -1
	for _, c := range []struct {
		unread, rotten int64
		want           error
	}{
		{none, 0, nil},
		{none, headerCopy, nil},
		{0, none, nil},
		{headerCopy, none, nil},
		{0, headerCopy, syscall.EIO}, // it may be there yet
		{headerCopy, 0, syscall.EIO},
	} {
		fs := vfs.Memory()
		f, err := fs.Create("file")
		if err != nil {
			t.Fatal(err)
		}
		if err := (segmentHeader{gen: 7, size: 1 << 20}).write(f); err != nil {
			t.Fatal(err)
		}
		if c.rotten != none {
			f.WriteAt([]byte{0}, c.rotten)
		}
		r := &recovery{l: &Log{opt: Options{FS: fs, Logger: slog.New(slog.DiscardHandler)}}}
		h, err := r.readSegmentHeader(badPage{f, c.unread}, 7)
		if !errors.Is(err, c.want) || err == nil && h.gen != 7 {
			t.Errorf("unread %d, rotten %d: %+v, %v; want %v", c.unread, c.rotten, h, err, c.want)
		}
	}
}
