package engine

import (
	"fmt"
	"strings"
	"testing"

	"github.com/millrace/millrace/engine/internal/vfs"
	"github.com/millrace/millrace/stream"
)

// Opening takes as long as it takes to read the log. Its free rest, and the
// segment that is prepared, are searched for what a crash may have left: once,
// whatever is there.
func TestOpeningReadsEveryByteOnce(t *testing.T) {
	for what, torn := range map[string]bool{"an end that is whole": false, "an end that is torn": true} {
		fs := vfs.NewCrash()
		cfg := small()
		cfg.SegmentBytes, cfg.ChunkBytes, cfg.fs = 8<<20, -1, fs
		e := mustOpen(t, cfg)
		s := ensure(t, e, "orders", StreamConfig{Shards: 16})
		put := func(n int) {
			entries := make([]stream.Entry, n)
			for i := range entries {
				entries[i] = entry(fmt.Sprint(i), strings.Repeat("x", 1000))
			}
			mustPut(t, s, entries...)
		}
		for range 120 {
			put(200)
		}
		end := uint64(e.log.Durable())
		put(500) // in one group: no block says that one before it was durable
		left := fs.Now()
		if torn {
			left.Flip(fmt.Sprintf("%016x.log", end>>32), int64(end&(1<<32-1))+100, 1)
		}
		var size int64
		names, err := left.List()
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			size += left.SizeOf(name)
		}
		told := &toldFS{FS: left}
		cfg.fs = told
		again := mustOpen(t, cfg)
		told.mu.Lock()
		read := told.read
		told.mu.Unlock()
		// Blocks across the edge of what is read at a time are read twice.
		if most := size + size/16 + 2<<20; read > most {
			t.Errorf("%s: %d bytes were read of %d", what, read, size)
		}
		n := 0
		for _, m := range ensure(t, again, "orders", StreamConfig{}).topology.Load().open {
			n += len(mustRead(t, ensure(t, again, "orders", StreamConfig{}), m.id, stream.TrimHorizon))
		}
		if want := 120 * 200; torn && n != want || !torn && n != want+500 {
			t.Errorf("%s: %d records", what, n)
		}
	}
}
