package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/lease/sqlite"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/worker"
)

// runPath measures records that are already in the engine: read by a bare
// reader a shard, and through the whole worker path with leases in SQLite,
// automatic checkpoints and a processor that only counts.
func runPath(ctx context.Context, o options, report func(row)) error {
	total := 256 << 20 // bytes of payload in the stream
	if o.quick {
		total = 8 << 20
	}
	for _, size := range []int{100, 1024} {
		for _, shards := range []int{1, 16, 256} {
			if err := pathCase(ctx, o, total, size, shards, report); err != nil {
				return err
			}
		}
	}
	return nil
}

func pathCase(ctx context.Context, o options, total, size, shards int, report func(row)) (err error) {
	dir, err := os.MkdirTemp(o.dir, "path-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	e, err := engine.Open(filepath.Join(dir, "engine"), engine.Config{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	s, err := e.CreateStream(ctx, "bench", engine.StreamConfig{Shards: shards})
	if err != nil {
		return err
	}
	n, err := fill(ctx, s, total, size)
	if err != nil {
		return err
	}

	// Each returns from the first record to the last: taking the leases at the
	// start and giving them up at the end is not what is measured here.
	readers := map[string]func() (time.Duration, error){
		"reader": func() (time.Duration, error) { return readAll(ctx, s, n) },
		"worker": func() (time.Duration, error) { return workAll(ctx, s, n, filepath.Join(dir, "leases.db")) },
	}
	results := map[string]map[string][]float64{"reader": {}, "worker": {}}
	for range o.rounds {
		for _, who := range []string{"reader", "worker"} {
			var wall time.Duration
			u, err := measure(func() (err error) {
				wall, err = readers[who]()
				return err
			})
			if err != nil {
				return err
			}
			v := results[who]
			v["M rec/s"] = append(v["M rec/s"], float64(n)/wall.Seconds()/1e6)
			v["CPU ns/rec"] = append(v["CPU ns/rec"], float64(u.cpu.Nanoseconds())/float64(n))
			v["allocs/rec"] = append(v["allocs/rec"], float64(u.allocs)/float64(n))
			v["bytes/rec"] = append(v["bytes/rec"], float64(u.bytes)/float64(n))
		}
	}
	for _, who := range []string{"reader", "worker"} {
		r := row{
			Case:  fmt.Sprintf("%d B, %d shards, %s", size, shards, who),
			Units: []string{"M rec/s", "CPU ns/rec", "allocs/rec", "bytes/rec"},
			Value: map[string]spread{},
		}
		for unit, values := range results[who] {
			r.Value[unit] = spreadOf(values)
		}
		report(r)
	}
	return nil
}

// fill puts records of that size until total bytes are in the stream, evenly
// over its hash space, and returns how many they are.
func fill(ctx context.Context, s *engine.Stream, total, size int) (n int, err error) {
	const batch = 500
	n = total / size / batch * batch
	var wg sync.WaitGroup
	var failed atomic.Pointer[error]
	var next atomic.Int64
	for range 8 {
		wg.Go(func() {
			entries := make([]stream.Entry, batch)
			data := make([]byte, size-8)
			for failed.Load() == nil {
				first := int(next.Add(batch)) - batch
				if first >= n {
					return
				}
				for i := range entries {
					entries[i] = stream.Entry{PartitionKey: fmt.Sprintf("%08d", first+i), Data: data}
				}
				results, err := s.Put(ctx, entries...)
				for i := range results {
					err = errors.Join(err, results[i].Err)
				}
				if err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	wg.Wait()
	if p := failed.Load(); p != nil {
		return 0, *p
	}
	return n, nil
}

// readAll reads every shard from its beginning with a reader of its own.
func readAll(ctx context.Context, s *engine.Stream, n int) (time.Duration, error) {
	shards, err := s.Shards(ctx)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	ctx, enough := context.WithCancel(ctx)
	defer enough()
	var left atomic.Int64
	left.Store(int64(n))
	var wg sync.WaitGroup
	for _, shard := range shards {
		r, err := s.Open(ctx, shard.ID, stream.TrimHorizon)
		if err != nil {
			return 0, err
		}
		wg.Go(func() {
			defer r.Close()
			b := stream.Batch{MaxRecords: 1000, MaxBytes: 1 << 20}
			for r.Next(ctx, &b) == nil {
				if left.Add(-int64(len(b.Records))) <= 0 {
					enough()
					return
				}
			}
		})
	}
	wg.Wait()
	if l := left.Load(); l != 0 {
		return 0, fmt.Errorf("%d of %d records were not read", l, n)
	}
	return time.Since(start), nil
}

var applications atomic.Int64

// workAll processes every record with one worker, from the beginning: each call
// is an application of its own.
func workAll(ctx context.Context, s *engine.Stream, n int, leasesFile string) (wall time.Duration, err error) {
	app := "bench-" + strconv.FormatInt(applications.Add(1), 10)
	leases, err := sqlite.Open(ctx, leasesFile, sqlite.Config{Application: app})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, leases.Close()) }()
	ctx, enough := context.WithCancel(ctx)
	defer enough()
	var first sync.Once
	var start, end time.Time
	var left atomic.Int64
	left.Store(int64(n))
	w, err := worker.New(worker.Config{
		Application: app, Streams: []stream.Stream{s}, Leases: leases,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Processor: func(processors.Shard) processors.RecordProcessor {
			return processors.Func(func(_ context.Context, b *processors.Batch) error {
				first.Do(func() { start = time.Now() })
				if left.Add(-int64(len(b.Records))) <= 0 {
					end = time.Now()
					enough()
				}
				return nil
			})
		},
	})
	if err != nil {
		return 0, err
	}
	if err := w.Run(ctx); err != nil {
		return 0, err
	}
	if l := left.Load(); l != 0 {
		return 0, fmt.Errorf("%d of %d records were not processed", l, n)
	}
	return end.Sub(start), nil
}
