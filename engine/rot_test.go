package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/engine/internal/vfs"
	"github.com/millrace/millrace/internal/proof"
	"github.com/millrace/millrace/stream"
)

// The rot tests damage a directory that was closed, in every place, and hold
// what is lost against what was touched: no more may be lost than the block that
// was hit, and its readers must be told.

// everyByte says to leave out nothing: neither the inside of large records, nor
// what was never written.
func everyByte() bool { return os.Getenv("MILLRACE_ROT") != "" }

// oldDisk is a small directory with one file of each kind, and what is in it.
type oldDisk struct {
	fs     *vfs.Crash
	all    map[string][]stream.Record // of the stream "orders", by shard
	bases  map[uint64]stream.Sequence // of its shards, by handle
	blocks map[string][]blockAt       // of each file, in order
	holes  map[string][][2]int64      // parts of each file that nobody reads
}

// blockAt is where a block lies.
type blockAt struct {
	from, to    int64
	handle      uint64
	first, last uint64 // counters
}

// newOldDisk makes a directory with a rewritten file, an adopted one, one that
// is in the log, and pooled ones. To be called in a bubble.
func newOldDisk(t *testing.T) *oldDisk {
	fs := vfs.NewCrash()
	e := mustOpen(t, rewriting(fs))
	s := ensure(t, e, "orders", StreamConfig{Shards: 3})
	rest := func() {
		time.Sleep(5 * time.Second)
		synctest.Wait()
	}
	// What is rewritten is small, since most of it is not wanted any more.
	filler := ensure(t, e, "filler", StreamConfig{})
	for i := range 11 {
		mustPut(t, s, number(i*3, 3)...)
		mustPut(t, filler, entry("k", strings.Repeat("x", 5000)))
	}
	if err := e.DeleteStream(t.Context(), "filler"); err != nil {
		t.Fatal(err)
	}
	for range 8 {
		mustPut(t, s, entry("large", strings.Repeat("x", 9000)))
		rest()
	}
	mustPut(t, s, number(50, 10)...)
	if err := s.Split(t.Context(), shardID(0), s.topology.Load().open[0].hash.Middle()); err != nil {
		t.Fatal(err)
	}
	mustPut(t, s, number(100, 20)...)
	rest()
	if chunks, adopted := fileKinds(e); chunks == 0 || adopted == 0 {
		t.Fatalf("%d files were rewritten, %d adopted: want both", chunks, adopted)
	}
	return surveyed(t, fs, e, s)
}

// surveyed closes an engine, and returns what it leaves.
func surveyed(t *testing.T, fs *vfs.Crash, e *Engine, s *Stream) *oldDisk {
	d := &oldDisk{fs: fs, all: map[string][]stream.Record{}, bases: map[uint64]stream.Sequence{}, blocks: map[string][]blockAt{}, holes: map[string][][2]int64{}}
	for _, m := range s.topology.Load().all {
		d.all[m.id] = mustRead(t, s, m.id, stream.TrimHorizon)
		d.bases[m.handle] = m.log.Base()
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	names, _ := d.fs.List()
	for _, name := range names {
		d.survey(name)
	}
	return d
}

// survey finds the blocks of a file, by FORMAT.md.
func (d *oldDisk) survey(name string) {
	size := d.fs.SizeOf(name)
	if !strings.HasSuffix(name, ".log") && !strings.HasSuffix(name, ".chunk") {
		if strings.HasPrefix(name, "pool-") {
			d.holes[name] = [][2]int64{{0, size}}
		}
		return
	}
	f, _ := d.fs.Open(name)
	b := make([]byte, size)
	f.ReadAt(b, 0)
	le := binary.LittleEndian
	off := int64(4096)
	table := crc32.MakeTable(crc32.Castagnoli)
	valid := func() bool {
		seed := crc32.Update(crc32.Checksum(b[24:32], table), table, b[16:24])
		seed = crc32.Update(seed, table, le.AppendUint64(nil, uint64(off)))
		return off+64 <= size && string(b[off:off+4]) == "MBK1" && le.Uint32(b[off+4:]) == crc32.Update(seed, table, b[off+8:off+64])
	}
	for end := false; !end && valid(); {
		h := b[off : off+64]
		first, count := le.Uint64(h[32:]), uint64(le.Uint16(h[18:]))
		to := off + 64 + (int64(le.Uint32(h[8:]))+7)&^7
		d.blocks[name] = append(d.blocks[name], blockAt{off, to, le.Uint64(h[24:]), first, first + count - 1})
		end, off = h[16] == 2, to
	}
	footer, end := int64(le.Uint64(b[32:])), off
	if footer+16 <= size && string(b[footer:footer+7]) == "MRCFOOT" {
		end = footer + 16 + 48*int64(le.Uint32(b[footer+12:]))
	}
	// Each of the two copies of the header has half a page.
	d.holes[name] = [][2]int64{{44, 2048}, {2048 + 44, 4096}, {off, min(footer, size)}, {end, size}}
}

// meaningless reports whether nobody ever reads a place.
func (d *oldDisk) meaningless(name string, off int64) bool {
	return slices.ContainsFunc(d.holes[name], func(h [2]int64) bool { return off >= h[0] && off < h[1] })
}

// hit returns the block of the stream "orders" at a place.
func (d *oldDisk) hit(name string, off int64) (blockAt, bool) {
	for _, b := range d.blocks[name] {
		if off >= b.from && off < b.to {
			_, ours := d.bases[b.handle]
			return b, ours && b.first <= b.last
		}
	}
	return blockAt{}, false
}

// holds reports whether a block has a record.
func (d *oldDisk) holds(b blockAt, seq stream.Sequence) bool {
	base, ours := d.bases[b.handle]
	n, ok := seq.Since(base)
	return ours && ok && n >= b.first && n <= b.last
}

// missing opens a damaged disk and reads everything, accepting what is told to
// be lost. It returns the records that are gone. It is an error if nobody was
// told of one, or if one is there that was never put; errRefused, if the disk is
// not opened.
func missing(t testing.TB, fs vfs.FS, all map[string][]stream.Record) (gone []stream.Sequence, err error) {
	e, err := Open("", rewriting(fs))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errRefused, err)
	}
	defer e.Close()
	s, err := e.Stream("orders")
	if err != nil {
		return nil, err
	}
	for shard, want := range all {
		got, told, err := readAccepting(t.Context(), s, shard)
		if err != nil {
			return nil, err
		}
		for _, r := range want {
			switch {
			case len(got) > 0 && got[0].Sequence == r.Sequence && string(got[0].Data) == string(r.Data):
				got = got[1:]
			case told == 0:
				return nil, fmt.Errorf("%s: %v is missing, and nobody was told", shard, r.Sequence)
			default:
				gone = append(gone, r.Sequence)
			}
		}
		if len(got) > 0 {
			return nil, fmt.Errorf("%s: %v was never put, or is there twice", shard, got[0].Sequence)
		}
	}
	return gone, nil
}

