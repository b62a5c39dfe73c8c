package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stream"
)

// consumer works on one shard for one term. Its processor is called from the
// goroutine of [consumer.run] only; beside it run a fetcher, which reads ahead,
// and a committer, which stores checkpoints.
type consumer struct {
	cfg       *Config
	hold      lease.Hold
	shard     processors.Shard
	processor processors.RecordProcessor
	tracker   *checkpoint.Tracker
	keeper    *checkpoint.Keeper
	log       *slog.Logger
	tel       *shardTelemetry

	// random is the jitter of the goroutine of run.
	random *rand.Rand

	// dirty wakes the committer; it holds one token while there is something
	// to store.
	dirty chan struct{}
	load  loadMeter
}

// errDraining ends an attempt that would otherwise be repeated.
var errDraining = errors.New("the shard is being handed over")

// run is the life of a term: initialize, process, and one of three ends.
func (c *consumer) run(ctx context.Context, reader stream.Reader, limits func() limits) error {
	start := processors.Start{Shard: c.shard, Checkpoint: c.hold.Lease().Checkpoint}
	err := c.retry(ctx, "initialize", func(int) error { return c.processor.Initialize(ctx, start) })
	if err != nil {
		// No callback follows one that never succeeded: what the processor
		// did not begin it need not end.
		return c.unfinished(ctx, err)
	}

	end, err := c.work(ctx, reader, limits)
	switch {
	case ctx.Err() != nil:
		c.lost(ctx)
		return nil
	case end != nil:
		return c.ended(ctx, end)
	default:
		return errors.Join(err, c.handOver(ctx))
	}
}

// work processes batches until the shard ends (end is not nil), is to be handed
// over (both nil), cannot be read any more (err), or ctx is done.
func (c *consumer) work(ctx context.Context, reader stream.Reader, limits func() limits) (end *stream.ShardEndError, err error) {
	f := newFetcher(reader, limits, c.log, c.cfg.random(c.shard, "fetcher"), c.tel.trimmedGap)
	helpers, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { f.run(helpers) })
	if !c.cfg.ManualCheckpoints {
		wg.Go(func() { c.commit(helpers) })
	}
	defer wg.Wait()
	defer stop()

	batch := processors.Batch{Shard: &c.shard, Checkpointer: c.keeper}
	for {
		// Among several that are ready a select draws lots; the end of the term
		// goes before the next batch.
		if over(ctx, c.hold) {
			return nil, nil
		}
		select {
		case <-ctx.Done():
			return nil, nil
		case <-c.hold.Draining():
			return nil, nil
		case got := <-f.ready:
			if errors.As(got.err, &end) {
				return end, nil
			}
			if got.err != nil {
				return nil, got.err
			}
			if err := c.process(ctx, &batch, got.batch); err != nil {
				return nil, nil // draining, or ctx is done
			}
			f.recycle(got.batch)
		}
	}
}

// over reports whether the shard is lost or to be handed over.
func over(ctx context.Context, h lease.Hold) bool {
	select {
	case <-h.Draining():
		return true
	default:
		return ctx.Err() != nil
	}
}

// process gives one batch to the processor until it is done.
func (c *consumer) process(ctx context.Context, batch *processors.Batch, b *stream.Batch) error {
	batch.Records, batch.Behind = b.Records, b.Behind
	last := b.Records[len(b.Records)-1].Sequence
	n := c.tracker.Deliver(last)
	if err := c.attempt(ctx, batch, b, 1); err != nil {
		// Only trouble pays for what tells of it.
		err = c.again(ctx, "process records", err, func(attempt int) error {
			return c.attempt(ctx, batch, b, attempt)
		}, slog.Any("first", b.Records[0].Sequence), slog.Any("last", last))
		if err != nil {
			return err
		}
	}
	c.tracker.Done(n)
	c.load.add(b.Bytes, len(b.Records))
	select {
	case c.dirty <- struct{}{}:
	default:
	}
	return nil
}

// attempt gives the batch to the processor once.
func (c *consumer) attempt(ctx context.Context, batch *processors.Batch, b *stream.Batch, attempt int) error {
	batch.Attempt = attempt
	call := c.tel.begin(ctx)
	err := c.processor.ProcessRecords(call.ctx, batch)
	call.end(b, err)
	return err
}

// retry calls f until it returns nil, or [consumer.again] gives up.
func (c *consumer) retry(ctx context.Context, what string, f func(attempt int) error) error {
	if err := f(1); err != nil {
		return c.again(ctx, what, err, f)
	}
	return nil
}

