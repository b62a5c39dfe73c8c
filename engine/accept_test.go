package engine

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/engine/internal/manifest"
	"github.com/millrace/millrace/engine/internal/vfs"
	"github.com/millrace/millrace/engine/internal/wal"
	"github.com/millrace/millrace/stream"
)

// putN puts records of a size, each in a block of its own.
func putN(t *testing.T, s *Stream, n, size int) {
	t.Helper()
	for range n {
		mustPut(t, s, entry("k", strings.Repeat("x", size)))
	}
}

// chunked returns an engine with a stream of 300 records, the older of which are
// in rewritten files, and the name of the first of those.
func chunked(t *testing.T, d *vfs.Scratched) (e *Engine, s *Stream, chunk string) {
	e = mustOpen(t, rewriting(d))
	s = ensure(t, e, "orders", StreamConfig{})
	putN(t, s, 300, 1000)
	synctest.Wait()
	names, _ := d.List()
	return e, s, names[slices.IndexFunc(names, func(n string) bool { return strings.HasSuffix(n, ".chunk") })]
}

// reopened closes an engine and opens its directory again.
func reopened(t *testing.T, d *vfs.Scratched, e *Engine) (*Engine, *Stream) {
	t.Helper()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = mustOpen(t, rewriting(d))
	s, err := e.Stream("orders")
	if err != nil {
		t.Fatal(err)
	}
	return e, s
}

// What the disk could not read when the engine was opened is not in the index.
// Who gives it up, though the disk can read it by now, is told how to have it
// back; of what it still cannot read, no more is given up than that.
func TestWhatCanBeReadAgainSinceTheOpeningIsNotGivenUp(t *testing.T) {
	const all, inBlock = 300, 60 // records of a rewritten block at most
	for what, bad := range map[string][]int64{"header": {0}, "block": {3 * vfs.PageSize}, "two pages": {3 * vfs.PageSize, 4 * vfs.PageSize}} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := vfs.Scratch(vfs.Memory())
				e, _, chunk := chunked(t, d)
				f, err := d.Open(chunk)
				if err != nil {
					t.Fatal(err)
				}
				size, _ := f.Size()
				footer := (size - 1) / vfs.PageSize * vfs.PageSize
				good := make([]byte, footer+vfs.PageSize)
				f.ReadAt(good, 0)
				for _, off := range append(bad, footer) {
					d.Spoil(chunk, off, off+1)
				}
				// A page that is written as a whole can be read.
				mend := func(off int64) { f.WriteAt(good[off:off+vfs.PageSize], off) }
				e, s := reopened(t, d, e)
				if _, err := readNow(s, shardID(0), stream.TrimHorizon); !errors.As(err, new(*stream.CorruptError)) {
					t.Fatalf("nobody is told: %v", err)
				}
				// One page can be read again; the last one cannot, if there are two.
				mend(bad[0])
				if len(bad) == 1 {
					mend(footer)
				}
				if l, err := s.AcceptLoss(t.Context(), shardID(0)); len(l) > 0 || !errors.Is(err, wal.ErrReopen) {
					t.Errorf("given up: %v, %v", l, err)
				}
				e, s = reopened(t, d, e)
				if len(bad) > 1 {
					l, err := s.AcceptLoss(t.Context(), shardID(0))
					if len(l) == 0 || err != nil {
						t.Errorf("what still cannot be read is not given up: %v", err)
					}
				}
				for range 2 {
					got := len(mustRead(t, s, shardID(0), stream.TrimHorizon))
					if len(bad) == 1 && got != all || len(bad) > 1 && (got < all-inBlock || got == all) {
						t.Errorf("%d records are left", got)
					}
					e, s = reopened(t, d, e)
				}
				e.Close()
			})
		})
	}
}

// whenSaved is a directory that calls then when the next manifest is saved.
type whenSaved struct {
	vfs.FS
	then func()
}

