package engine

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/millrace/millrace/engine/internal/vfs"
	"github.com/millrace/millrace/stream"
)

func TestCloseEndsEverybodyWithErrClosed(t *testing.T) {
	for range 20 {
		e := openDir(t, t.TempDir(), small())
		s := ensure(t, e, "orders", StreamConfig{Shards: 2})
		var wg, started sync.WaitGroup
		until := func(what string, f func() error) {
			started.Add(1)
			wg.Go(func() {
				for first := true; ; first = false {
					err := f()
					if first {
						started.Done()
					}
					switch {
					case errors.Is(err, stream.ErrClosed):
						return
					case err != nil:
						t.Errorf("%s: %v, want ErrClosed", what, err)
						return
					}
				}
			})
		}
		var acked int
		until("put", func() error {
			results, err := s.Put(context.Background(), number(0, 20)...)
			acked += len(results)
			return err
		})
		until("split or merge", func() error {
			n := 3
			if d, err := s.Describe(); err == nil && d.OpenShards == 3 {
				n = 2
			}
			return s.UpdateShardCount(context.Background(), n)
		})
		until("subscribe", func() error {
			err := s.Subscribe(context.Background(), shardID(1), stream.TrimHorizon, stream.Batch{}, func(*stream.Batch) error { return nil })
			var end *stream.ShardEndError
			if errors.As(err, &end) {
				return nil
			}
			return err
		})
		started.Wait()
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		for what, f := range map[string]func() error{
			"Identity": func() error { _, err := s.Identity(t.Context()); return err },
			"Shards":   func() error { _, err := s.Shards(t.Context()); return err },
			"Pin":      func() error { _, err := s.Pin(t.Context(), shardID(0)); return err },
			"Open":     func() error { _, err := s.Open(t.Context(), shardID(0), stream.Latest); return err },
			"Tag":      func() error { return s.Tag(t.Context(), nil) },
			"Create":   func() error { _, err := e.CreateStream(t.Context(), "a", StreamConfig{}); return err },
			"Delete":   func() error { return e.DeleteStream(t.Context(), "orders") },
		} {
			if err := f(); !errors.Is(err, stream.ErrClosed) {
				t.Errorf("%s after Close: %v", what, err)
			}
		}
		if err := e.Close(); err != nil {
			t.Fatalf("second Close: %v", err)
		}
	}
}

func TestAPutThatGivesUpWaitingReturnsTheCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := &heldFS{FS: vfs.Memory()}
		cfg := small()
		cfg.fs = fs
		cfg.PendingBytes = 1000
		e, err := Open("", cfg)
		if err != nil {
			t.Fatal(err)
		}
		s := ensure(t, e, "orders", StreamConfig{})
		synctest.Wait()
		hold := make(chan struct{})
		fs.hold.Store(&hold)
		var wg sync.WaitGroup
		wg.Go(func() { mustPut(t, s, number(0, 1)...) }) // syncs, and is held
		synctest.Wait()
		tired := errors.New("tired")
		ctx, cancel := context.WithCancelCause(t.Context())
		for i := range 5 { // some wait for the sync, the rest for room
			wg.Go(func() {
				if _, err := s.Put(ctx, number(i*10, 30)...); !errors.Is(err, tired) {
					t.Errorf("put: %v, want the cause", err)
				}
			})
		}
		synctest.Wait()
		cancel(tired)
		synctest.Wait()
		fs.hold.Store(nil)
		close(hold)
		wg.Wait()
		mustPut(t, s, number(500, 1)...) // and the engine is well
		e.Close()
	})
}

// Half of a put is stored and the other half waits for a reshard: when it gives
// up, the first half must not lie there until somebody else puts something.
func TestWhatAnAbandonedPutHasStoredIsCommitted(t *testing.T) {
	inBubble(t, small(), func(t *testing.T, e *Engine) {
		s := ensure(t, e, "orders", StreamConfig{Shards: 2})
		open := s.topology.Load().open
		e.log.Seal(open[0].log)
		ctx, cancel := context.WithCancel(t.Context())
		var err error
		go func() {
			_, err = s.Put(ctx,
				stream.Entry{PartitionKey: "k", HashKey: open[0].hash.Start, HasHashKey: true},
				stream.Entry{PartitionKey: "k", HashKey: open[1].hash.Start, HasHashKey: true})
		}()
		synctest.Wait()
		cancel()
		synctest.Wait()
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("put: %v", err)
		}
		e.log.Resume(open[0].log, true)
		if got := mustRead(t, s, open[1].id, stream.TrimHorizon); len(got) != 1 {
			t.Errorf("%d records in the other shard, want 1", len(got))
		}
	})
}
