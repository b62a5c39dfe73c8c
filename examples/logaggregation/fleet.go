package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/worker"
)

const (
	workers = 3
	// failover is how long the fleet waits for a silent worker. It is short, so
	// that one sees what happens after -kill; worker.Config has a calmer default.
	failover = 2 * time.Second
)

// fleet is three workers that count the lines of one stream.
type fleet struct {
	tally   *tally
	members []*member

	counted atomic.Int64 // lines, since the fleet was made
	repeats atomic.Int64 // lines that came again and were not counted again
	armed   atomic.Bool  // the next worker that gets lines is killed
	news    chan struct{}
}

// member is one worker of the fleet.
type member struct {
	name    string
	worker  *worker.Worker
	life    *life
	shards  atomic.Int64
	lines   atomic.Int64
	unsaved atomic.Int64 // lines that it counted last, before it was killed
}

func newFleet(s stream.Stream, leases lease.Store, t *tally, log *slog.Logger) (*fleet, error) {
	f := &fleet{tally: t, news: make(chan struct{}, 1)}
	for i := range workers {
		m := &member{name: fmt.Sprint("worker-", i+1), life: &life{}}
		w, err := worker.New(worker.Config{
			Application:     "logaggregation",
			Name:            m.name,
			Streams:         []stream.Stream{s},
			Leases:          mortal(leases, m.life),
			FailoverTime:    failover,
			CheckpointEvery: time.Second,
			Drain:           5 * time.Second,
			Logger:          log,
			Processor: func(shard processors.Shard) processors.RecordProcessor {
				return &counter{fleet: f, member: m, shard: shard.ID}
			},
		})
		if err != nil {
			return nil, err
		}
		m.worker = w
		f.members = append(f.members, m)
	}
	return f, nil
}

// run runs the workers until ctx is done; then they stop gracefully. An error
// of one that was not killed stops the others.
func (f *fleet) run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var wg sync.WaitGroup
	errs := make([]error, len(f.members))
	for i, m := range f.members {
		wg.Go(func() {
			if err := m.run(ctx); err != nil {
				errs[i] = fmt.Errorf("%s: %w", m.name, err)
				stop(errs[i])
			}
			f.tell()
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (m *member) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	m.life.onEnd(func() { cancel(errKilled) })
	err := m.worker.Run(ctx)
	if m.life.ended() {
		return nil // nobody listens to the dead
	}
	return err
}

// tell wakes whoever watches the fleet.
func (f *fleet) tell() {
	select {
	case f.news <- struct{}{}:
	default:
	}
}

// ready waits until every worker holds a shard, or has had the time for it.
func (f *fleet) ready(ctx context.Context) error {
	patience := time.NewTimer(5 * failover)
	defer patience.Stop()
	for {
		idle := 0
		for _, m := range f.members {
			if m.shards.Load() == 0 {
				idle++
			}
		}
		if idle == 0 {
			return nil
		}
		select {
		case <-f.news:
		case <-patience.C:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// counter counts the lines of one shard. It is a processor.
type counter struct {
	processors.Base
	fleet  *fleet
	member *member
	shard  string
	lines  []numbered // memory for one batch
}

// Initialize tells that the shard is in hand.
func (c *counter) Initialize(context.Context, processors.Start) error {
	c.member.shards.Add(1)
	c.fleet.tell()
	return nil
}

// ProcessRecords counts a batch. The order matters: first the tally, in one
// transaction, then, by returning nil, the checkpoint. A crash between the two
// gives the batch again, and the tally's marks know it.
func (c *counter) ProcessRecords(ctx context.Context, batch *processors.Batch) error {
	c.lines = c.lines[:0]
	for i := range batch.Records {
		line, err := decode(batch.Records[i].Data)
		if err != nil {
			return fmt.Errorf("record %v: %w", batch.Records[i].Sequence, err)
		}
		c.lines = append(c.lines, line)
	}
	if c.member.life.ended() {
		return errKilled
	}
	added, err := c.fleet.tally.add(ctx, c.shard, c.lines, time.Now())
	if err != nil {
		return err
	}
	c.member.lines.Add(int64(added.lines))
	c.fleet.repeats.Add(int64(added.repeats))
	c.fleet.counted.Add(int64(added.lines))
	c.fleet.tell()
	if c.fleet.armed.CompareAndSwap(true, false) {
		c.member.unsaved.Store(int64(added.lines))
		c.member.life.end() // the worst moment: counted, and no checkpoint says so
		return errKilled
	}
	return nil
}

// ShutdownRequested tells that the shard goes to another worker.
func (c *counter) ShutdownRequested(context.Context, checkpoint.Checkpointer) error {
	c.gone()
	return nil
}

// ShardEnded tells that the shard is done with.
func (c *counter) ShardEnded(context.Context, checkpoint.Checkpointer) error {
	c.gone()
	return nil
}

// LeaseLost tells that the shard has another holder.
func (c *counter) LeaseLost(context.Context, error) { c.gone() }

func (c *counter) gone() {
	c.member.shards.Add(-1)
	c.fleet.tell()
}

// dead returns the worker that was killed, or nil.
func (f *fleet) dead() *member {
	for _, m := range f.members {
		if m.life.ended() {
			return m
		}
	}
	return nil
}
