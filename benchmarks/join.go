package main

import (
	"context"
	"errors"
	"time"

	"github.com/millrace/millrace/internal/fleet"
)

var joinBenchmark = benchmark{
	name:    "join",
	about:   "one more worker process joins a fleet: how many passes of the leader until it has its fair share, and how many leases move",
	columns: []string{joinPasses, joinSeconds, joinMoves, joinNeedless},
	run:     runJoin,
	needs:   haveLeaseStores,
}

const (
	joinPasses   = "leader passes"
	joinSeconds  = "s from its start"
	joinMoves    = "moves"
	joinNeedless = "moves beyond the need"
)

const (
	joinWorkers = 10
	joinShards  = 1000
	newcomer    = "the eleventh of ten"
)

// joinStores are PostgreSQL and the faster of the two emulators.
var joinStores = []leaseStore{onPostgres, onDynalite}

func joinCase(s leaseStore) string { return s.name + ", " + shardsName(joinShards) }

func runJoin(ctx context.Context, b *bench) error {
	b.note("Default settings. Nothing is put. Passes count from when the row of the new worker is among the members until as many leases are given to it as are its share; moves, when a row names another owner. The need is that share, rounded up.")
	for _, s := range b.some(joinStores) {
		err := b.compare(ctx, joinCase(s), contender{newcomer, func(ctx context.Context, dir string) (figures, error) {
			return b.join(ctx, dir, s)
		}})
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) join(ctx context.Context, dir string, s leaseStore) (_ figures, err error) {
	workers, shards, cfg := joinWorkers, joinShards, fleet.Config{}
	if b.quick {
		workers, shards, cfg.FailoverTime = 2, 12, time.Second
	}
	f, err := openFleet(ctx, dir, s, cfg, workers, shards)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	if err := f.rest(ctx, time.Second); err != nil {
		return nil, err
	}
	before, began := len(f.events), time.Now()
	p, err := f.start()
	if err != nil {
		return nil, err
	}
	fair := shards / (workers + 1)
	if err := f.wait(ctx, "the new worker has its share", func() bool { return len(f.of(p)) >= fair }); err != nil {
		return nil, err
	}
	took := time.Since(began)
	// Nothing may move after it.
	if err := f.rest(ctx, took); err != nil {
		return nil, err
	}
	passes, moves, joined := 0, 0, false
	owners := map[string]string{}
	for i, e := range f.events {
		joined = joined || i >= before && e.Kind == fleet.Joined
		switch {
		case e.Kind == fleet.Scan && joined && moves < fair:
			passes++
		case e.Kind == fleet.Won && e.New.Owner != "":
			was := owners[e.Shard]
			if owners[e.Shard] = e.New.Owner; joined && was != "" && was != e.New.Owner {
				moves++
				passes = max(passes, 1) // the pass that was under way has seen it, too
			}
		}
	}
	return figures{
		joinPasses: float64(passes), joinSeconds: took.Seconds(), joinMoves: float64(moves),
		joinNeedless: float64(max(0, moves-(shards+workers)/(workers+1))),
	}, nil
}