var errRefused = errors.New("refused")

// readAccepting reads a shard to its end, and accepts every loss on the way.
func readAccepting(ctx context.Context, s *Stream, shard string) (records []stream.Record, told int, err error) {
	for ; ; told++ {
		records, err := readNow(s, shard, stream.TrimHorizon)
		var corrupt *stream.CorruptError
		var end *stream.ShardEndError
		if err == nil || errors.As(err, &end) {
			return records, told, nil
		}
		if !errors.As(err, &corrupt) && !errors.Is(err, syscall.EIO) {
			return nil, told, err
		}
		losses, failed := s.AcceptLoss(ctx, shard)
		if failed != nil || len(losses) == 0 {
			return nil, told, fmt.Errorf("accept %v: %v, %d losses", err, failed, len(losses))
		}
	}
}

// fates counts what came of damage.
type fates struct{ told, repaired, unused, refused atomic.Int64 }

// everywhere calls f with places of the disk, on all processors.
func (d *oldDisk) everywhere(step func(name string, off int64) int64, f func(name string, off int64)) {
	type place struct {
		name string
		off  int64
	}
	places := make(chan place)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for p := range places {
				f(p.name, p.off)
			}
		})
	}
	names, _ := d.fs.List()
	for _, name := range names {
		for off := int64(0); off < d.fs.SizeOf(name); off += step(name, off) {
			places <- place{name, off}
		}
	}
	close(places)
	workers.Wait()
}

// step leaves out, unless it is to be every byte, most of the inside of large
// blocks and of what has no meaning.
func (d *oldDisk) step(name string, off int64) int64 {
	switch b, _ := d.hit(name, off); {
	case everyByte():
		return 1
	case testing.Short() && d.meaningless(name, off):
		return 512
	case d.meaningless(name, off):
		return 64
	case b.to-b.from > 2000 && off >= b.from+64 && off < b.to-100:
		return 61
	case testing.Short():
		return 23
	}
	return 1
}

func TestEveryFlippedByteIsNoticedOrHarmless(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newOldDisk(t)
		var n fates
		d.everywhere(d.step, func(name string, off int64) {
			fs := d.fs.Now()
			fs.Flip(name, off, 1<<(off%8))
			gone, err := missing(t, fs, d.all)
			b, inBlock := d.hit(name, off)
			switch {
			case err != nil:
				t.Errorf("flip in %s at %d: %v", name, off, err)
			case inBlock && len(gone) == 0:
				t.Errorf("flip in %s at %d, in the block %+v: not noticed", name, off, b)
			case inBlock:
				n.told.Add(1)
			case d.meaningless(name, off):
				n.unused.Add(1)
			default:
				n.repaired.Add(1)
			}
			for _, seq := range gone {
				if !d.holds(b, seq) {
					t.Errorf("flip in %s at %d: %v is lost, which was not there", name, off, seq)
				}
			}
		})
		proof.Report(t, "flipped bytes of a closed directory", "bytes flipped", n.told.Load()+n.repaired.Load()+n.unused.Load(),
			"in records, told to their readers", n.told.Load(), "in what there is twice, or what nobody needs: no loss", n.repaired.Load(),
			"in bytes without a meaning", n.unused.Load(), "not noticed", 0, "every byte", everyByte())
	})
}

