package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/millrace/millrace/internal/fleet"
)

var failoverBenchmark = benchmark{
	name:    "failover",
	about:   "a worker process is killed with signal 9: how long until its successors process, from the kill to the first record of each of its shards",
	columns: []string{firstTakenOver, halfTakenOver, allTakenOver},
	run:     runFailover,
	needs:   haveLeaseStores,
}

const (
	firstTakenOver = "first shard s"
	halfTakenOver  = "half of them s"
	allTakenOver   = "all of them s"
)

// Who is killed.
const (
	aWorker   = "a worker"
	theLeader = "the leader"
)

const (
	failoverWorkers = 3
	failoverShards  = 24
	// failoverPuts is how often a record is put to each shard: what is measured is
	// that much too long, at most.
	failoverPuts = 20 * time.Millisecond
)

// failoverTimes are those that are measured, the default first.
var failoverTimes = []time.Duration{10 * time.Second, 2 * time.Second}

func failoverCase(s leaseStore, f time.Duration) string {
	return fmt.Sprintf("%s, FailoverTime %v", s.name, f)
}

// fastCase is at the default FailoverTime, with postgres.Config.FastFailover.
func fastCase() string { return onPostgres.name + ", FastFailover" }

func runFailover(ctx context.Context, b *bench) error {
	b.note("%d worker processes, %d shards, a record for each shard every %v; engine, workers and lease store share the machine. Who is killed is killed at any moment between two of its heartbeats.",
		failoverWorkers, failoverShards, failoverPuts)
	times := failoverTimes
	if b.quick {
		times = []time.Duration{time.Second}
	}
	killing := func(name string, s leaseStore, cfg fleet.Config) error {
		kill := func(leader bool) func(context.Context, string) (figures, error) {
			return func(ctx context.Context, dir string) (figures, error) { return b.failover(ctx, dir, s, cfg, leader) }
		}
		return b.compare(ctx, name, contender{aWorker, kill(false)}, contender{theLeader, kill(true)})
	}
	if err := killing(fastCase(), onPostgres, fleet.Config{FailoverTime: times[0], FastFailover: true}); err != nil {
		return err
	}
	for _, s := range b.leaseStores() {
		for _, failover := range times {
			if err := killing(failoverCase(s, failover), s, fleet.Config{FailoverTime: failover}); err != nil {
				return err
			}
		}
	}
	return nil
}

// failover is one round: one fleet, and one of it killed.
func (b *bench) failover(ctx context.Context, dir string, s leaseStore, cfg fleet.Config, leader bool) (_ figures, err error) {
	shards := failoverShards
	if b.quick {
		shards = 6
	}
	cfg.CheckpointEvery = time.Second
	f, err := openFleet(ctx, dir, s, cfg, failoverWorkers, shards)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	if err := f.feed(ctx, failoverPuts); err != nil {
		return nil, err
	}
	// The fleet comes to rest, and the kill to any moment between two beats.
	if err := f.rest(ctx, cfg.FailoverTime+rand.N(cfg.FailoverTime/2)); err != nil {
		return nil, err
	}
	victim, other := f.leader()
	if !leader {
		victim = other
	}
	lost := f.of(victim)
	killed := time.Now()
	if err := victim.Kill(); err != nil {
		return nil, err
	}
	first := map[string]time.Duration{}
	seen := len(f.events)
	err = f.wait(ctx, "all shards of the killed worker are processed by others", func() bool {
		for _, e := range f.events[seen:] {
			if _, known := first[e.Shard]; !known && e.Kind == fleet.Done && e.Who != victim.Name && slices.Contains(lost, e.Shard) {
				first[e.Shard] = time.Unix(0, e.At).Sub(killed)
			}
		}
		seen = len(f.events)
		return len(first) == len(lost)
	})
	if err != nil {
		return nil, err
	}
	var times []time.Duration
	for _, t := range first {
		times = append(times, t)
	}
	slices.Sort(times)
	return figures{
		firstTakenOver: times[0].Seconds(),
		halfTakenOver:  percentile(times, 0.5).Seconds(),
		allTakenOver:   times[len(times)-1].Seconds(),
	}, nil
}
