package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/engine/internal/vfs"
	"github.com/millrace/millrace/stream"
)

// footer returns where the footer of a file begins, if it has one.
func (d *oldDisk) footer(name string) (off int64, ok bool) {
	f, _ := d.fs.Open(name)
	b := make([]byte, d.fs.SizeOf(name))
	f.ReadAt(b, 0)
	off = int64(binary.LittleEndian.Uint64(b[32:]))
	return off, off+16 <= int64(len(b)) && string(b[off:off+7]) == "MRCFOOT"
}

// longLog makes a directory whose log has several segments. To be called in a
// bubble.
func longLog(t *testing.T) *oldDisk {
	fs := vfs.NewCrash()
	e := onCrash(t, fs)
	s := ensure(t, e, "orders", StreamConfig{Shards: 3})
	for i := range 30 {
		mustPut(t, s, number(i*3, 3)...)
		mustPut(t, s, entry("k", strings.Repeat("x", 5000)))
	}
	return surveyed(t, fs, e, s)
}

// What the disk cannot read is lost, and told of, and nothing else is; when it
// can again before that is accepted, nothing was lost. Where the log may end, the
// directory is refused as it is.
func TestWhatTheDiskCannotReadIsDamage(t *testing.T) {
	for name, prepare := range map[string]func(*testing.T) *oldDisk{"closed files": newOldDisk, "a long log": longLog} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := prepare(t)
				e := mustOpen(t, rewriting(d.fs.Now()))
				durable := uint64(e.log.Durable())
				e.Close()
				told, refused := 0, 0
				try := func(name string, from, to int64) {
					where := fmt.Sprintf("%s from %d to %d", name, from, to)
					_, closed := d.footer(name)
					disk := vfs.Scratch(d.fs.Now())
					disk.Spoil(name, from, to)
					from, to = from/vfs.PageSize*vfs.PageSize, (to+vfs.PageSize-1)/vfs.PageSize*vfs.PageSize
					// Behind what is known to be durable, the log may end. It does so in a
					// file of which only the beginning is known, if that cannot be read.
					var gen uint64
					fmt.Sscanf(name, "%x", &gen)
					ends := !closed && (gen<<32+uint64(to) > durable || gen == durable>>32 && from == 0)
					// Somebody reads, and gives nothing up.
					err := readsOnly(disk, d.data())
					if ends != errors.Is(err, errRefused) || ends != errors.Is(err, syscall.EIO) || err != nil && !strings.Contains(err.Error(), name) {
						t.Errorf("%s: open: %v", where, err)
					}
					disk.Heal(true)
					if gone, err := missing(t, disk.FS.(*vfs.Crash).Now(), d.all); len(gone) > 0 || err != nil {
						t.Errorf("%s: it can be read again, and %d records are lost: %v", where, len(gone), err)
					}
					disk.Heal(false)
					if ends {
						refused++
						return
					}
					gone, err := missing(t, disk, d.all)
					if err != nil {
						t.Errorf("%s: %v", where, err)
					}
					for _, records := range d.all {
						for _, r := range records {
							hit := slices.ContainsFunc(d.blocks[name], func(b blockAt) bool {
								return (from == 0 || b.from < to && b.to > from) && d.holds(b, r.Sequence)
							})
							if lost := slices.Contains(gone, r.Sequence); lost != hit {
								t.Errorf("%s: %v is lost: %v, and lies there: %v", where, r.Sequence, lost, hit)
							}
						}
					}
					if len(gone) > 0 {
						told++
					}
				}
				names, _ := d.fs.List()
				for _, name := range names {
					if !strings.HasSuffix(name, ".log") && !strings.HasSuffix(name, ".chunk") {
						continue
					}
					for off := int64(0); off < d.fs.SizeOf(name); off += vfs.PageSize {
						try(name, off, off+vfs.PageSize)
					}
					if off, closed := d.footer(name); closed {
						try(name, off, d.fs.SizeOf(name))
					}
				}
				if told == 0 || refused == 0 {
					t.Errorf("%d losses were told, %d directories refused: want some of each", told, refused)
				}
			})
		})
	}
}