func TestEveryShortenedFileIsNoticedOrHarmless(t *testing.T) {
	step := func(d *oldDisk) func(string, int64) int64 {
		return func(name string, off int64) int64 {
			if everyByte() || name == "MANIFEST" && !testing.Short() {
				return 1
			}
			return min(d.step(name, off), 23)*8 - 1
		}
	}
	synctest.Test(t, func(t *testing.T) {
		d := newOldDisk(t)
		var n fates
		d.everywhere(step(d), func(name string, size int64) {
			fs := d.fs.Now()
			fs.Cut(name, size)
			gone, err := missing(t, fs, d.all)
			switch {
			case errors.Is(err, errRefused) && name == "MANIFEST":
				n.refused.Add(1)
			case err != nil:
				t.Errorf("%s cut to %d: %v", name, size, err)
			case len(gone) > 0:
				n.told.Add(1)
			default:
				n.repaired.Add(1)
			}
			for _, seq := range gone {
				touched := false
				for _, b := range d.blocks[name] {
					touched = touched || (b.to > size || size < 48) && d.holds(b, seq)
				}
				if !touched {
					t.Errorf("%s cut to %d: %v is lost, which was not there", name, size, seq)
				}
			}
		})
		proof.Report(t, "files of a closed directory cut short", "lengths", n.told.Load()+n.repaired.Load()+n.refused.Load(),
			"told to readers", n.told.Load(), "no loss", n.repaired.Load(),
			"refused, since the manifest cannot be read", n.refused.Load(), "not noticed", 0, "every length", everyByte())
	})
}

// Whatever the files have turned into, opening them ends, without a panic, and
// gives no record that was not put.
func TestAMutatedDirectoryIsOpenedOrRefused(t *testing.T) {
	trials := 2000
	if testing.Short() {
		trials = 200
	}
	if everyByte() {
		trials = 200_000
	}
	synctest.Test(t, func(t *testing.T) {
		d := newOldDisk(t)
		put := d.data()
		var opened, refused atomic.Int64
		var workers sync.WaitGroup
		for w := range runtime.GOMAXPROCS(0) {
			rng := rand.New(rand.NewPCG(1, uint64(w)))
			workers.Go(func() {
				for range trials / runtime.GOMAXPROCS(0) {
					fs := d.mutated(rng)
					if err := readsOnly(fs, put); errors.Is(err, errRefused) {
						refused.Add(1)
					} else if err != nil {
						t.Error(err)
						return
					} else {
						opened.Add(1)
					}
				}
			})
		}
		workers.Wait()
		proof.Report(t, "mutated directories", "directories", opened.Load()+refused.Load(), "opened", opened.Load(), "refused", refused.Load(),
			"records served that were never put", 0)
	})
}

// data returns what was put.
func (d *oldDisk) data() map[stream.Sequence]string {
	put := map[stream.Sequence]string{}
	for _, records := range d.all {
		for _, r := range records {
			put[r.Sequence] = string(r.Data)
		}
	}
	return put
}

// mutated returns the disk with some files changed in some places, cut, removed
// or put in place of others.
func (d *oldDisk) mutated(rng *rand.Rand) *vfs.Crash {
	fs := d.fs.Now()
	for range 1 + rng.IntN(4) {
		names, _ := fs.List()
		name := names[rng.IntN(len(names))]
		size := fs.SizeOf(name)
		switch f, _ := fs.Open(name); rng.IntN(8) {
		case 0:
			fs.Cut(name, rng.Int64N(size+1))
		case 1:
			if name != "MANIFEST" {
				fs.Remove(name)
			}
		case 2:
			fs.Rename(name, names[rng.IntN(len(names))])
		case 3: // a part of it somewhere else
			b := make([]byte, 1+rng.IntN(5000))
			n, _ := f.ReadAt(b, rng.Int64N(size+1))
			f.WriteAt(b[:n], rng.Int64N(min(size, 12_000)+1)&^7)
		default:
			b := make([]byte, 1+rng.IntN(8)*rng.IntN(8))
			for i := range b {
				b[i] = byte(rng.Uint32())
			}
			f.WriteAt(b, rng.Int64N(min(size, 12_000)+1))
		}
	}
	return fs
}

// readsOnly opens a directory and reads what can be read.
func readsOnly(fs vfs.FS, put map[stream.Sequence]string) error {
	e, err := Open("", rewriting(fs))
	if err != nil {
		return fmt.Errorf("%w: %w", errRefused, err)
	}
	defer e.Close()
	s, err := e.Stream("orders")
	if err != nil {
		return err
	}
	for _, m := range s.topology.Load().all {
		records, err := readNow(s, m.id, stream.TrimHorizon)
		var corrupt *stream.CorruptError
		var end *stream.ShardEndError
		if err != nil && !errors.As(err, &corrupt) && !errors.As(err, &end) && !errors.Is(err, io.EOF) && !errors.Is(err, syscall.EIO) {
			return err
		}
		for _, r := range records {
			if put[r.Sequence] != string(r.Data) {
				return fmt.Errorf("%s: %v was never put", m.id, r.Sequence)
			}
		}
	}
	return nil
}