// again calls f, whose first attempt has failed, until it returns nil. It gives
// up only with the shard: when ctx is done, or between two attempts when the
// shard is to be handed over.
func (c *consumer) again(ctx context.Context, what string, err error, f func(attempt int) error, attrs ...any) error {
	c.tel.setBlocked(true)
	defer c.tel.setBlocked(false)
	var wait time.Duration
	for attempt := 1; ctx.Err() == nil; attempt++ {
		wait = c.cfg.Retry.Next(c.random, wait)
		log := c.log.With(attrs...)
		if p := (*processors.PanicError)(nil); errors.As(err, &p) {
			log = log.With("stack", string(p.Stack))
		}
		log.WarnContext(ctx, what+" failed, trying again: the shard waits", "err", err, "attempt", attempt, "wait", wait)
		if !pause(ctx, wait, c.hold.Draining()) {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return fmt.Errorf("%s: %w: %w", what, errDraining, err)
		}
		c.tel.retried()
		if err = f(attempt + 1); err == nil {
			c.log.InfoContext(ctx, what+" succeeded again", "attempt", attempt+1)
			return nil
		}
	}
	return context.Cause(ctx)
}

// commit stores finished work, each CheckpointEvery while there is any.
func (c *consumer) commit(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.dirty:
		}
		if !pause(ctx, c.cfg.CheckpointEvery, nil) {
			return
		}
		c.hold.SetLoad(c.load.rate())
		err := c.tel.checkpoint(ctx, c.keeper.Save)
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

// ended is the end of a shard that was read to its end: the processor is asked
// to finish, then the end is stored, so that the children may begin.
func (c *consumer) ended(ctx context.Context, end *stream.ShardEndError) error {
	err := c.retry(ctx, "shard ended", func(int) error { return c.processor.ShardEnded(ctx, c.keeper) })
	if err == nil {
		err = c.retry(ctx, "store the shard's end", func(int) error { return c.hold.End(ctx, end.Children) })
	}
	switch {
	case err == nil:
		c.log.InfoContext(ctx, "shard ended", "children", len(end.Children))
		return nil
	case ctx.Err() != nil:
		c.lost(ctx)
		return nil
	default:
		return c.unfinished(ctx, err)
	}
}

// handOver ends a term so that the next one repeats nothing.
func (c *consumer) handOver(ctx context.Context) error {
	if err := c.processor.ShutdownRequested(ctx, c.keeper); err != nil {
		c.log.WarnContext(ctx, "shutdown requested: the processor failed", "err", err)
	}
	return c.unfinished(ctx, nil)
}

// unfinished gives the lease up with what is done so far.
func (c *consumer) unfinished(ctx context.Context, why error) error {
	if errors.Is(why, errDraining) {
		why = nil // the trouble was logged when it happened
	}
	var wait time.Duration
	for ctx.Err() == nil {
		c.hold.SetLoad(c.load.rate())
		final := c.keeper.Final(!c.cfg.ManualCheckpoints)
		err := c.tel.checkpoint(ctx, func(ctx context.Context) error { return c.hold.Release(ctx, final) })
		if err == nil || errors.Is(err, checkpoint.ErrLeaseLost) {
			return errors.Join(why, err)
		}
		wait = c.cfg.Retry.Next(c.random, wait)
		c.log.WarnContext(ctx, "the lease could not be released, trying again", "err", err, "wait", wait)
		pause(ctx, wait, nil)
	}
	return why
}

// lostGrace is how long LeaseLost may take: it holds up the worker's return to
// work after a loss, so it is short.
const lostGrace = 5 * time.Second

func (c *consumer) lost(ctx context.Context) {
	cause := context.Cause(ctx)
	c.log.WarnContext(ctx, "shard lost", "err", cause)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lostGrace)
	defer cancel()
	c.processor.LeaseLost(ctx, cause)
}

// loadMeter smooths what a shard costs, over about a minute.
type loadMeter struct {
	mu      sync.Mutex
	since   time.Time
	bytes   int
	records int
	smooth  lease.Load
}

const loadMemory = time.Minute

func (m *loadMeter) add(bytes, records int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bytes += bytes
	m.records += records
}

// rate closes a measuring period and returns the smoothed load.
func (m *loadMeter) rate() lease.Load {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if m.since.IsZero() {
		m.since = now
		return m.smooth
	}
	if d := now.Sub(m.since); d > 0 {
		weight := min(1, d.Seconds()/loadMemory.Seconds())
		m.smooth.BytesPerSecond += weight * (float64(m.bytes)/d.Seconds() - m.smooth.BytesPerSecond)
		m.smooth.RecordsPerSecond += weight * (float64(m.records)/d.Seconds() - m.smooth.RecordsPerSecond)
		m.since, m.bytes, m.records = now, 0, 0
	}
	return m.smooth
}
