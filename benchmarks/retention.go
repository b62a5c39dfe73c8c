package main

import (
	"context"
	"time"

	"github.com/millrace/millrace/engine"
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
	b.note("Loads run %v. Files of expired records are written again, which a disk likes better than new ones.", b.lasts(loadLasts))
	loads := disturbed
	if b.quick {
		loads = loads[1:]
	}
	for _, l := range loads {
		if err := b.compare(ctx, durable(l),
			b.loaded(retentionOff, l, openMillrace(engine.Config{}, l.shards)),
			b.loaded(retentionOn, l, openRecycled(l.shards)),
		); err != nil {
			return err
		}
	}
	return nil
}

// loaded is a contender under a load that lasts long enough for what goes on in
// the background to be met.
func (b *bench) loaded(who string, l load, open opener) contender {
	return b.timed(who, l, open, recycledWarms, loadLasts)
}
