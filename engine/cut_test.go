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
	"github.com/millrace/millrace/engine/internal/wal"
	"github.com/millrace/millrace/stream"
)

// Each of these tests is about one mechanism by which what was answered
// survives, and is fast; the crash images of crash_test.go try them all together.

// answered is a number of changes of the disk, and how many records were
// acknowledged by then.
type answered struct{ changes, records int }

// cutEachTime opens an engine on what a power cut after each change from one on
// may have left.
func cutEachTime(t *testing.T, fs *vfs.Crash, from int, f func(cut int, e *Engine)) {
	t.Helper()
	r, history := fs.Replay(), fs.History()
	for more := true; more; more = r.Step() {
		if r.At() < from {
			continue
		}
		seeds := uint64(4)
		if r.At() > 0 && history[r.At()-1].Kind == vfs.OpRename {
			seeds = 40 // one name may be durable before another
		}
		for seed := range seeds {
			cutHere(t, r.Image(seed), r.At(), f)
			if t.Failed() {
				t.Fatalf("cut after change %d, image %d", r.At(), seed)
			}
		}
	}
}

func cutHere(t *testing.T, image *vfs.Crash, cut int, f func(cut int, e *Engine)) {
	t.Helper()
	cfg := small()
	cfg.fs = image
	e, err := Open("", cfg)
	if err != nil {
		t.Error(err)
		return
	}
	defer e.Close()
	if d := e.Damage(); len(d) > 0 {
		t.Errorf("damage: %v", d)
	}
	f(cut, e)
}

// putOneByOne puts records of that size, and counts.
func putOneByOne(t *testing.T, fs *vfs.Crash, s *Stream, n, size int) []answered {
	var all []answered
	for i := range n {
		mustPut(t, s, entry("k", fmt.Sprintf("%05d%s", i, strings.Repeat("x", size))))
		all = append(all, answered{fs.Ops(), i + 1})
	}
	return all
}

// wantAtLeast fails when one of the records is not there that was acknowledged.
func wantAtLeast(t *testing.T, e *Engine, cut int, all []answered) {
	t.Helper()
	want := 0
	for _, a := range all {
		if a.changes <= cut {
			want = a.records
		}
	}
	s, err := e.Stream("orders")
	if err != nil {
		t.Error(err)
		return
	}
	got, err := readNow(s, shardID(0), stream.TrimHorizon)
	if len(got) < want {
		t.Errorf("%d records (%v), want the %d that were acknowledged", len(got), err, want)
	}
	for i, r := range got {
		if !strings.HasPrefix(string(r.Data), fmt.Sprintf("%05d", i)) {
			t.Errorf("record %d is %.10q", i, r.Data)
		}
	}
}

// allSurvive puts n records of that size, and wants each from its answer on,
// whenever the power is cut.
func allSurvive(t *testing.T, n, size int) {
	t.Helper()
	fs := vfs.NewCrash()
	s := ensure(t, onCrash(t, fs), "orders", StreamConfig{})
	from := fs.Ops()
	all := putOneByOne(t, fs, s, n, size)
	cutEachTime(t, fs, from, func(cut int, e *Engine) { wantAtLeast(t, e, cut, all) })
}

func TestAnAcknowledgedRecordSurvivesACutDirectlyAfterItsAnswer(t *testing.T) {
	allSurvive(t, 8, 600)
}

// The log goes on in files that nobody but the directory knows of.
func TestAFileNameSurvivesBecauseTheDirectoryIsSynced(t *testing.T) {
	allSurvive(t, 30, 9000)
}

// A stream, a reshard, a retention and a deletion that were answered are so
// after a cut.
func TestAChangeThatWasAnsweredSurvivesACutDirectlyAfterItsAnswer(t *testing.T) {
	fs := vfs.NewCrash()
	e := onCrash(t, fs)
	ctx := t.Context()
	s := ensure(t, e, "orders", StreamConfig{})
	ensure(t, e, "other", StreamConfig{})
	for _, c := range []struct {
		what string
		do   func() error
		is   func(e *Engine, s *Stream) bool
	}{
		{"a split", func() error { return s.Split(ctx, shardID(0), stream.FullRange.Middle()) },
			func(_ *Engine, s *Stream) bool { return len(s.topology.Load().open) == 2 }},
		{"a retention", func() error { return s.SetRetention(ctx, 77*time.Hour) },
			func(_ *Engine, s *Stream) bool { return s.settings.Load().retention == 77*time.Hour }},
		{"a new stream", func() error { _, err := e.CreateStream(ctx, "new", StreamConfig{}); return err },
			func(e *Engine, _ *Stream) bool { return slices.Contains(e.Streams(), "new") }},
		{"a deletion", func() error { return e.DeleteStream(ctx, "other") },
			func(e *Engine, _ *Stream) bool { return !slices.Contains(e.Streams(), "other") }},
	} {
		if err := c.do(); err != nil {
			t.Fatal(err)
		}
		cutEachTime(t, fs, fs.Ops(), func(_ int, e *Engine) {
			s, err := e.Stream("orders")
			if err != nil {
				t.Fatal(err)
			}
			if !c.is(e, s) {
				t.Errorf("%s is undone", c.what)
			}
		})
	}
}

