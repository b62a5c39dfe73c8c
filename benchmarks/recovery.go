package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/millrace/millrace/benchmarks/internal/disk"
	"github.com/millrace/millrace/benchmarks/internal/logs"
	"github.com/millrace/millrace/engine"
)

var recoveryBenchmark = benchmark{
	name:    "recovery",
	about:   "opening an engine on what is on its disk, cold and warm, beside reading the same bytes",
	columns: []string{openTime, recordRate, byteRate, readBytes, cpuPerRecord},
	run:     runRecovery,
}

// readBytes is how much of the files was looked at, from the disk or the page cache.
const readBytes = "read MB"

// Who opens.
const (
	openCold = "open, cold"
	openWarm = "open, warm"
)

const (
	unwrittenBytes = 256 << 20 // as much log as is not yet rewritten, by default
	largeBytes     = 10 << 30
)

var (
	unwrittenLogs = []load{{8, 500, 1024, 1}, {8, 500, 100, 4096}}
	largeStream   = load{8, 500, 1024, 256}
)

func recoveryCase(l load, bytes int64) string {
	amount := fmt.Sprintf("%d MiB", bytes>>20)
	if bytes >= 1<<30 {
		amount = fmt.Sprintf("%.3g GiB", float64(bytes)/(1<<30))
	}
	return fmt.Sprintf("%s of %s, %s", amount, sizeName(l.size), shardsName(l.shards))
}

func runRecovery(ctx context.Context, b *bench) error {
	for _, l := range unwrittenLogs {
		if err := b.recoveryCase(ctx, l, int64(b.amount(unwrittenBytes)), logAlone, false); err != nil {
			return err
		}
	}
	free, err := disk.Free(b.dir)
	if err != nil {
		return err
	}
	// While it is rewritten it takes three times its size, with what pushes it.
	bytes := min(int64(b.amount(largeBytes)), free/4)
	if bytes < int64(b.amount(largeBytes)) {
		b.note("The large stream is no larger than a quarter of the %d GiB that the disk had free.", free>>30)
	}
	return b.recoveryCase(ctx, largeStream, bytes, engine.Config{}, true)
}

// recoveryCase writes a stream once, rewritten by shards or as it comes, and
// opens it in each round.
func (b *bench) recoveryCase(ctx context.Context, l load, bytes int64, cfg engine.Config, rewritten bool) error {
	name, open := recoveryCase(l, bytes), filled
	if rewritten {
		name, open = name+", rewritten", b.rewritten
	}
	if !b.wants(name) {
		return nil
	}
	dir, done, err := b.temp()
	if err != nil {
		return err
	}
	defer done()
	dir = filepath.Join(dir, "engine")
	m, n, err := open(ctx, dir, cfg, l, int(bytes))
	if err == nil {
		err = m.Close()
	}
	if err != nil {
		return err
	}
	return b.compare(ctx, name,
		contender{openCold, func(ctx context.Context, _ string) (figures, error) {
			how, err := disk.DropCaches(dir)
			if err != nil {
				return nil, err
			}
			b.note("Cold: before the opening the page cache is dropped by %s.", how)
			return opening(ctx, dir, cfg, n, l.size)
		}},
		contender{openWarm, func(ctx context.Context, _ string) (figures, error) {
			if _, err := disk.ReadAll(dir, wholeStream); err != nil { // into the page cache
				return nil, err
			}
			return opening(ctx, dir, cfg, n, l.size)
		}},
		contender{rawColdRead, func(context.Context, string) (figures, error) {
			if _, err := disk.DropCaches(dir); err != nil {
				return nil, err
			}
			begin := time.Now()
			read, err := disk.ReadAll(dir, wholeStream)
			took := time.Since(begin).Seconds()
			return figures{openTime: took, byteRate: float64(read) / 1e6 / took, readBytes: float64(read) / 1e6}, err
		}},
	)
}

// opening is how long it takes until the engine can be read and written.
func opening(ctx context.Context, dir string, cfg engine.Config, n, size int) (f figures, err error) {
	begin, used, before := time.Now(), cpuTime(), bytesRead()
	m, err := logs.OpenMillrace(ctx, dir, cfg, engine.StreamConfig{})
	if err != nil {
		return nil, err
	}
	u := usage{wall: time.Since(begin), cpu: cpuTime() - used}
	defer func() { err = errors.Join(err, m.Close()) }()
	f = figures{readBytes: float64(bytesRead()-before) / 1e6, openTime: u.wall.Seconds(), byteRate: float64(n*size) / 1e6 / u.wall.Seconds()}
	u.perRecord(f, n)
	return f, nil
}

// bytesRead is how much this process has read so far by system calls.
func bytesRead() (n int64) {
	text, err := os.ReadFile("/proc/self/io")
	if err == nil {
		_, _ = fmt.Sscanf(string(text), "rchar: %d", &n)
	}
	return n
}
