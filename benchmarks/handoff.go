package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/millrace/millrace/internal/fleet"
)

var handoffBenchmark = benchmark{
	name:    "handoff",
	about:   "worker processes are stopped in good order, one after the other, and others started in their places, as in a deploy: for how long each shard that moves is processed by nobody",
	columns: []string{gap(50), gap(99), gap(100), shardsMoved, repeats},
	run:     runHandoff,
	needs:   haveLeaseStores,
}

func gap(percent int) string {
	if percent == 100 {
		return "longest gap ms"
	}
	return fmt.Sprintf("gap p%d ms", percent)
}

const (
	shardsMoved = "moves"
	repeats     = "records again"
)

const (
	handoffWorkers = 4
	handoffShards  = 32
	handoffPuts    = 20 * time.Millisecond
)

// deploy is who moves the shards.
const deploy = "a deploy"

func handoffCase(s leaseStore) string { return s.name }

func runHandoff(ctx context.Context, b *bench) error {
	b.note("%d worker processes at the default settings, %d shards, a record for each shard every %v, by which a gap is too long at most. All moves are counted: those of a stop, and those to the worker that is new.",
		handoffWorkers, handoffShards, handoffPuts)
	for _, s := range b.leaseStores() {
		err := b.compare(ctx, handoffCase(s), contender{deploy, func(ctx context.Context, dir string) (figures, error) {
			return b.handoff(ctx, dir, s)
		}})
		if err != nil {
			return err
		}
	}
	return nil
}

// handoff is one round: each worker of a fleet is replaced.
func (b *bench) handoff(ctx context.Context, dir string, s leaseStore) (_ figures, err error) {
	workers, shards, cfg := handoffWorkers, handoffShards, fleet.Config{}
	if b.quick {
		workers, shards, cfg.FailoverTime = 2, 4, time.Second
	}
	f, err := openFleet(ctx, dir, s, cfg, workers, shards)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	if err := f.feed(ctx, handoffPuts); err != nil {
		return nil, err
	}
	if err := f.rest(ctx, time.Second); err != nil {
		return nil, err
	}
	for range workers {
		old := f.processes[0]
		f.processes = f.processes[1:]
		if err := old.Stop(time.Minute); err != nil {
			return nil, err
		}
		if _, err := f.start(); err != nil {
			return nil, err
		}
		if err := f.wait(ctx, "each worker has its share again", func() bool { return f.shared(shards) }); err != nil {
			return nil, err
		}
	}
	if err := f.rest(ctx, time.Second); err != nil {
		return nil, err
	}
	return f.gaps()
}

// gaps finds, for each change of hands, how long lay between the last record of the
// one and the first of the other.
func (f *liveFleet) gaps() (figures, error) {
	type last struct {
		who string
		at  int64
	}
	var gaps []time.Duration
	before, seen, again := map[string]last{}, map[string]map[string]bool{}, 0
	for _, e := range f.events {
		if e.Kind != fleet.Done {
			continue
		}
		if was, known := before[e.Shard]; known && was.who != e.Who {
			gaps = append(gaps, time.Duration(e.At-was.at))
		}
		before[e.Shard] = last{e.Who, e.At}
		if seen[e.Shard] == nil {
			seen[e.Shard] = map[string]bool{}
		}
		for _, r := range e.Records {
			if seen[e.Shard][r] {
				again++
			}
			seen[e.Shard][r] = true
		}
	}
	if len(gaps) == 0 {
		return nil, errors.New("no shard has moved")
	}
	slices.Sort(gaps)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }
	return figures{
		gap(50): ms(percentile(gaps, 0.5)), gap(99): ms(percentile(gaps, 0.99)), gap(100): ms(gaps[len(gaps)-1]),
		shardsMoved: float64(len(gaps)), repeats: float64(again),
	}, nil
}