func (d *whenSaved) Rename(from, to string) error {
	err := d.FS.Rename(from, to)
	if then := d.then; then != nil && to == manifest.Name {
		d.then = nil
		then()
	}
	return err
}

// The manifest says so, and the next opening would leave it out.
func TestALossThatCanBeReadWhileItIsAcceptedIsGivenUpAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		saved := &whenSaved{FS: vfs.Memory()}
		d := vfs.Scratch(saved)
		e, s, chunk := chunked(t, d)
		d.Spoil(chunk, vfs.PageSize, vfs.PageSize+1)
		if _, err := readNow(s, shardID(0), stream.TrimHorizon); !errors.Is(err, syscall.EIO) {
			t.Fatal(err)
		}
		saved.then = func() {
			d.Heal(true)
			if got := len(mustRead(t, s, shardID(0), stream.TrimHorizon)); got != 300 {
				t.Errorf("%d records can be read while it is accepted", got)
			}
		}
		if l, err := s.AcceptLoss(t.Context(), shardID(0)); len(l) != 1 || err != nil {
			t.Fatalf("given up: %v, %v", l, err)
		}
		left := len(mustRead(t, s, shardID(0), stream.TrimHorizon))
		e, s = reopened(t, d, e)
		if again := len(mustRead(t, s, shardID(0), stream.TrimHorizon)); left == 300 || again != left {
			t.Errorf("%d records are left, %d after the next opening", left, again)
		}
		e.Close()
	})
}

// A disk may take minutes to fail. It is asked once for each page, however many
// blocks there are in it, and who waits may give up.
func TestAcceptingALossAsksForEachPageOnceAndEndsWhenItIsToldTo(t *testing.T) {
	const delay = time.Minute
	for _, end := range []string{"never", "context", "close"} {
		synctest.Test(t, func(t *testing.T) {
			d := vfs.Scratch(vfs.Memory())
			e := mustOpen(t, rewriting(d))
			s := ensure(t, e, "orders", StreamConfig{})
			putN(t, s, 200, 100)
			d.Spoil(firstLog, 2*vfs.PageSize, 4*vfs.PageSize)
			for n := 0; n < 10 && len(s.Losses()) == 0; n++ {
				putN(t, s, 100, 1000) // it is full, and the rewriter comes
				synctest.Wait()
			}
			blocks := len(s.Losses())
			if blocks < 40 {
				t.Fatalf("%d blocks cannot be read, want more", blocks)
			}
			d.Delay(delay)
			gaveUp := errors.New("gave up")
			var closing sync.WaitGroup
			ctx, cancel := context.WithCancelCause(t.Context())
			before, begun := d.Failures(), time.Now()
			switch end {
			case "context":
				time.AfterFunc(delay/2, func() { cancel(gaveUp) })
			case "close":
				closing.Go(func() {
					time.Sleep(delay / 2) // virtual
					e.Close()
				})
			}
			l, err := s.AcceptLoss(ctx, shardID(0))
			took, asked := time.Since(begun), d.Failures()-before
			switch end {
			case "never":
				if err != nil || len(l) != blocks || took > 2*delay || asked > 6 { // the rewriter asks, too
					t.Errorf("%d of %d blocks were given up, %v, after %d reads", len(l), blocks, err, asked)
				}
				// Runs of counters that follow each other are one.
				if n := len(s.topology.Load().all[0].accepted); n != 1 {
					t.Errorf("the manifest keeps %d runs", n)
				}
			case "context":
				if !errors.Is(err, gaveUp) || took > delay || asked > 2 {
					t.Errorf("%v after %v and %d reads", err, took, asked)
				}
			case "close":
				if !errors.Is(err, stream.ErrClosed) || took > delay || asked > 2 {
					t.Errorf("%v after %v and %d reads", err, took, asked)
				}
			}
			closing.Wait()
			cancel(nil)
			e.Close()
		})
	}
}
