package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/millrace/millrace/benchmarks/internal/logs"
	"github.com/millrace/millrace/engine"
)

var rewriteBenchmark = benchmark{
	name:    "rewrite",
	about:   "durable puts while the log is rewritten by shards in the background, against the log alone",
	columns: []string{recordRate, latency("", 50), latency("", 99), latency("", 99.9), cpuPerRecord, rewrittenBytes},
	run:     runRewrite,
}

// rewrittenBytes is what was written a second time and is kept at the end of a load.
const rewrittenBytes = "rewritten MB"

const (
	rewriteWarms = 1500 * time.Millisecond // until there is enough to rewrite
	rewriteLasts = 3 * time.Second
)

// rewrittenLoads scatter small blocks of many shards over the log.
var rewrittenLoads = []load{{256, 1, 1024, 4096}, {16, 500, 1024, 4096}, {16, 500, 1024, 16}, {4, 500, 1024, 4096}}

func runRewrite(ctx context.Context, b *bench) error {
	b.note("Loads run %v after %v, by which time the rewrite is under way. Nothing has left retention, so that all files are new.", b.lasts(rewriteLasts), b.lasts(rewriteWarms))
	loads, on := rewrittenLoads, engine.Config{}
	if b.quick { // so little must be rewritten, too
		loads, on.SegmentBytes, on.ChunkBytes = loads[1:2], 1<<20, 2<<20
	}
	for _, l := range loads {
		if err := b.compare(ctx, durable(l),
			b.rewriting(millraceLog, l, openMillrace(logAlone, l.shards)),
			b.rewriting(millrace, l, openMillrace(on, l.shards)),
		); err != nil {
			return err
		}
	}
	return nil
}

// rewriting is a contender that says how much was rewritten, and is there.
func (b *bench) rewriting(who string, l load, open opener) contender {
	return contender{who, func(ctx context.Context, dir string) (f figures, err error) {
		log, err := open(ctx, dir)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, log.Close()) }()
		if f, err = l.run(ctx, log, b.lasts(rewriteWarms), b.lasts(rewriteLasts)); err == nil {
			f[rewrittenBytes] = float64(log.(*logs.Millrace).Engine.Stats().RewrittenBytes) / 1e6
		}
		return f, err
	}}
}

// rewritten fills a new engine in dir like filled, and sees to it that the log
// is rewritten by shards.
func (b *bench) rewritten(ctx context.Context, dir string, cfg engine.Config, l load, total int) (m *logs.Millrace, n int, err error) {
	if b.quick {
		cfg.SegmentBytes, cfg.ChunkBytes = 1<<20, 2<<20
	}
	filling := cfg
	filling.Durability = engine.LoseOnPowerFailure
	if m, err = logs.OpenMillrace(ctx, dir, filling, engine.StreamConfig{Shards: l.shards}); err != nil {
		return nil, 0, err
	}
	for n < total/l.size && err == nil {
		var filled int
		filled, err = fill(ctx, m, l, min(fillStep, total-n*l.size))
		n += filled
		if err == nil {
			err = keepUp(ctx, dir)
		}
	}
	if err == nil {
		err = pushOut(ctx, m, dir)
	}
	if err = errors.Join(err, m.Close()); err != nil {
		return nil, 0, err
	}
	m, err = logs.OpenMillrace(ctx, dir, cfg, engine.StreamConfig{})
	return m, n, err
}

const (
	// fillStep is put at once into a log that is to be rewritten, and behindFiles
	// is how many files it may have before more is put: enough for the rewrite to
	// go as fast as it can.
	fillStep    = 256 << 20
	behindFiles = 24
	// lookEach is how often it is looked how far the rewrite is, and looks how
	// often before it counts as stuck.
	lookEach = 50 * time.Millisecond
	looks    = 2000
)

// keepUp waits until the rewrite is not far behind.
func keepUp(ctx context.Context, dir string) error {
	for range looks {
		files, err := logFiles(dir)
		if err != nil || len(files) <= behindFiles {
			return err
		}
		if err := pause(ctx, lookEach); err != nil {
			return err
		}
	}
	return fmt.Errorf("the log has more than %d files after %v", behindFiles, looks*lookEach)
}

// pushOut appends to another stream until every file that the log has now is
// rewritten: how fast that is done depends on how fast the log grows. The other
// stream has one shard and comes in large blocks, which need no rewriting.
func pushOut(ctx context.Context, m *logs.Millrace, dir string) error {
	before, err := logFiles(dir)
	if err != nil {
		return err
	}
	// The last file is empty, and in the one before it the two streams meet: it
	// may be closed without being rewritten.
	before = before[:max(0, len(before)-2)]
	other, err := m.Engine.CreateStream(ctx, "filler", engine.StreamConfig{})
	if err != nil {
		return err
	}
	filler := &logs.Millrace{Engine: m.Engine, Stream: other}
	const atOnce, most = 16 << 20, 8 << 30
	for pushed := 0; pushed < most; pushed += atOnce {
		now, err := logFiles(dir)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(now, func(name string) bool { return slices.Contains(before, name) }) {
			return pause(ctx, time.Second) // for the filler to be closed, too
		}
		if _, err := fill(ctx, filler, load{1, 500, 1024, 1}, atOnce); err != nil {
			return err
		}
		if err := pause(ctx, lookEach); err != nil {
			return err
		}
	}
	return fmt.Errorf("the log is not rewritten after %d MiB more", most>>20)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// logFiles are the names of the log's files, in order.
func logFiles(dir string) ([]string, error) { return filepath.Glob(filepath.Join(dir, "*.log")) }
