package main

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace/millrace/benchmarks/internal/logs"
	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/lease/sqlite"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/worker"
)

var idleBenchmark = benchmark{
	name:    "idle",
	about:   "a worker that holds shards in which nothing happens: what it takes of a core, against an engine that nobody reads",
	columns: []string{coreShare},
	run:     runIdle,
}

const coreShare = "share of a core"

// Who idles.
const (
	idleWorker = "worker, leases in SQLite"
	idleEngine = "engine alone"
)

const (
	idleShards = 1000
	idleSettle = 2 * time.Second // after the start, which is not measured
	idleLasts  = 10 * time.Second
)

func idleCase(shards int) string { return shardsName(shards) }

func runIdle(ctx context.Context, b *bench) error {
	b.note("CPU time of the whole process over %v of rest.", b.lasts(idleLasts))
	shards := idleShards
	if b.quick {
		shards = 50
	}
	return b.compare(ctx, idleCase(shards),
		contender{idleWorker, func(ctx context.Context, dir string) (figures, error) { return b.idle(ctx, dir, shards, true) }},
		contender{idleEngine, func(ctx context.Context, dir string) (figures, error) { return b.idle(ctx, dir, shards, false) }},
	)
}

// idle is one round, with a worker or without.
func (b *bench) idle(ctx context.Context, dir string, shards int, withWorker bool) (f figures, err error) {
	m, err := logs.OpenMillrace(ctx, filepath.Join(dir, "engine"), engine.Config{}, engine.StreamConfig{Shards: shards})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	if !withWorker {
		return b.rest(ctx)
	}
	leases, err := sqlite.Open(ctx, filepath.Join(dir, "leases.db"), sqlite.Config{Application: "bench"})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, leases.Close()) }()
	var held atomic.Int64
	all := make(chan struct{})
	w, err := worker.New(worker.Config{
		Application: "bench", Streams: []stream.Stream{m.Stream}, Leases: leases, Logger: logs.Quiet,
		Processor: func(processors.Shard) processors.RecordProcessor {
			if held.Add(1) == int64(shards) {
				close(all)
			}
			return processors.Func(func(context.Context, *processors.Batch) error { return nil })
		},
	})
	if err != nil {
		return nil, err
	}
	ctx, enough := context.WithCancel(ctx)
	defer enough()
	var wg sync.WaitGroup
	var runErr error
	wg.Go(func() { runErr = w.Run(ctx) })
	select {
	case <-all:
		f, err = b.rest(ctx)
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	enough()
	wg.Wait()
	return f, errors.Join(err, runErr)
}

// rest measures what the process takes while nothing happens.
func (b *bench) rest(ctx context.Context) (figures, error) {
	if err := pause(ctx, b.lasts(idleSettle)); err != nil {
		return nil, err
	}
	begin, used := time.Now(), cpuTime()
	err := pause(ctx, b.lasts(idleLasts))
	return figures{coreShare: (cpuTime() - used).Seconds() / time.Since(begin).Seconds()}, err
}
