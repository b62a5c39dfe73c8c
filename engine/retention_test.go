package engine

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/engine/internal/vfs"
	"github.com/millrace/millrace/stream"
)

// inBubble runs a test in virtual time with an engine in memory.
func inBubble(t *testing.T, cfg Config, f func(t *testing.T, e *Engine)) {
	synctest.Test(t, func(t *testing.T) {
		e := openMemory(t, cfg)
		f(t, e)
		e.Close()
	})
}

func TestARecordIsReadableForAllOfItsRetentionAndNotLonger(t *testing.T) {
	inBubble(t, small(), func(t *testing.T, e *Engine) {
		s := ensure(t, e, "orders", StreamConfig{Retention: 24 * time.Hour})
		mustPut(t, s, number(0, 3)...)
		time.Sleep(time.Hour)
		mustPut(t, s, number(3, 3)...)
		for _, step := range []struct {
			sleep time.Duration
			left  int
		}{{23 * time.Hour, 6}, {time.Millisecond, 3}, {time.Hour - time.Millisecond, 3}, {time.Millisecond, 0}} {
			time.Sleep(step.sleep)
			if got := mustRead(t, s, shardID(0), stream.TrimHorizon); len(got) != step.left {
				t.Fatalf("at %v: %d records, want %d", time.Now(), len(got), step.left)
			}
		}
	})
}

func TestAReaderLearnsOnceWhatItMissed(t *testing.T) {
	inBubble(t, small(), func(t *testing.T, e *Engine) {
		s := ensure(t, e, "orders", StreamConfig{Retention: time.Hour})
		old := mustPut(t, s, number(0, 5)...)
		r, err := s.Open(t.Context(), shardID(0), stream.After(old[1].Sequence))
		if err != nil {
			t.Fatal(err)
		}
		caughtUp, err := s.Open(t.Context(), shardID(0), stream.After(old[4].Sequence))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour + time.Millisecond)
		fresh := mustPut(t, s, number(5, 2)...)
		var b stream.Batch
		var trimmed *stream.TrimmedError
		if err := r.Next(t.Context(), &b); !errors.As(err, &trimmed) {
			t.Fatalf("first read: %v, want a TrimmedError", err)
		}
		if trimmed.From != stream.After(old[1].Sequence) || fresh[0].Sequence.Less(trimmed.Horizon) {
			t.Fatalf("told %+v", trimmed)
		}
		next(t, r, &b)
		if b.Records[0].Sequence != fresh[0].Sequence {
			t.Fatal("reading does not go on behind the gap")
		}
		next(t, caughtUp, &b) // had read everything: missed nothing
	})
}

func TestALongerRetentionDoesNotBringBackWhatHasLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewCrash()
		e := onCrash(t, fs)
		s := ensure(t, e, "orders", StreamConfig{Retention: 2 * time.Hour})
		mustPut(t, s, number(0, 5)...)
		time.Sleep(time.Hour)
		mustPut(t, s, number(5, 5)...)
		if err := s.SetRetention(t.Context(), 30*time.Minute); err != nil {
			t.Fatal(err)
		}
		if err := s.SetRetention(t.Context(), 48*time.Hour); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if got := mustRead(t, s, shardID(0), stream.TrimHorizon); len(got) != 5 {
				t.Fatalf("%d records, want 5", len(got))
			}
			e.Close()
			e = onCrash(t, fs)
			s = ensure(t, e, "orders", StreamConfig{})
		}
		e.Close()
	})
}

func TestExpiredLogFilesAreUsedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewCrash()
		e := onCrash(t, fs)
		s := ensure(t, e, "orders", StreamConfig{Retention: time.Minute})
		big := entry("k", strings.Repeat("x", 10_000))
		var last stream.PutResult
		for range 200 {
			last = mustPut(t, s, big)[0]
			time.Sleep(time.Second)
			synctest.Wait()
		}
		names, _ := fs.List()
		// A minute of this is ten files and a bit.
		if len(names) > 20 {
			t.Fatalf("%d files: %v", len(names), names)
		}
		before := len(mustRead(t, s, shardID(0), stream.TrimHorizon))
		if before < 59 || before > 61 {
			t.Fatalf("%d records, want those of a minute", before)
		}
		time.Sleep(2 * time.Minute)
		e.Close()
		e = onCrash(t, fs)
		s = ensure(t, e, "orders", StreamConfig{})
		if d := e.Damage(); len(d) > 0 {
			t.Fatalf("damage %v", d)
		}
		r := mustPut(t, s, number(0, 1)...)
		if !last.Sequence.Less(r[0].Sequence) {
			t.Fatal("a number was given again after its log file was gone")
		}
		if got := mustRead(t, s, shardID(0), stream.After(last.Sequence)); len(got) != 1 {
			t.Fatalf("%d records behind the last one, want 1", len(got))
		}
		e.Close()
	})
}

func TestAClosedShardStaysForItsRetention(t *testing.T) {
	inBubble(t, small(), func(t *testing.T, e *Engine) {
		s := ensure(t, e, "orders", StreamConfig{Retention: time.Hour})
		mustPut(t, s, number(0, 5)...)
		late, err := s.Open(t.Context(), shardID(0), stream.TrimHorizon)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Split(t.Context(), shardID(0), stream.FullRange.Middle()); err != nil {
			t.Fatal(err)
		}
		count := func() int { shards, _ := s.Shards(t.Context()); return len(shards) }
		time.Sleep(time.Hour)
		if n := count(); n != 3 {
			t.Fatalf("%d shards within retention, want 3", n)
		}
		time.Sleep(time.Minute)
		if n := count(); n != 2 {
			t.Fatalf("%d shards after it, want 2", n)
		}
		if _, err := s.Open(t.Context(), shardID(0), stream.TrimHorizon); !errors.Is(err, stream.ErrShardNotFound) {
			t.Fatalf("open: %v, want ErrShardNotFound", err)
		}
		var b stream.Batch
		var end *stream.ShardEndError
		if err := late.Next(t.Context(), &b); !errors.As(err, &end) || len(end.Children) != 2 {
			t.Fatalf("a reader that was there before: %v, want the shard's end with two children", err)
		}
	})
}

