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
	total, counts := 256<<20, []int{1, 16, 256} // bytes of payload in the stream, shards
	if o.quick {
		total, counts = 4<<20, []int{1, 16}
	}
	for _, size := range []int{100, 1024} {
		for _, shards := range counts {
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

	readers := map[string]func() (usage, error){
		"reader": func() (usage, error) { return readAll(ctx, s, n) },
		"worker": func() (usage, error) { return workAll(ctx, s, n, shards, filepath.Join(dir, "leases.db")) },
	}
	results := map[string]map[string][]float64{"reader": {}, "worker": {}}
	for range o.rounds {
		for _, who := range []string{"reader", "worker"} {
			u, err := readers[who]()
			if err != nil {
				return fmt.Errorf("%s: %w", who, err)
			}
			v := results[who]
			v["M rec/s"] = append(v["M rec/s"], float64(n)/u.wall.Seconds()/1e6)
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
			r, err := s.Open(ctx, shard.ID, stream.TrimHorizon)
			if err != nil {
				enough(err)
				return
			}
			defer r.Close()
			b := stream.Batch{MaxRecords: 1000, MaxBytes: 1 << 20}
			for {
				if err := r.Next(ctx, &b); err != nil {
					enough(err) // once the last record was read, the others end by that
					return
				}
				if left.Add(-int64(len(b.Records))) <= 0 {
					u = watch.stop()
					enough(errAllRead)
					return
				}
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); !errors.Is(err, errAllRead) {
		return u, err
	}
	return u, nil
}

var errAllRead = errors.New("every record was read")

var applications atomic.Int64

// workAll processes every record with one worker, from the beginning: each call
// is an application of its own. It is measured from the moment when all leases
// are taken, before the first read, to the last record; taking and giving up
// leases is not what is measured here.
func workAll(ctx context.Context, s *engine.Stream, n, shards int, leasesFile string) (u usage, err error) {
	app := "bench-" + strconv.FormatInt(applications.Add(1), 10)
	leases, err := sqlite.Open(ctx, leasesFile, sqlite.Config{Application: app})
	if err != nil {
		return u, err
	}
	defer func() { err = errors.Join(err, leases.Close()) }()
	ctx, enough := context.WithCancel(ctx)
	defer enough()
	c := &counters{held: make(chan struct{}), enough: enough}
	c.missing.Store(int64(shards))
	c.left.Store(int64(n))
	w, err := worker.New(worker.Config{
		Application: app, Streams: []stream.Stream{s}, Leases: leases,
		Logger:    slog.New(slog.NewTextHandler(io.Discard, nil)),
		Processor: func(processors.Shard) processors.RecordProcessor { return counter{all: c} },
	})
	if err != nil {
		return u, err
	}
	if err := w.Run(ctx); err != nil {
		return u, err
	}
	if l := c.left.Load(); l != 0 {
		return u, fmt.Errorf("%d of %d records were not processed", l, n)
	}
	return c.used, nil
}

// counters are what the processors of one run share.
type counters struct {
	missing atomic.Int64  // shards that are not held yet
	held    chan struct{} // closed when none is missing
	left    atomic.Int64  // records
	watch   stopwatch
	used    usage
	enough  func()
}

// counter is a processor that only counts.
type counter struct {
	processors.Base
	all *counters
}

// Initialize holds the shard back until all are held.
func (c counter) Initialize(ctx context.Context, _ processors.Start) error {
	if c.all.missing.Add(-1) == 0 {
		c.all.watch.start()
		close(c.all.held)
	}
	select {
	case <-c.all.held:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (c counter) ProcessRecords(_ context.Context, b *processors.Batch) error {
	if c.all.left.Add(-int64(len(b.Records))) == 0 {
		c.all.used = c.all.watch.stop()
		c.all.enough()
	}
	return nil
}
