package logs

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// files is the design that one would try first: a file for each shard. A group
// is written to the files of its shards, and then all of them are synced.
type files struct {
	*group
	dir     string
	syncfs  bool
	shards  []shardFile
	touched []int
}

type shardFile struct {
	f    *os.File
	end  int64
	next []byte // of the group that is gathered
}

// syncsAtOnce is how many files are synced side by side: more gain nothing on
// one disk.
const syncsAtOnce = 32

// OpenFiles makes a log of one file for each shard in dir. Syncing is done file
// by file, or, with syncfs, by one call for the whole file system, which syncs
// what others have written there as well.
func OpenFiles(dir string, shards int, syncfs bool) (Log, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	l := &files{dir: dir, syncfs: syncfs, shards: make([]shardFile, shards)}
	for i := range l.shards {
		f, err := os.Create(filepath.Join(dir, fmt.Sprintf("%05d", i)))
		if err != nil {
			return nil, err
		}
		l.shards[i].f = f
	}
	l.group = newGroup(1<<30, l.commit) // all that waits
	return l, nil
}

func (l *files) commit(batch [][]Record) error {
	l.touched = l.touched[:0]
	for _, records := range batch {
		for i := range records {
			sh := &l.shards[records[i].Shard]
			if len(sh.next) == 0 {
				l.touched = append(l.touched, records[i].Shard)
			}
			sh.next = appendRecord(sh.next, &records[i])
		}
	}
	var workers errgroup.Group
	workers.SetLimit(syncsAtOnce)
	for _, i := range l.touched {
		workers.Go(func() error { return l.shards[i].write(!l.syncfs) })
	}
	if err := workers.Wait(); err != nil {
		return err
	}
	if l.syncfs {
		return unix.Syncfs(int(l.shards[0].f.Fd()))
	}
	return nil
}

func (sh *shardFile) write(sync bool) error {
	n, err := sh.f.WriteAt(sh.next, sh.end)
	if err != nil {
		return err
	}
	sh.end += int64(n)
	sh.next = sh.next[:0]
	if sync {
		return unix.Fdatasync(int(sh.f.Fd()))
	}
	return nil
}

// appendRecord appends a record as lengths, checksum, key and data.
func appendRecord(dst []byte, r *Record) []byte {
	begin := len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, 0)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(r.Data)))
	dst = append(dst, byte(len(r.Key)))
	dst = append(dst, r.Key...)
	dst = append(dst, r.Data...)
	binary.LittleEndian.PutUint32(dst[begin:], crc32.Checksum(dst[begin+4:], castagnoli))
	return dst
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (l *files) Close() error {
	l.group.close()
	var failed error
	for i := range l.shards {
		if err := l.shards[i].f.Close(); err != nil && failed == nil {
			failed = err
		}
	}
	return failed
}
