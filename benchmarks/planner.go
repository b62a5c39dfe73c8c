package main

import (
	"context"
	"fmt"

	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/stream"
)

var plannerBenchmark = benchmark{
	name:    "planner",
	about:   "what a leader plans with for a fleet that is far larger than most, and what DynamoDB would ask of it, on paper",
	columns: []string{secondsAPass, megabytes, plannedMoves, writeUnits, readUnits},
	run:     runPlanner,
}

const (
	secondsAPass = "s/pass"
	megabytes    = "MB allocated"
	plannedMoves = "moves"
	writeUnits   = "write units/s"
	readUnits    = "read units/s"
)

const (
	planLeases  = 100_000
	planWorkers = 1000
)

func plannerCase() string { return fmt.Sprintf("%d leases, %d workers", planLeases, planWorkers) }

func paperCase() string { return plannerCase() + ", at rest in DynamoDB" }

// What the planner is asked.
const (
	planAll    = "nobody has anything"
	planRest   = "all is well"
	planCrash  = "a worker in ten is gone"
	planJoin   = "a worker in ten is new"
	planUneven = "a worker in ten has ten times the load"
)

func runPlanner(ctx context.Context, b *bench) error {
	leases, workers := planLeases, planWorkers
	if b.quick {
		leases, workers = 1000, 10
	}
	ask := func(view func() lease.View) func(context.Context, string) (figures, error) {
		return func(context.Context, string) (figures, error) {
			v := view()
			var watch stopwatch
			watch.start()
			moves := lease.Plan(v)
			u := watch.stop()
			return figures{secondsAPass: u.wall.Seconds(), megabytes: float64(u.bytes) / 1e6, plannedMoves: float64(len(moves))}, nil
		}
	}
	err := b.compare(ctx, plannerCase(),
		contender{planAll, ask(func() lease.View { return fleetView(leases, workers, func(int) int { return -1 }) })},
		contender{planRest, ask(func() lease.View { return fleetView(leases, workers, func(i int) int { return i % workers }) })},
		contender{planCrash, ask(func() lease.View {
			v := fleetView(leases, workers, func(i int) int { return i % workers })
			v.Members = v.Members[workers/10:]
			return v
		})},
		contender{planJoin, ask(func() lease.View {
			return fleetView(leases, workers, func(i int) int { return i % (workers - workers/10) })
		})},
		contender{planUneven, ask(func() lease.View {
			v := fleetView(leases, workers, func(i int) int { return i % workers })
			for i := range v.Leases {
				if v.Leases[i].Load.BytesPerSecond = 1e5; i%workers < workers/10 {
					v.Leases[i].Load.BytesPerSecond = 1e6
				}
			}
			return v
		})},
	)
	if err != nil {
		return err
	}
	return b.onPaper(ctx)
}

// fleetView is a fleet in which owner says who has which lease; -1 is nobody.
func fleetView(leases, workers int, owner func(i int) int) lease.View {
	v := lease.View{Threshold: 0.1}
	name := func(n int) string { return fmt.Sprintf("w%04d#1", n) }
	for n := range workers {
		v.Members = append(v.Members, lease.Member{Incarnation: name(n), Worker: name(n), Version: 1, Beats: 1})
	}
	for i, hash := range stream.SplitHashSpace(leases) {
		l := lease.NewLease("clicks", "clicks:1", stream.Shard{ID: fmt.Sprintf("shardId-%012d", i), Hash: hash}, stream.TrimHorizon)
		l.Counter = 1
		if n := owner(i); n >= 0 {
			l = lease.Taken(l, name(n))
		}
		v.Leases = append(v.Leases, l)
	}
	return v
}

// Whose bill it is.
const (
	paperMillrace = "Millrace"
	paperKCL2     = "KCL 2.x"
	paperKCL3     = "KCL 3.x"
)

// What rows weigh: ours, generously, and the KCL's.
const (
	ourRow = 1000.0
	kclRow = 400.0
)

// onPaper computes what a fleet at rest costs in DynamoDB, checkpoints apart.
//
// Millrace, with FailoverTime 10 s: each worker beats three times in that time, and
// tries the leader's row twice (a write that fails its condition is billed, too); the
// leader reads all rows consistently, and all members twice, each 5 s; each worker
// asks two indexes each 5 s, and reads the rows it holds each 30 s.
//
// The KCL at its defaults: each lease is renewed each 3.3 s; the 2.x scans for each
// worker, the 3.x for the leader alone, who is looked for by all.
func (b *bench) onPaper(ctx context.Context) error {
	const l, w = planLeases, planWorkers
	bill := func(writes, reads float64) func(context.Context, string) (figures, error) {
		return func(context.Context, string) (figures, error) {
			return figures{writeUnits: writes, readUnits: reads}, nil
		}
	}
	b.note("On paper: rows of %v bytes for Millrace and %v for the KCL, whose intervals are those of its source; checkpoints, which cost the same, are left out.", ourRow, kclRow)
	return b.compare(ctx, paperCase(),
		contender{paperMillrace, bill(
			0.3*(w+1)+0.2*w,
			l*ourRow/4096/5+2*w*ourRow/4096/5+2*0.5*w/5.0+l*0.5/30,
		)},
		contender{paperKCL2, bill(0.302*l, (0.0532*w+0.0083)*l*kclRow/8192)},
		contender{paperKCL3, bill(0.302*l+0.033*(w+1), 0.0583*l*kclRow/8192+0.05*w+0.067*(w-1))},
	)
}
