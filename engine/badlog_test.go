package engine

import (
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

// These tests are about opening a log of which the disk cannot read a part: what
// was surely not its end is damage, and all else must not pass for its end.

// killedLog makes a log of several segments whose engine was killed: what was put,
// and where.
func killedLog(t *testing.T, cfg Config) *oldDisk {
	fs := vfs.NewCrash()
	cfg.fs = fs
	e := mustOpen(t, cfg)
	s := ensure(t, e, "orders", StreamConfig{Shards: 3})
	for i := range 30 {
		mustPut(t, s, number(i*3, 3)...)
		mustPut(t, s, entry("k", strings.Repeat("x", 5000)))
	}
	d := &oldDisk{fs: fs.Now(), all: map[string][]stream.Record{}, bases: map[uint64]stream.Sequence{}, blocks: map[string][]blockAt{}, holes: map[string][][2]int64{}}
	for _, m := range s.topology.Load().all {
		d.all[m.id] = mustRead(t, s, m.id, stream.TrimHorizon)
		d.bases[m.handle] = m.log.Base()
	}
	names, _ := d.fs.List()
	for _, name := range names {
		d.survey(name)
	}
	kill(e, fs)
	return d
}

// Whatever page the disk cannot read: nothing is lost that was acknowledged, but
// what lay there and is told of; and where the log may end, nothing is done at all.
func TestWhatTheDiskCannotReadOfAKilledLogIsToldOrRefused(t *testing.T) {
	relaxed := small()
	relaxed.Durability, relaxed.SyncEvery = LoseOnPowerFailure, time.Hour
	for mode, cfg := range map[string]Config{"durable": small(), "not synced": relaxed} {
		t.Run(mode, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := killedLog(t, cfg)
				told, refused := 0, 0
				for name := range d.blocks {
					for off := int64(0); off < d.fs.SizeOf(name); off += vfs.PageSize {
						disk := vfs.Scratch(d.fs.Now())
						disk.Spoil(name, off, off+1)
						gone, err := missing(t, disk, d.all)
						if errors.Is(err, errRefused) {
							refused++
							if text := err.Error(); !errors.Is(err, syscall.EIO) || !strings.Contains(text, fmt.Sprintf("%s at offset %d", name, off)) {
								t.Errorf("%s at %d: %v", name, off, err)
							}
							disk.Heal(true)
							if gone, err := missing(t, disk, d.all); len(gone) > 0 || err != nil {
								t.Errorf("%s at %d: it was refused, and %d records are lost when it can be read: %v", name, off, len(gone), err)
							}
							continue
						}
						if err != nil {
							t.Errorf("%s at %d: %v", name, off, err)
						}
						for _, seq := range gone {
							hit := func(b blockAt) bool {
								return (off == 0 || b.from < off+vfs.PageSize && b.to > off) && d.holds(b, seq)
							}
							if !slices.ContainsFunc(d.blocks[name], hit) {
								t.Errorf("%s at %d: %v is lost, which did not lie there", name, off, seq)
							}
						}
						if len(gone) > 0 {
							told++
						}
					}
				}
				t.Logf("%d losses were told, %d directories refused", told, refused)
				if refused == 0 || told == 0 && mode == "durable" {
					t.Errorf("%d losses were told, %d directories refused: want some of each", told, refused)
				}
			})
		})
	}
}

// What is surely not the end of the log does not hinder its opening.
func TestADirectoryIsOpenedAsLongAsTheEndOfItsLogCanBeRead(t *testing.T) {
	for _, how := range []string{"closed", "closed, and the loss accepted", "killed"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := vfs.Scratch(vfs.NewCrash())
				cfg := rewriting(d)
				if how != "killed" {
					cfg.SegmentBytes = 8 << 20 // all is in one
				}
				e := mustOpen(t, cfg)
				s := ensure(t, e, "orders", StreamConfig{})
				putMany(t, s, 30, 1000)
				spoilBlock(d, firstLog, 12)
				putMany(t, s, 60, 20_000)
				accepted := 0
				switch how {
				case "killed":
					image := d.FS.(*vfs.Crash).Now()
					e.Close()
					d = d.On(image)
				case "closed, and the loss accepted":
					got, told, err := readAccepting(t.Context(), s, shardID(0))
					if err != nil || told == 0 {
						t.Errorf("given up %d times, %d records are left, %v", told, len(got), err)
					}
					accepted = told
					e.Close()
				default:
					e.Close()
				}
				cfg.fs = d
				e = mustOpen(t, cfg)
				defer e.Close()
				s = ensure(t, e, "orders", StreamConfig{})
				got, told, err := readAccepting(t.Context(), s, shardID(0))
				if err != nil || (told > 0) != (accepted == 0) || len(got) >= 90 || len(got) < 80 {
					t.Errorf("%d records of 90, told of %d losses, %v", len(got), told, err)
				}
				mustPut(t, s, number(0, 1)...)
			})
		})
	}
}

// What the refusal of a directory says to do, can be done.
func TestALogWhoseEndCannotBeReadIsOpenedWithZerosInItsPlace(t *testing.T) {
	fs := vfs.NewCrash()
	e := onCrash(t, fs)
	s := ensure(t, e, "orders", StreamConfig{})
	all := putOneByOne(t, fs, s, 10, 1000)
	old := &oldDisk{fs: fs, blocks: map[string][]blockAt{}, holes: map[string][][2]int64{}}
	old.survey(firstLog)
	last := old.blocks[firstLog][len(all)-1]
	d := vfs.Scratch(fs.Now())
	kill(e, fs)
	page := last.from / vfs.PageSize * vfs.PageSize
	d.Spoil(firstLog, page, page+1)
	cfg := small()
	cfg.fs = d
	_, err := Open("", cfg)
	for _, part := range []string{fmt.Sprintf("%s at offset %d", firstLog, page), "copy", "zeros"} {
		if !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), part) {
			t.Errorf("open: %v, want EIO and %q", err, part)
		}
	}
	f, err := d.Open(firstLog)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(make([]byte, vfs.PageSize), page); err != nil {
		t.Fatal(err)
	}
	e = mustOpen(t, cfg)
	s = ensure(t, e, "orders", StreamConfig{})
	if got := mustRead(t, s, shardID(0), stream.TrimHorizon); len(got) == 0 || len(got) >= 10 {
		t.Errorf("%d records, want those that lie before", len(got))
	}
}

// A block that is torn may be where the log ends, or damage. As long as what lies
// behind it cannot be read, nobody knows, and nothing is cut off.
func TestTheLogIsNotCutWhileWhatSpeaksAgainstItCannotBeRead(t *testing.T) {
	for what, from := range map[string]int64{"headers": 0, "blocks": vfs.PageSize} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := killedLog(t, small())
				first := d.blocks[firstLog]
				for _, b := range first[len(first)-2:] { // with the word that the log goes on
					d.fs.Flip(firstLog, b.from+5, 1)
				}
				disk := vfs.Scratch(d.fs.Now())
				for name := range d.blocks {
					if name > firstLog {
						disk.Spoil(name, from, d.fs.SizeOf(name))
					}
				}
				if _, err := missing(t, disk, d.all); !errors.Is(err, errRefused) || !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), closedName(2)) {
					t.Errorf("open: %v", err)
				}
				disk.Heal(true)
				gone, err := missing(t, disk, d.all)
				if err != nil {
					t.Error(err)
				}
				for _, seq := range gone {
					if !d.holds(first[len(first)-2], seq) {
						t.Errorf("%v is lost, which was not torn", seq)
					}
				}
			})
		})
	}
}
