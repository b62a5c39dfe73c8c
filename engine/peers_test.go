package engine

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/millrace/millrace/engine/internal/vfs"
	"github.com/millrace/millrace/stream"
)

// Message brokers have been seen to buffer what a stalled disk does not take
// until the process dies. Here a put waits, and what waits is not in the log.
func TestAPutBeyondPendingBytesIsNotTakenIntoMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := &heldFS{FS: vfs.Memory()}
		cfg := small()
		cfg.fs = fs
		cfg.SegmentBytes, cfg.PendingBytes = 4<<20, 1000
		e, err := Open("", cfg)
		if err != nil {
			t.Fatal(err)
		}
		s := ensure(t, e, "orders", StreamConfig{})
		synctest.Wait()
		hold := make(chan struct{})
		fs.hold.Store(&hold)
		var puts sync.WaitGroup
		puts.Go(func() { mustPut(t, s, number(0, 1)...) }) // its sync is held
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		kilobytes := make([]stream.Entry, 30)
		for i := range kilobytes {
			kilobytes[i] = entry("k", strings.Repeat("x", 1000))
		}
		for range 20 {
			puts.Go(func() {
				if _, err := s.Put(ctx, kilobytes...); !errors.Is(err, context.Canceled) {
					t.Errorf("put: %v, want the cause", err)
				}
			})
		}
		synctest.Wait()
		cancel()
		synctest.Wait()
		fs.hold.Store(nil)
		close(hold)
		puts.Wait()
		mustPut(t, s, number(9000, 1)...)
		// A block of 64 KiB may still be open when the limit is looked at, and the
		// put that closes it is taken as a whole.
		if n := len(mustRead(t, s, shardID(0), stream.TrimHorizon)); n > 2+64+30 {
			t.Errorf("%d records of 1 KB were taken while the disk took none", n-2)
		}
		e.Close()
	})
}

// Brokers that compact their logs have been seen to copy what had rotted, with a
// checksum that is right. Here a block is checked before it is copied, and its
// file stays.
func TestRewritingDoesNotMakeRotLookSound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewCrash()
		cfg := rewriting(fs)
		cfg.ChunkBytes = 4 * cfg.SegmentBytes
		e := mustOpen(t, cfg)
		s := ensure(t, e, "orders", StreamConfig{Shards: 8})
		put := 0
		fill := func(segments int64) {
			for int64(e.log.Durable())>>32 <= segments {
				mustPut(t, s, number(put, 20)...)
				put += 20
			}
			synctest.Wait()
		}
		fill(2)
		fs.Flip(firstLog, 4096+64+12, 1) // in the first record of the first block
		fill(12)
		if chunks, adopted := fileKinds(e); adopted > 0 {
			t.Fatalf("%d files were rewritten and %d adopted: nothing is tested", chunks, adopted)
		}
		lost := 0
		for _, m := range s.topology.Load().all {
			records, err := readNow(s, m.id, stream.TrimHorizon)
			var corrupt *stream.CorruptError
			if errors.As(err, &corrupt) {
				lost++
			} else if err != nil {
				t.Error(err)
			}
			for _, r := range records {
				if "data-"+strings.TrimPrefix(r.PartitionKey, "key-") != string(r.Data) {
					t.Errorf("%q of %q is served", r.Data, r.PartitionKey)
				}
			}
		}
		if lost != 1 {
			t.Errorf("%d shards have lost a record, want 1", lost)
		}
		e.Close()
	})
}