func TestKinesisLimitsRefusePutsAndSlowReaders(t *testing.T) {
	inBubble(t, small(), func(t *testing.T, e *Engine) {
		s := ensure(t, e, "orders", StreamConfig{Limits: KinesisLimits})
		results, err := s.Put(t.Context(), number(0, 1200)...)
		if err != nil {
			t.Fatal(err)
		}
		refused := 0
		for _, r := range results {
			if errors.Is(r.Err, stream.ErrThrottled) {
				refused++
			} else if r.Err != nil {
				t.Fatal(r.Err)
			}
		}
		if refused != 200 {
			t.Fatalf("%d of 1200 records refused, want 200", refused)
		}
		time.Sleep(time.Second)
		mustPut(t, s, number(0, 1000)...)
		r, err := s.Open(t.Context(), shardID(0), stream.TrimHorizon)
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		b := stream.Batch{MaxRecords: 100}
		for range 20 {
			next(t, r, &b)
		}
		if took := time.Since(begin); took < 2900*time.Millisecond || took > 3100*time.Millisecond {
			t.Fatalf("20 reads took %v, want 3 s: five at once and then five a second", took)
		}
	})
}

func TestAReaderHeldBackByLimitsEndsWithTheEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := openMemory(t, Config{SegmentBytes: 64 << 20, Logger: quiet})
		s := ensure(t, e, "orders", StreamConfig{Limits: KinesisLimits, MaxRecordBytes: 10 << 20})
		mustPut(t, s, entry("k", strings.Repeat("x", 9<<20)))
		r, err := s.Open(t.Context(), shardID(0), stream.TrimHorizon)
		if err != nil {
			t.Fatal(err)
		}
		var b stream.Batch
		next(t, r, &b) // leaves a debt of seconds
		ended := make(chan error, 1)
		go func() { ended <- r.Next(t.Context(), &b) }()
		synctest.Wait()
		closed := time.Now()
		e.Close()
		if err := <-ended; !errors.Is(err, stream.ErrClosed) || time.Since(closed) > 0 {
			t.Errorf("%v, %v after the engine was closed", err, time.Since(closed))
		}
	})
}

func TestAnIdleLogNotesWhatIsDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewCrash()
		e := onCrash(t, fs)
		s := ensure(t, e, "orders", StreamConfig{})
		mustPut(t, s, number(0, 5)...)
		end := int64(e.log.Durable()) & 0xffffffff
		time.Sleep(2 * time.Second)
		synctest.Wait()
		kill(e, fs)
		// Without the mark, this would pass for an unfinished write.
		fs.Flip(firstLog, end-10, 1)
		e = onCrash(t, fs)
		if len(e.Damage()) != 1 {
			t.Fatalf("damage %v, want the last block", e.Damage())
		}
		var corrupt *stream.CorruptError
		s = ensure(t, e, "orders", StreamConfig{})
		if _, err := readNow(s, shardID(0), stream.TrimHorizon); !errors.As(err, &corrupt) {
			t.Fatalf("read: %v, want a CorruptError", err)
		}
		e.Close()
	})
}

// Files go round under readers who are slow, and read from the disk: they miss
// records, and are told, but never get a wrong one or a false alarm.
func TestSlowReadersBesideRecycledFiles(t *testing.T) {
	cfg := small()
	cfg.CacheBytes = 1
	e := openDir(t, t.TempDir(), cfg)
	s := ensure(t, e, "orders", StreamConfig{Shards: 2, Retention: 5 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	read, missed := 0, 0
	for _, m := range s.topology.Load().all {
		wg.Go(func() {
			r, err := s.Open(ctx, m.id, stream.TrimHorizon)
			if err != nil {
				t.Error(err)
				return
			}
			defer r.Close()
			b := stream.Batch{MaxRecords: 20}
			var last stream.Sequence
			for {
				err := r.Next(ctx, &b)
				var trimmed *stream.TrimmedError
				switch {
				case ctx.Err() != nil:
					return
				case errors.As(err, &trimmed):
					if m.index == 0 {
						missed++
					}
				case err != nil:
					t.Errorf("read: %v", err)
					return
				}
				for _, rec := range b.Records {
					if !last.Less(rec.Sequence) || !strings.HasPrefix(string(rec.Data), "data-"+strings.TrimPrefix(rec.PartitionKey, "key-")) {
						t.Errorf("a wrong record: %q %q", rec.PartitionKey, rec.Data[:10])
						return
					}
					last = rec.Sequence
				}
				if m.index == 0 {
					read += len(b.Records)
				}
			}
		})
	}
	for i := range 1500 {
		entries := number(i*10, 10)
		entries[0].Data = append(entries[0].Data, make([]byte, 8000)...)
		mustPut(t, s, entries...)
		if i%10 == 0 {
			if err := e.sweep(); err != nil {
				t.Fatal(err)
			}
		}
	}
	cancel()
	wg.Wait()
	if e.log.Files().First < 10 {
		t.Errorf("the log has not gone round: first segment %d", e.log.Files().First)
	}
	t.Logf("%d records read, told %d times of others; first segment %d", read, missed, e.log.Files().First)
}