// A running engine tries again what the disk failed to read: when it can be read,
// nothing is lost; when somebody gives it up before, that and nothing else is.
func TestADiskThatCannotReadHoldsUpNobodyForEver(t *testing.T) {
	for kind, size := range map[string]int{"rewritten": 1000, "adopted": 9000} {
		for _, fate := range []string{"it can again", "it can again, before it is given up", "it cannot"} {
			t.Run(kind+", "+fate, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { failingReads(t, size, fate) })
			})
		}
	}
}

func failingReads(t *testing.T, size int, fate string) {
	crash := vfs.NewCrash()
	disk := vfs.Scratch(crash)
	disk.Short(size < 5000)
	e := mustOpen(t, rewriting(disk))
	s := ensure(t, e, "orders", StreamConfig{})
	put := func(n int) {
		for range n {
			mustPut(t, s, entry("k", strings.Repeat("x", size)))
		}
	}
	put(5)
	d := surveyed(t, crash, e, s)
	e = mustOpen(t, rewriting(disk)) // by the file's name
	s = ensure(t, e, "orders", StreamConfig{})
	put(1) // its counter is not the next one
	more := 5000 / size * 2
	put(more) // the end of the log is in another page
	delete(d.blocks, firstLog)
	d.survey(firstLog)
	records := slices.DeleteFunc(d.blocks[firstLog], func(b blockAt) bool { return b.first > b.last })
	page := records[5].from / vfs.PageSize * vfs.PageSize // with its header
	disk.Spoil(firstLog, page, page+vfs.PageSize)
	hit := func(b blockAt) bool { return b.from < page+vfs.PageSize && b.to > page }
	first := slices.IndexFunc(records, hit)
	lost := 0
	for _, b := range records {
		if hit(b) {
			lost++
		}
	}
	put(74 - more)
	synctest.Wait()
	all := 80
	for len(s.Losses()) == 0 && all < 800 { // the rewriter may have looked too early
		put(80)
		all += 80
		synctest.Wait()
	}
	if chunks, adopted := fileKinds(e); chunks+adopted > 0 {
		t.Fatalf("%d files are closed, though a block cannot be read", chunks+adopted)
	}
	if l := s.Losses(); len(l) == 0 || l[0].File != firstLog || !slices.ContainsFunc(records, func(b blockAt) bool { return hit(b) && b.from == l[0].Offset }) {
		t.Errorf("the rewriter tells of %v", l)
	}
	r, err := s.Open(t.Context(), shardID(0), stream.TrimHorizon)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	next := func(want int) (n int, err error) {
		for b := new(stream.Batch); err == nil && n < want; n += len(b.Records) {
			err = r.Next(t.Context(), b)
		}
		return n, err
	}
	corrupt := new(stream.CorruptError)
	before, err := next(all)
	if before != first || !errors.Is(err, syscall.EIO) || errors.As(err, &corrupt) || !strings.Contains(err.Error(), firstLog) {
		t.Fatalf("%d records, %v: want what lies before, and the disk's error", before, err)
	}
	if fate != "it cannot" {
		disk.Heal(true)
		lost = 0
	}
	if fate == "it can again" {
		time.Sleep(retryRewrite + time.Second)
		if l := s.Losses(); len(l) > 0 {
			t.Errorf("the rewriter has read what is told of: %v", l)
		}
	} else {
		losses, err := s.AcceptLoss(t.Context(), shardID(0))
		if err != nil {
			t.Fatal(err)
		}
		if len(losses) != lost {
			t.Fatalf("given up: %v, want %d", losses, lost)
		}
	}
	synctest.Wait()
	if chunks, adopted := fileKinds(e); chunks+adopted == 0 {
		t.Error("the rewriter does not go on")
	}
	if behind, err := next(all - first - lost); err != nil || behind != all-first-lost {
		t.Errorf("the reader goes on with %d records, %v: want %d", behind, err, all-first-lost)
	}
	for range 2 {
		if got := mustRead(t, s, shardID(0), stream.TrimHorizon); len(got) != all-lost {
			t.Errorf("%d records, want %d", len(got), all-lost)
		}
		if l := s.Losses(); len(l) > 0 {
			t.Errorf("told again: %v", l)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		e = mustOpen(t, rewriting(disk))
		s = ensure(t, e, "orders", StreamConfig{})
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}
