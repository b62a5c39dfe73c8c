package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/millrace/millrace/benchmarks/internal/disk"
	"github.com/millrace/millrace/benchmarks/internal/logs"
	"github.com/millrace/millrace/engine"
)

// Who is compared.
const (
	millrace         = "Millrace"
	millraceRecycled = "Millrace, recycled files"
	millraceLog      = "Millrace, log alone"
	millraceOne      = "Millrace, log alone, 1 shard"
	raftWAL          = "raft-wal + group commit"
	pebbleSync       = "Pebble, Sync"
	pebbleNoSync     = "Pebble, NoSync"
	natsAlways       = "NATS, sync always"
	natsBatches      = "NATS, sync always, atomic batches"
	natsDefault      = "NATS, default"
	filesSynced      = "file per shard, fdatasync each"
	filesSyncfs      = "file per shard, one syncfs"
	rawRecycled      = "bare disk, " + string(disk.Recycled)
	rawAllocated     = "bare disk, " + string(disk.Allocated)
)

var putBenchmark = benchmark{
	name:    "put",
	about:   "puts by closed-loop callers, each answered when it is durable (or written, where it says so), against other logs and the bare disk",
	columns: []string{recordRate, byteRate, latency("", 50), latency("", 99), cpuPerRecord},
	run:     runPut,
}

// The loads of the put benchmark, and its cases, by name: goals refer to them.
var (
	putSingles  = []load{{1, 1, 1024, 1}, {16, 1, 1024, 1}, {256, 1, 1024, 1}, {1, 1, 100, 1}, {16, 1, 100, 1}, {256, 1, 100, 1}}
	putBatches  = []load{{16, 500, 1024, 1}, {16, 500, 100, 1}}
	putScaling  = []int{16, 256, 4096}
	scaledLoads = []load{{256, 1, 1024, 1}, {16, 500, 1024, 1}}
	putRelaxed  = load{4, 500, 1024, 1}
)

func durable(l load) string { return "durable, " + l.String() }
func relaxed(l load) string { return "not durable, " + l.String() }

func runPut(ctx context.Context, b *bench) error {
	b.note("A load is record size, callers × records of each put, shards. Loads run %v after a warm-up, on a new directory each round.", b.lasts(putLasts))
	b.note("%q has its log files from retention, which is running, as in a log that is older than its retention; %q begins with none.", millraceRecycled, millrace)
	b.note("%q does not rewrite its log by shards in the background, which the others do when their blocks are small; see `rewrite`.", millraceLog)
	b.note("The bare disk writes, with one thread and one fdatasync each, groups of half of what the load has in flight.")
	singles, batches, shards := putSingles, putBatches, putScaling
	if b.quick {
		singles, batches, shards = singles[:1], batches[:1], shards[1:2]
	}
	for _, l := range append(singles, batches...) {
		who := []contender{
			b.putTo(millrace, l, openMillrace(engine.Config{}, l.shards)),
			b.putTo(raftWAL, l, openRaftWAL),
			b.putTo(pebbleSync, l, openPebble(true)),
			b.putTo(natsAlways, l, openNATS(true, false)),
			b.rawDisk(disk.Recycled, l),
			b.rawDisk(disk.Allocated, l),
		}
		if l.batch > 1 {
			who = append(who, b.putTo(natsBatches, l, openNATS(true, true)))
		}
		if l.callers*l.batch >= 256 { // fewer do not fill a file in time
			who = append(who, b.putTo(millraceRecycled, l, openRecycled(logAlone, recycledKeeps, l.shards)))
		}
		if slices.Contains(scaledLoads, l) {
			who = append(who, b.putTo(filesSynced, l, openFiles(1, false)))
		}
		if err := b.compare(ctx, durable(l), who...); err != nil {
			return err
		}
	}
	for _, n := range shards {
		for _, l := range scaledLoads {
			l.shards = n
			who := []contender{
				b.putTo(millrace, l, openMillrace(engine.Config{}, n)),
				b.putTo(millraceLog, l, openMillrace(logAlone, n)),
				b.putTo(millraceOne, l, openMillrace(logAlone, 1)),
				b.putTo(filesSynced, l, openFiles(n, false)),
				b.putTo(filesSyncfs, l, openFiles(n, true)),
				b.putTo(pebbleSync, l, openPebble(true)),
			}
			if l.batch == 1 { // a batch takes seconds
				who = append(who, b.putTo(natsAlways, l, openNATS(true, false)))
			}
			if err := b.compare(ctx, durable(l), who...); err != nil {
				return err
			}
		}
	}
	return b.compare(ctx, relaxed(putRelaxed),
		b.putTo(millrace, putRelaxed, openMillrace(engine.Config{Durability: engine.LoseOnPowerFailure}, 1)),
		b.putTo(millraceRecycled, putRelaxed, openRecycled(engine.Config{ChunkBytes: -1, Durability: engine.LoseOnPowerFailure}, recycledKeeps, 1)),
		b.putTo(pebbleNoSync, putRelaxed, openPebble(false)),
		b.putTo(natsDefault, putRelaxed, openNATS(false, false)),
	)
}

