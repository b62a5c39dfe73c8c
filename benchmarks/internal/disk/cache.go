package disk

import (
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ReadAll reads every file below dir, pread by pread of 1 MiB, with a CRC32C
// over all of it, up to most bytes, and returns how many they were.
func ReadAll(dir string, most int64) (total int64, err error) {
	buf := make([]byte, 1<<20)
	err = eachFile(dir, func(f *os.File) error {
		for at := int64(0); total < most; {
			n, err := f.ReadAt(buf, at)
			crc32.Checksum(buf[:n], castagnoli)
			at, total = at+int64(n), total+int64(n)
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return total, err
}

// DropCaches takes the files below dir out of the page cache: of the whole
// machine by /proc/sys/vm/drop_caches where that is allowed, else of these files
// by posix_fadvise. how tells which.
func DropCaches(dir string) (how string, err error) {
	if err := Settle(dir); err != nil {
		return "", err
	}
	if os.WriteFile("/proc/sys/vm/drop_caches", []byte("1"), 0o200) == nil {
		return "drop_caches", nil
	}
	return "posix_fadvise", eachFile(dir, func(f *os.File) error {
		return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	})
}

func eachFile(dir string, do func(f *os.File) error) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		return do(f)
	})
}
