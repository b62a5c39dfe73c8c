package main

import (
	"context"
	"errors"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/millrace/millrace/benchmarks/internal/logs"
	"github.com/millrace/millrace/fanout"
	"github.com/millrace/millrace/kinesis"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stream"
)

var pollingBenchmark = benchmark{
	name:    "polling",
	about:   "a worker that holds shards of a server in which nothing happens: what it takes of a core, and what the server takes",
	columns: []string{coreShare, serverShare},
	run:     runPolling,
	needs:   haveProc,
}

const serverShare = "share of a core, server"

// How shards at rest are read.
const (
	polled = "polled by GetRecords"
	pushed = "pushed by SubscribeToShard"
)

// pollingSettle is until a reader asks as rarely as it ever does: after 80 s
// without a record, by default.
const pollingSettle = 85 * time.Second

func runPolling(ctx context.Context, b *bench) error {
	shards := idleShards
	if b.quick {
		shards = 50
	}
	b.note("Default settings, over HTTP/1.1 on loopback, leases in SQLite. CPU time of the worker's process and of the server's, over %v of rest that begins %v after the worker has all shards.", b.lasts(idleLasts), b.lasts(pollingSettle))
	return b.compare(ctx, idleCase(shards),
		contender{polled, func(ctx context.Context, dir string) (figures, error) { return b.polling(ctx, dir, shards, false) }},
		contender{pushed, func(ctx context.Context, dir string) (figures, error) { return b.polling(ctx, dir, shards, true) }},
	)
}

// polling is one round: a server, and a worker at rest on its stream.
func (b *bench) polling(ctx context.Context, dir string, shards int, push bool) (f figures, err error) {
	const name = "orders"
	server, err := serve(filepath.Join(dir, "engine"), name, shards)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	remote, err := kinesis.New(userClient(server.url, false), name, kinesis.Config{Logger: logs.Quiet})
	if err != nil {
		return nil, err
	}
	var s stream.Stream = remote
	if push {
		if s, err = fanout.Use(remote, "bench", fanout.Config{Logger: logs.Quiet}); err != nil {
			return nil, err
		}
	}
	var held atomic.Int64
	all := make(chan struct{})
	processor := func(processors.Shard) processors.RecordProcessor {
		if held.Add(1) == int64(shards) {
			close(all)
		}
		return processors.Func(func(context.Context, *processors.Batch) error { return nil })
	}
	err = whileWorking(ctx, filepath.Join(dir, "leases.db"), s, processor, func(ctx context.Context) error {
		if err := await(ctx, all); err != nil {
			return err
		}
		if err := pause(ctx, b.lasts(pollingSettle)); err != nil {
			return err
		}
		f, err = b.restBeside(ctx, server)
		return err
	})
	return f, err
}

// restBeside measures what this process and a server take while nothing happens.
func (b *bench) restBeside(ctx context.Context, server *process) (figures, error) {
	served, err := server.cpuTime()
	if err != nil {
		return nil, err
	}
	begin, used := time.Now(), cpuTime()
	if err := pause(ctx, b.lasts(idleLasts)); err != nil {
		return nil, err
	}
	took, own := time.Since(begin).Seconds(), cpuTime()-used
	servedNow, err := server.cpuTime()
	return figures{coreShare: own.Seconds() / took, serverShare: (servedNow - served).Seconds() / took}, err
}