const (
	putLasts = 1500 * time.Millisecond
	putWarms = 400 * time.Millisecond
	// recycledKeeps is how long records are kept where files are to be used again,
	// and recycledWarms so much longer that the log has as many files from
	// retention as it uses.
	recycledKeeps = 300 * time.Millisecond
	recycledWarms = 3 * time.Second
)

type opener func(ctx context.Context, dir string) (logs.Log, error)

// putTo is a contender that puts to a new log.
func (b *bench) putTo(who string, l load, open opener) contender {
	if who == millraceRecycled {
		return b.timed(who, l, open, recycledWarms, putLasts)
	}
	return b.timed(who, l, open, putWarms, putLasts)
}

func (b *bench) timed(who string, l load, open opener, warm, lasts time.Duration) contender {
	return contender{who, func(ctx context.Context, dir string) (f figures, err error) {
		log, err := open(ctx, dir)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, log.Close()) }()
		return l.run(ctx, log, b.lasts(warm), b.lasts(lasts))
	}}
}

// rawDisk is a contender that writes what the load would, and no more.
func (b *bench) rawDisk(kind disk.Kind, l load) contender {
	return contender{"bare disk, " + string(kind), func(ctx context.Context, dir string) (f figures, err error) {
		group := max(4096, l.callers*l.batch*l.size/2)
		ring, err := disk.OpenRing(dir, kind, b.rawSize(kind, group), group)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, ring.Close()) }()
		if kind == disk.Recycled { // an allocated file would not stay one
			if _, err := ring.Loop(ctx, b.lasts(putWarms)); err != nil {
				return nil, err
			}
		}
		var watch stopwatch
		watch.start()
		times, err := ring.Loop(ctx, b.lasts(putLasts))
		u := watch.stop()
		if err != nil {
			return nil, err
		}
		each := max(1, l.callers*l.batch/2) // records of one group
		f = figures{byteRate: float64(len(times)*each*l.size) / 1e6 / u.wall.Seconds()}
		u.perRecord(f, len(times)*each)
		distribution(f, "", times)
		return f, nil
	}}
}

// rawSize is how large a file of the bare disk is: a recycled one goes round, an
// allocated one must last as long as it is measured.
func (b *bench) rawSize(kind disk.Kind, group int) int64 {
	size := int64(64 << 20)
	if group > 64<<10 {
		size = 256 << 20
	}
	if kind == disk.Allocated {
		size *= 16
	}
	return max(int64(b.amount(int(size))), 2<<20)
}

// logAlone is an engine that does nothing with its log but write it.
var logAlone = engine.Config{ChunkBytes: -1}

func openMillrace(cfg engine.Config, shards int) opener {
	return func(ctx context.Context, dir string) (logs.Log, error) {
		return logs.OpenMillrace(ctx, dir, cfg, engine.StreamConfig{Shards: shards})
	}
}

// openRecycled opens an engine whose records leave retention so soon that the
// log goes round over files that it has written before.
func openRecycled(cfg engine.Config, keeps time.Duration, shards int) opener {
	return func(ctx context.Context, dir string) (logs.Log, error) {
		cfg.MinRetention = keeps / 3
		return logs.OpenMillrace(ctx, dir, cfg, engine.StreamConfig{Shards: shards, Retention: keeps})
	}
}

func openRaftWAL(_ context.Context, dir string) (logs.Log, error) { return logs.OpenRaftWAL(dir) }

func openPebble(durable bool) opener {
	return func(_ context.Context, dir string) (logs.Log, error) { return logs.OpenPebble(dir, durable) }
}

func openNATS(durable, batches bool) opener {
	return func(ctx context.Context, dir string) (logs.Log, error) {
		return logs.OpenNATS(ctx, dir, durable, batches)
	}
}

func openFiles(shards int, syncfs bool) opener {
	return func(_ context.Context, dir string) (logs.Log, error) { return logs.OpenFiles(dir, shards, syncfs) }
}
