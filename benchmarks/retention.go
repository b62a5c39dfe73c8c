package main

import (
	"context"
	"time"
)

var retentionBenchmark = benchmark{
	name:    "retention",
	about:   "durable puts while expired records are taken away all the time, against puts with nothing to take away",
	columns: []string{recordRate, latency("", 50), latency("", 99), latency("", 99.9), cpuPerRecord},
	run:     runRetention,
}

const (
	retentionOff = "nothing expires"
	retentionOn  = "records expire after 300 ms"
)

const loadLasts = 3 * time.Second

var disturbed = []load{{256, 1, 1024, 16}, {16, 500, 1024, 16}}

// runRetention compares a log that grows with one that goes round.
func runRetention(ctx context.Context, b *bench) error {
	b.note("Loads run %v. Files of expired records are written again, which a disk likes better than new ones. Neither rewrites its log by shards.", b.lasts(loadLasts))
	loads := disturbed
	if b.quick {
		loads = loads[1:]
	}
	for _, l := range loads {
		if err := b.compare(ctx, durable(l),
			b.timed(retentionOff, l, openMillrace(logAlone, l.shards), recycledWarms, loadLasts),
			b.timed(retentionOn, l, openRecycled(logAlone, recycledKeeps, l.shards), recycledWarms, loadLasts),
		); err != nil {
			return err
		}
	}
	return nil
}
