package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/millrace/millrace/benchmarks/internal/logs"
	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/lease/sqlite"
	"github.com/millrace/millrace/stream"
)

var leasesBenchmark = benchmark{
	name:    "leases",
	about:   "what it costs to hold many leases in SQLite: the beats that keep them, the checkpoints of their shards, and all that a worker does who holds them and leads its fleet",
	columns: []string{cpuPerWrite, perWrite, coreShare},
	run:     runLeases,
}

const (
	cpuPerWrite = "CPU µs/write"
	perWrite    = "µs/write"
)

// Who writes.
const (
	beats       = "beats, one each 3 s"
	checkpoints = "checkpoints"
	checkpoint1 = "checkpoints, one after the other"
	coordinator = "a worker that holds them and leads"
)

const (
	manyLeases  = 10_000
	leaseWrites = 20_000
	// atOnce is how many shards of a worker store their checkpoints at the same
	// moment: a tenth of a thousand.
	atOnce = 100
	// beatEvery is a third of the default failover time, about.
	beatEvery = 3 * time.Second
)

func leasesCase(n int) string { return fmt.Sprintf("%d leases", n) }

func runLeases(ctx context.Context, b *bench) error {
	b.note("Writes do not wait for the disk. Checkpoints are those of 100 shards at a time. The worker's share is that of the whole process over %v, in which nothing is processed.", b.lasts(idleLasts))
	n, writes := manyLeases, leaseWrites
	if b.quick {
		n, writes = 100, 50
	}
	written := func(together int, write func(context.Context, *sqlite.Store, []lease.Lease, int) error) func(context.Context, string) (figures, error) {
		return func(ctx context.Context, dir string) (figures, error) {
			return b.writes(ctx, dir, n, writes, together, write)
		}
	}
	saved := func(ctx context.Context, s *sqlite.Store, rows []lease.Lease, i int) (err error) {
		row := &rows[i%len(rows)]
		next := *row
		next.Checkpoint = checkpoint.State{Position: stream.After(stream.MakeSequence(1, 1, uint64(i)))}
		*row, err = s.Swap(ctx, *row, next)
		return err
	}
	var me lease.Member
	return b.compare(ctx, leasesCase(n),
		contender{beats, func(ctx context.Context, dir string) (figures, error) {
			me = lease.Member{}
			f, err := written(1, func(ctx context.Context, s *sqlite.Store, _ []lease.Lease, _ int) (err error) {
				next := me
				next.Incarnation, next.Beats = "w#1", me.Beats+1
				me, err = s.SwapMember(ctx, me, next)
				return err
			})(ctx, dir)
			if err == nil {
				f[coreShare] = f[cpuPerWrite] / 1e6 / beatEvery.Seconds()
			}
			return f, err
		}},
		contender{checkpoints, written(atOnce, saved)},
		contender{checkpoint1, written(1, saved)},
		contender{coordinator, func(ctx context.Context, dir string) (figures, error) { return b.coordinates(ctx, dir, n) }},
	)
}

// writes measures writes to a store that holds so many leases of one worker, by so
// many goroutines at a time.
func (b *bench) writes(ctx context.Context, dir string, leases, writes, together int, write func(context.Context, *sqlite.Store, []lease.Lease, int) error) (f figures, err error) {
	s, err := openLeases(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	rows := make([]lease.Lease, leases)
	for i, r := range stream.SplitHashSpace(leases) {
		shard := stream.Shard{ID: fmt.Sprintf("shardId-%012d", i), Hash: r}
		rows[i] = lease.Taken(lease.NewLease("clicks", "clicks:1", shard, stream.TrimHorizon), "w#1")
	}
	if err := s.Create(ctx, rows...); err != nil {
		return nil, err
	}
	var watch stopwatch
	watch.start()
	var shards errgroup.Group
	for first := range together {
		shards.Go(func() error {
			for i := first; i < writes; i += together {
				if err := write(ctx, s, rows, i); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := shards.Wait(); err != nil {
		return nil, err
	}
	u := watch.stop()
	return figures{
		cpuPerWrite: float64(u.cpu.Microseconds()) / float64(writes),
		perWrite:    float64(u.wall.Microseconds()) / float64(writes),
	}, nil
}

// openLeases opens a file whose writes do not wait for the disk, which is not
// what is measured.
func openLeases(ctx context.Context, dir string) (*sqlite.Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return sqlite.Open(ctx, filepath.Join(dir, "leases.db"), sqlite.Config{Application: "bench", MayForgetOnPowerCut: true})
}

// coordinates measures a worker at rest that holds so many leases, and leads.
func (b *bench) coordinates(ctx context.Context, dir string, n int) (f figures, err error) {
	m, err := logs.OpenMillrace(ctx, filepath.Join(dir, "engine"), engine.Config{}, engine.StreamConfig{Shards: n})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	s, err := openLeases(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	c, err := lease.NewCoordinator(lease.Config{Application: "bench", Store: s, Streams: []stream.Stream{m.Stream}, Logger: logs.Quiet})
	if err != nil {
		return nil, err
	}
	var held atomic.Int64
	all := make(chan struct{})
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var worker sync.WaitGroup
	var ran error
	worker.Go(func() {
		ran = c.Run(ctx, func(ctx context.Context, h lease.Hold) error {
			if held.Add(1) == int64(n) {
				close(all)
			}
			select {
			case <-ctx.Done():
			case <-h.Draining():
			}
			return nil
		})
	})
	select {
	case <-all:
		f, err = b.rest(ctx)
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	stop()
	worker.Wait()
	return f, errors.Join(err, ran)
}
