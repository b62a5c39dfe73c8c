package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"sync/atomic"

	"github.com/millrace/millrace/benchmarks/internal/logs"
	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/lease/sqlite"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/worker"
)

var pathBenchmark = benchmark{
	name:    "path",
	about:   "records that are in the engine already, through a bare reader a shard, and through the whole worker path: leases and checkpoints in SQLite, a processor that only counts",
	columns: []string{recordRate, perCore, cpuPerRecord, allocs},
	run:     runPath,
}

// perCore is how many records one core can do: the inverse of the CPU time.
const perCore = "records/s and core"

// Who takes the records.
const (
	bareReader  = "bare reader"
	wholeWorker = "worker"
)

const (
	pathBytes = 256 << 20
	// defaultChunkBytes is that of [engine.Config]: as much of the log is due.
	defaultChunkBytes = 256 << 20
)

// paths are how the stream was written: the records of each shard are the more
// scattered over the log, the more shards there are and the smaller the puts.
var paths = []load{
	{8, 500, 100, 1}, {8, 500, 100, 16}, {8, 500, 100, 256}, {64, 1, 100, 256},
	{8, 500, 1024, 1}, {8, 500, 1024, 16}, {8, 500, 1024, 256}, {64, 1, 1024, 256},
}

func pathCase(l load) string {
	name := sizeName(l.size) + ", " + shardsName(l.shards)
	if l.batch == 1 {
		name += ", put one by one"
	}
	return name
}

func runPath(ctx context.Context, b *bench) error {
	b.note("Without \"rewritten\" the log is as it was written, blocks of all shards mixed, and read from files; with it, each shard's lie together. \"Just put\" is an engine as it is by default, which has the end of the log in memory and the rest rewritten.")
	b.note("%d MiB, put in batches of 500 by 8 callers, or one by one by 64. Wall time is from the first record to the last.", b.amount(pathBytes)>>20)
	cases := paths
	if b.quick {
		cases = cases[1:2]
	}
	for _, l := range cases {
		if err := b.path(ctx, pathCase(l), l, func(dir string) (*logs.Millrace, int, error) {
			return filled(ctx, dir, logAlone, l, b.amount(pathBytes))
		}); err != nil {
			return err
		}
	}
	for _, l := range scatteredPaths {
		if b.quick {
			l.shards = 16
		}
		if err := b.path(ctx, justPutCase(l), l, func(dir string) (*logs.Millrace, int, error) { return b.justPut(ctx, dir, l) }); err != nil {
			return err
		}
		if err := b.path(ctx, rewrittenPathCase(l), l, func(dir string) (*logs.Millrace, int, error) {
			return b.rewritten(ctx, dir, engine.Config{}, l, b.amount(pathBytes))
		}); err != nil {
			return err
		}
	}
	return nil
}

// path measures what open gives.
func (b *bench) path(ctx context.Context, name string, l load, open func(dir string) (*logs.Millrace, int, error)) (err error) {
	if !b.wants(name) {
		return nil
	}
	dir, done, err := b.temp()
	if err != nil {
		return err
	}
	defer done()
	m, n, err := open(filepath.Join(dir, "engine"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	return b.compare(ctx, name, b.pathContenders(m.Stream, n, l.shards, filepath.Join(dir, "leases.db"))...)
}

// scatteredPaths are those of the paths that are measured in other states, too.
var scatteredPaths = []load{paths[2], paths[6]}

func justPutCase(l load) string { return pathCase(l) + ", just put" }

func rewrittenPathCase(l load) string { return pathCase(l) + ", rewritten" }

// justPut fills an engine and waits until all that is due is rewritten: at rest
// that is not hurried.
func (b *bench) justPut(ctx context.Context, dir string, l load) (*logs.Millrace, int, error) {
	m, err := logs.OpenMillrace(ctx, dir, engine.Config{}, engine.StreamConfig{Shards: l.shards})
	if err != nil {
		return nil, 0, err
	}
	n, err := fill(ctx, m, l, b.amount(pathBytes))
	for look := 0; err == nil && m.Engine.Stats().LogBytes > defaultChunkBytes; look++ {
		if err = pause(ctx, lookEach); err == nil && look == looks {
			err = fmt.Errorf("%d bytes are not rewritten after %v", m.Engine.Stats().LogBytes, looks*lookEach)
		}
	}
	if err != nil {
		return nil, 0, errors.Join(err, m.Close())
	}
	return m, n, nil
}

func (b *bench) pathContenders(s *engine.Stream, n, shards int, leases string) []contender {
	takes := func(take func(ctx context.Context) (usage, error)) func(context.Context, string) (figures, error) {
		return func(ctx context.Context, _ string) (figures, error) {
			u, err := take(ctx)
			if err != nil {
				return nil, err
			}
			f := figures{allocs: float64(u.allocs) / float64(n), perCore: float64(n) / u.cpu.Seconds()}
			u.perRecord(f, n)
			return f, nil
		}
	}
	return []contender{
		{bareReader, takes(func(ctx context.Context) (usage, error) { return readAll(ctx, s, n) })},
		{wholeWorker, takes(func(ctx context.Context) (usage, error) { return workAll(ctx, s, n, shards, leases) })},
	}
}

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
		Application: app, Streams: []stream.Stream{s}, Leases: leases, Logger: logs.Quiet,
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