// A number whose record was lost was given, perhaps seen, all the same.
func TestANumberThatWasGivenAndLostIsNotGivenAgain(t *testing.T) {
	fs := vfs.NewCrash()
	cfg := small()
	cfg.fs, cfg.Durability, cfg.SyncEvery = fs, LoseOnPowerFailure, time.Hour
	e, err := Open("", cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	s := ensure(t, e, "orders", StreamConfig{})
	given := mustPut(t, s, number(0, 5)...)
	cutEachTime(t, fs, fs.Ops(), func(_ int, e *Engine) {
		next := mustPut(t, ensure(t, e, "orders", StreamConfig{}), number(5, 1)...)
		if !given[4].Sequence.Less(next[0].Sequence) {
			t.Errorf("%v was given, and then %v", given[4].Sequence, next[0].Sequence)
		}
	})
}

// A file that was used before is full of blocks, whole and with good checksums.
func TestABlockOfAnEarlierLifeOfTheFileIsNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewCrash()
		cfg := small()
		cfg.fs, cfg.ChunkBytes = fs, -1
		e := mustOpen(t, cfg)
		s := ensure(t, e, "orders", StreamConfig{Retention: time.Minute})
		for range 4 { // the files go round
			for range 45 {
				mustPut(t, s, entry("k", strings.Repeat("x", 2000)))
			}
			time.Sleep(2 * time.Minute)
			synctest.Wait()
		}
		last := e.log.Files()
		if last.First < 4 {
			t.Fatalf("the files have not gone round: %+v", last)
		}
		for e.log.Durable()>>32 < wal.Pos(last.First+3) { // until one begins anew
			mustPut(t, s, entry("k", strings.Repeat("x", 2000)))
			synctest.Wait()
		}
		end := e.log.Durable()
		kill(e, fs)
		e = mustOpen(t, cfg)
		if d := e.Damage(); len(d) > 0 || e.log.Durable() != end {
			t.Errorf("damage %v, and the log ends at %v; want no damage and %v", d, e.log.Durable(), end)
		}
		e.Close()
	})
}

// What a disk never wrote, or wrote as something else, is served by nobody, and
// a person is told of it.
func TestAWriteThatTheDiskOnlyPretendedIsFound(t *testing.T) {
	for _, lie := range []error{vfs.ErrUnwritten, vfs.ErrGarbled} {
		fs := vfs.NewCrash()
		e := onCrash(t, fs)
		s := ensure(t, e, "orders", StreamConfig{})
		mustPut(t, s, number(0, 3)...)
		fs.Fail(func(op vfs.Op) error {
			if op.Kind == vfs.OpWrite && strings.HasSuffix(op.Name, ".log") {
				return lie
			}
			return nil
		})
		mustPut(t, s, number(3, 3)...)
		fs.Fail(nil)
		mustPut(t, s, number(6, 3)...)
		mustPut(t, s, number(9, 3)...) // says that all before it was durable
		r := fs.Replay()
		for r.Step() {
		}
		image := r.Image(1)
		kill(e, fs)
		e = onCrash(t, image)
		s = ensure(t, e, "orders", StreamConfig{})
		if len(e.Damage()) != 1 || len(s.Losses()) != 1 {
			t.Errorf("%v: damage %v, losses %v: want one", lie, e.Damage(), s.Losses())
		}
		got, told, err := readAccepting(t.Context(), s, shardID(0))
		if err != nil || told != 1 || len(got) != 9 || string(got[3].Data) != "data-6" {
			t.Errorf("%v: %d records, told %d times, %v", lie, len(got), told, err)
		}
	}
}

// Half a block is on the disk, and the disk has said so.
func TestAShortWriteStopsPutsAndKeepsWhatWasAcknowledged(t *testing.T) {
	fs := vfs.NewCrash()
	e := onCrash(t, fs)
	s := ensure(t, e, "orders", StreamConfig{})
	all := putOneByOne(t, fs, s, 3, 100)
	fs.Fail(func(op vfs.Op) error {
		if op.Kind == vfs.OpWrite && strings.HasSuffix(op.Name, ".log") {
			return &vfs.ShortWrite{Bytes: len(op.Data) / 2, Err: syscall.ENOSPC}
		}
		return nil
	})
	if _, err := s.Put(t.Context(), number(3, 3)...); !errors.Is(err, stream.ErrReadOnly) || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("put: %v, want ErrReadOnly with the cause", err)
	}
	kill(e, fs)
	cutEachTime(t, fs, fs.Ops(), func(cut int, e *Engine) { wantAtLeast(t, e, cut, all) })
}

// The log lets go of a segment only when what was made of it is on the disk,
// by its name.
func TestTheLogIsKeptUntilItsRewriteIsDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewCrash()
		e := mustOpen(t, rewriting(fs))
		s := ensure(t, e, "orders", StreamConfig{})
		from := fs.Ops()
		all := putOneByOne(t, fs, s, 50, 1500)
		time.Sleep(time.Minute)
		synctest.Wait()
		if chunks, _ := fileKinds(e); chunks == 0 {
			t.Fatal("nothing was rewritten")
		}
		cutEachTime(t, fs, from, func(cut int, e *Engine) { wantAtLeast(t, e, cut, all) })
		e.Close()
	})
}
