package engine

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/engine/internal/vfs"
	"github.com/millrace/millrace/stream"
)

// slowFS takes its time to fill a file and to remove one.
type slowFS struct {
	vfs.FS
	sync, remove time.Duration
}

type slowFile struct {
	vfs.File
	sync  time.Duration
	inLog atomic.Bool
}

func (f *slowFile) Sync() error {
	if !f.inLog.Load() {
		time.Sleep(f.sync)
	}
	return f.File.Sync()
}

func (f *slowFile) WriteAt(p []byte, off int64) (int, error) {
	if string(p[:min(len(p), 4)]) == "MBK1" {
		f.inLog.Store(true)
	}
	return f.File.WriteAt(p, off)
}

func (s slowFS) Create(name string) (vfs.File, error) {
	f, err := s.FS.Create(name)
	if err == nil && strings.HasPrefix(name, "pool-") {
		f = &slowFile{File: f, sync: s.sync}
	}
	return f, err
}

func (s slowFS) Remove(name string) error {
	time.Sleep(s.remove)
	return s.FS.Remove(name)
}

// slowestPut puts 20 MB a second for so long.
func slowestPut(t *testing.T, s *Stream, during time.Duration) (slowest time.Duration) {
	t.Helper()
	for begun, i := time.Now(), 0; time.Since(begun) < during; i++ {
		asked := time.Now()
		mustPut(t, s, stream.Entry{PartitionKey: fmt.Sprint(i), Data: make([]byte, 100_000)})
		slowest = max(slowest, time.Since(asked))
		time.Sleep(5 * time.Millisecond)
	}
	return slowest
}

func TestNoPutWaitsForTheFillingOfALogFile(t *testing.T) {
	for _, mode := range []Durability{Durable, LoseOnPowerFailure} {
		synctest.Test(t, func(t *testing.T) {
			cfg := small()
			cfg.Durability, cfg.SegmentBytes = mode, 16<<20
			cfg.fs = slowFS{FS: vfs.Memory(), sync: 100 * time.Millisecond} // 10 MB a second
			e, err := Open("", cfg)
			if err != nil {
				t.Fatal(err)
			}
			s := ensure(t, e, "orders", StreamConfig{Shards: 16})
			if d := slowestPut(t, s, 3*time.Second); d > 20*time.Millisecond {
				t.Errorf("%s: a put took %v", modeName(mode), d)
			}
			e.Close()
		})
	}
}

func TestNoPutWaitsForTheRemovalOfOldLogFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := small()
		cfg.SegmentBytes = 1 << 20
		cfg.fs = slowFS{FS: vfs.Memory(), remove: 30 * time.Millisecond}
		e, err := Open("", cfg)
		if err != nil {
			t.Fatal(err)
		}
		old := ensure(t, e, "old", StreamConfig{})
		slowestPut(t, old, time.Second)
		s := ensure(t, e, "orders", StreamConfig{})
		if err := e.DeleteStream(t.Context(), "old"); err != nil {
			t.Fatal(err)
		}
		if d := slowestPut(t, s, time.Second); d > 20*time.Millisecond {
			t.Errorf("a put took %v", d)
		}
		names, _ := cfg.fs.List()
		if len(names) > 40 {
			t.Errorf("%d files are left", len(names))
		}
		e.Close()
	})
}
