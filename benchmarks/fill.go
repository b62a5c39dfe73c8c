package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/millrace/millrace/benchmarks/internal/logs"
	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/stream"
)

// fill appends records of l until there are total bytes, and returns how many
// they are. It is not measured.
func fill(ctx context.Context, log logs.Log, l load, total int) (n int, err error) {
	shared := l.records(min(prepared, 2*max(l.batch, total/l.size)))
	n = max(1, total/l.size/l.batch) * l.batch
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, l.callers)
	for i := range l.callers {
		wg.Go(func() {
			w := log.Writer()
			for errs[i] == nil {
				first := int(next.Add(int64(l.batch))) - l.batch
				if first >= n {
					return
				}
				at := first % (len(shared) - l.batch)
				errs[i] = w.Append(ctx, shared[at:at+l.batch])
			}
		})
	}
	wg.Wait()
	return n, errors.Join(errs...)
}

// filled makes an engine in dir with a stream of total bytes in it, which is
// closed and opened again: nothing of it is in the memory of the engine. The
// page cache has it.
func filled(ctx context.Context, dir string, cfg engine.Config, l load, total int) (m *logs.Millrace, n int, err error) {
	filling := cfg
	filling.Durability = engine.LoseOnPowerFailure // to be done sooner
	if m, err = logs.OpenMillrace(ctx, dir, filling, engine.StreamConfig{Shards: l.shards}); err != nil {
		return nil, 0, err
	}
	n, err = fill(ctx, m, l, total)
	if err = errors.Join(err, m.Close()); err != nil {
		return nil, 0, err
	}
	m, err = logs.OpenMillrace(ctx, dir, cfg, engine.StreamConfig{})
	return m, n, err
}

// readAll reads every shard from its beginning with a reader of its own. It is
// measured from the opening of the readers to the last record.
func readAll(ctx context.Context, s *engine.Stream, n int) (u usage, err error) {
	shards, err := s.Shards(ctx)
	if err != nil {
		return u, err
	}
	ctx, enough := context.WithCancelCause(ctx)
	defer enough(nil)
	var watch stopwatch
	watch.start()
	var left atomic.Int64
	left.Store(int64(n))
	var wg sync.WaitGroup
	for _, shard := range shards {
		wg.Go(func() {
			if err := readShard(ctx, s, shard.ID, func(records int) bool { return left.Add(-int64(records)) <= 0 }); err != nil {
				enough(err) // once the last record was read, the others end by that
				return
			}
			u = watch.stop()
			enough(errAllRead)
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); !errors.Is(err, errAllRead) {
		return u, err
	}
	return u, nil
}

var errAllRead = errors.New("every record was read")

// readShard reads a shard from its beginning until enough says so.
func readShard(ctx context.Context, s *engine.Stream, shard string, enough func(records int) bool) error {
	r, err := s.Open(ctx, shard, stream.TrimHorizon)
	if err != nil {
		return err
	}
	defer r.Close()
	b := stream.Batch{MaxRecords: 1000, MaxBytes: 1 << 20}
	for {
		if err := r.Next(ctx, &b); err != nil {
			return fmt.Errorf("read %s: %w", shard, err)
		}
		if enough(len(b.Records)) {
			return nil
		}
	}
}

// readUntil reads a shard from its beginning up to a pinned position, and
// returns how many records there were.
func readUntil(ctx context.Context, s *engine.Stream, shard string, pin stream.Position) (n int, err error) {
	r, err := s.Open(ctx, shard, stream.TrimHorizon)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	b := stream.Batch{MaxRecords: 1000, MaxBytes: 1 << 20}
	for end, _, _ := pin.Sequence(); ; {
		if err := r.Next(ctx, &b); err != nil {
			return n, err
		}
		n += len(b.Records)
		if last := b.Records[len(b.Records)-1].Sequence; !last.Add(1).Less(end) {
			return n, nil
		}
	}
}
