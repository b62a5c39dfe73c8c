package engine

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/millrace/millrace/engine/internal/vfs"
	"github.com/millrace/millrace/stream"
)

// toldFS keeps what the system is told of and asked for, in order.
type toldFS struct {
	vfs.FS
	mu    sync.Mutex
	calls []string
	read  int64 // bytes
}

type toldFile struct {
	vfs.File
	fs *toldFS
}

func (s *toldFS) file(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return toldFile{f, s}, nil
}

func (s *toldFS) Open(name string) (vfs.File, error)   { return s.file(s.FS.Open(name)) }
func (s *toldFS) Create(name string) (vfs.File, error) { return s.file(s.FS.Create(name)) }

func (s *toldFS) note(call string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, call)
}

func (f toldFile) Expect(off, n int64) { f.fs.note(fmt.Sprintf("expect %d", off)) }

func (f toldFile) ReadAt(p []byte, off int64) (int, error) {
	f.fs.note(fmt.Sprintf("read %d", off))
	n, err := f.File.ReadAt(p, off)
	f.fs.mu.Lock()
	f.fs.read += int64(n)
	f.fs.mu.Unlock()
	return n, err
}

// A shard's blocks lie apart: a disk that was asked for one after the other
// would be waited for as often.
func TestTheSystemKnowsWhatComesBeforeTheFirstRead(t *testing.T) {
	for _, c := range []struct {
		shards int
		want   string
	}{
		{1, "read"}, // in a row: the system sees that by itself
		{12, "expect expect expect expect read read read read"},
	} {
		fs := &toldFS{FS: vfs.Memory()}
		cfg := small()
		cfg.SegmentBytes, cfg.CacheBytes, cfg.ChunkBytes, cfg.fs = 4<<20, 1, -1, fs
		e := mustOpen(t, cfg)
		s := ensure(t, e, "orders", StreamConfig{Shards: c.shards})
		t0 := s.topology.Load()
		for range 4 {
			for _, m := range t0.open {
				mustPut(t, s, stream.Entry{PartitionKey: "a", Data: []byte(strings.Repeat("x", 60_000)), HashKey: m.hash.Start, HasHashKey: true})
			}
		}
		// What is read next is not in memory any more.
		mustPut(t, ensure(t, e, "other", StreamConfig{}), entry("a", strings.Repeat("x", 500_000)), entry("a", strings.Repeat("x", 500_000)))
		fs.mu.Lock()
		fs.calls = nil
		fs.mu.Unlock()
		if n := len(mustRead(t, s, t0.open[0].id, stream.TrimHorizon)); n != 4 {
			t.Fatalf("%d records", n)
		}
		var kinds []string
		for _, call := range fs.calls {
			kind, _, _ := strings.Cut(call, " ")
			kinds = append(kinds, kind)
		}
		if got := strings.Join(kinds, " "); got != c.want {
			t.Errorf("%d shards: %s (%s), want %s", c.shards, got, strings.Join(fs.calls, ", "), c.want)
		}
	}
}
