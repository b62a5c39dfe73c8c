package worker

import (
	"context"
	"errors"
	"time"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/lease"
)

// commit tells what the shard costs and, unless that is left to the processor,
// stores finished work: each CheckpointEvery while there is any.
func (c *consumer) commit(ctx context.Context) {
	var idle <-chan time.Time // when nothing has come for loadMemory: once
	for {
		select {
		case <-ctx.Done():
			return
		case <-idle:
			idle = nil
			c.hold.SetLoad(c.load.rate())
			continue
		case <-c.dirty:
		}
		if !pause(ctx, c.moments.wait(time.Now()), nil) {
			return
		}
		c.hold.SetLoad(c.load.rate())
		idle = time.After(loadMemory)
		if c.cfg.ManualCheckpoints {
			continue
		}
		err := c.keeper.Save(ctx)
		switch {
		case err == nil:
		case errors.Is(err, checkpoint.ErrLeaseLost), ctx.Err() != nil:
			return
		default:
			c.log.WarnContext(ctx, "checkpoint not stored, trying again", "err", err)
			select {
			case c.dirty <- struct{}{}:
			default:
			}
		}
	}
}

// moments are those at which the shards of a worker store their checkpoints.
// Where the store makes one write of many that come together, there are few:
//
//	moments   │         │         │         │         │
//	shard 1 ──┼───x─────┼─────────┼─────────●─────────┼─►   x: it has something to store
//	shard 2 ──┼───────x─┼─────────┼─────────●─────────┼─►   ●: it stores that, with the others
//	shard 3 ──┼─────────┼──x──────┼─────────┼─────────●─►
//	              └ not later than Config.CheckpointEvery
//
// Else each shard has its own, so that a store far away is not stormed.
type moments struct {
	every time.Duration // Config.CheckpointEvery: nothing waits for longer
	begin time.Time     // of the first one
	apart time.Duration // 0 where each shard has its own
}

// momentsWithin is how many moments there are in Config.CheckpointEvery. A
// checkpoint comes early by one of these parts at most, and so many times in
// Config.CheckpointEvery all shards together wait for the disk.
const momentsWithin = 10

func newMoments(cfg *Config) *moments {
	m := &moments{every: cfg.CheckpointEvery, begin: time.Now()}
	if store, ok := cfg.Leases.(lease.Grouping); ok && store.GroupsSwaps() {
		m.apart = cfg.CheckpointEvery / momentsWithin
	}
	return m
}

// wait returns for how long a shard that has something to store waits with it: until
// the last moment within every.
func (m *moments) wait(now time.Time) time.Duration {
	if m.apart == 0 {
		return m.every
	}
	return m.every - (now.Sub(m.begin)+m.every)%m.apart
}
