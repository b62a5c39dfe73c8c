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

// These tests are about files that a disk fails to read or to write: no put must
// ever meet them again.

// putMany puts records of that size.
func putMany(t *testing.T, s *Stream, n, size int) {
	t.Helper()
	for range n {
		mustPut(t, s, entry("k", strings.Repeat("x", size)))
	}
}

// spoilBlock makes a page bad in which a block of a file lies, given how many
// come before it.
func spoilBlock(d *vfs.Scratched, name string, before int) {
	old := &oldDisk{fs: d.FS.(*vfs.Crash), blocks: map[string][]blockAt{}, holes: map[string][][2]int64{}}
	old.survey(name)
	at := old.blocks[name][before].from
	d.Spoil(name, at, at+1)
}

// firstNamed returns the first file whose name ends like that.
func firstNamed(t *testing.T, fs vfs.FS, suffix string) string {
	t.Helper()
	names, _ := fs.List()
	i := slices.IndexFunc(names, func(name string) bool { return strings.HasSuffix(name, suffix) })
	if i < 0 {
		t.Fatalf("no file is called …%s: %v", suffix, names)
	}
	return names[i]
}

// The file of a bad page has no record any more: somebody has given them up, or
// they have left retention. Who wrote to that page would fail, and stop the log.
func TestAFileThatTheDiskCannotReadIsNotUsedAgain(t *testing.T) {
	for _, how := range []string{"out of retention", "given up", "given up before it was opened"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := vfs.Scratch(vfs.NewCrash())
				e := mustOpen(t, rewriting(d))
				s := ensure(t, e, "orders", StreamConfig{Retention: time.Minute})
				putMany(t, s, 30, 1000)
				name := firstLog
				if strings.HasPrefix(how, "given up before") {
					putMany(t, s, 50, 1000)
					time.Sleep(10 * time.Second)
					synctest.Wait()
					name = firstNamed(t, d, ".chunk")
					d.Spoil(name, 8192, 8193)
				} else {
					spoilBlock(d, name, 12)
					putMany(t, s, 50, 1000)
				}
				if _, err := readNow(s, shardID(0), stream.TrimHorizon); !errors.Is(err, syscall.EIO) {
					t.Errorf("read: %v, want EIO", err)
				}
				if how != "out of retention" {
					if l, err := s.AcceptLoss(t.Context(), shardID(0)); err != nil || len(l) == 0 || l[0].File != name {
						t.Errorf("given up %v, %v", l, err)
					}
				}
				if strings.HasPrefix(how, "given up before") {
					if err := e.Close(); err != nil {
						t.Error(err)
					}
					e = mustOpen(t, rewriting(d))
					s = ensure(t, e, "orders", StreamConfig{})
				}
				time.Sleep(5 * time.Minute)
				for i := range 400 { // all files are used again
					if _, err := s.Put(t.Context(), entry("k", strings.Repeat("x", 1000))); err != nil {
						t.Fatalf("put %d: %v", i, err)
					}
					time.Sleep(200 * time.Millisecond)
				}
				if names, _ := d.List(); slices.Contains(names, name) || slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, "bad-") }) {
					t.Errorf("the file is left: %v", names)
				}
				if err := e.Close(); err != nil {
					t.Error(err)
				}
				mustOpen(t, rewriting(d)).Close()
			})
		})
	}
}

// A file of the pool that cannot be written is no reason to refuse a put: there
// are other files, and new ones.
func TestAFileOfThePoolThatCannotBeWrittenIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := vfs.Scratch(vfs.NewCrash())
		cfg := small()
		cfg.fs, cfg.ChunkBytes = d, -1
		e := mustOpen(t, cfg)
		s := ensure(t, e, "orders", StreamConfig{Retention: time.Minute})
		putMany(t, s, 70, 1000)
		synctest.Wait()
		d.Spoil(firstLog, 0, 1) // nobody reads it before it is used again
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		pooled, _ := d.List()
		if slices.Contains(pooled, firstLog) {
			t.Fatalf("it is not in the pool: %v", pooled)
		}
		putMany(t, s, 300, 1000)
		synctest.Wait()
		names, _ := d.List()
		for _, name := range names {
			if strings.HasPrefix(name, "pool-") || strings.HasPrefix(name, "bad-") {
				t.Errorf("%s is kept", name)
			}
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestOnlyWhoLacksRoomIsToldToMakeSome(t *testing.T) {
	for _, c := range []struct {
		fault error
		room  bool
	}{{syscall.ENOSPC, true}, {syscall.EDQUOT, true}, {syscall.EIO, false}, {syscall.EMFILE, false}} {
		synctest.Test(t, func(t *testing.T) {
			fs := vfs.NewCrash()
			e := onCrash(t, fs)
			s := ensure(t, e, "orders", StreamConfig{})
			synctest.Wait() // the spare segment is there
			fs.Fail(func(op vfs.Op) error {
				if op.Kind == vfs.OpWrite && strings.HasPrefix(op.Name, "pool-") {
					return c.fault
				}
				return nil
			})
			var err error
			for err == nil {
				_, err = s.Put(t.Context(), entry("k", strings.Repeat("x", 5000)))
				synctest.Wait()
			}
			if !errors.Is(err, stream.ErrReadOnly) || !errors.Is(err, c.fault) || strings.Contains(err.Error(), "free some") != c.room {
				t.Errorf("put: %v", err)
			}
			fs.Fail(nil)
			time.Sleep(2 * time.Second)
			mustPut(t, s, entry("k", strings.Repeat("x", 5000)))
			e.Close()
		})
	}
}

// A file has been one of the pool before, or becomes one. Who looks for it needs
// the name that it has.
func TestErrorsNameAFileAsItIsCalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := vfs.Scratch(vfs.NewCrash())
		e := mustOpen(t, rewriting(d))
		s := ensure(t, e, "orders", StreamConfig{})
		putMany(t, s, 30, 1000)
		spoilBlock(d, firstLog, 12)
		putMany(t, s, 50, 1000)
		_, err := readNow(s, shardID(0), stream.TrimHorizon)
		if text := fmt.Sprint(err); !strings.Contains(text, firstLog) || strings.Contains(text, "pool-") {
			t.Errorf("read: %v", err)
		}
		for _, l := range s.Losses() {
			if l.File != firstLog || strings.Contains(l.Detail, "pool-") {
				t.Errorf("loss: %+v", l)
			}
		}
		end := e.log.Durable()
		last := closedName(uint64(end) >> 32)
		d.Spoil(last, int64(end)&0xffffffff, int64(end)&0xffffffff+1)
		_, err = s.Put(t.Context(), entry("k", "x"))
		if !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), last) || strings.Contains(err.Error(), "pool-") {
			t.Errorf("put: %v", err)
		}
		e.Close()
	})
}
