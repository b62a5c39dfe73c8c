package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
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
	cfg     *Config
	hold    lease.Hold
	shard   processors.Shard
	from    checkpoint.State // with which the term begins
	tracker *checkpoint.Tracker
	keeper  *checkpoint.Keeper
	log     *slog.Logger
	tel     *shardTelemetry
	known   func() []string // the IDs of Config.Streams, as they last answered
	batches *batches

	// made is the processor as the user made it, processor the same with its
	// panics caught.
	made, processor processors.RecordProcessor

	// random is the jitter of the goroutine of run.
	random *rand.Rand

	// dirty wakes the committer; it holds one token while there is something
	// to store.
	dirty   chan struct{}
	moments *moments // of its checkpoints
	load    *loadMeter

	progress progress
	lost     atomic.Bool // the shard is no longer this worker's
}

// errDraining ends an attempt that would otherwise be repeated.
var errDraining = errors.New("the shard is being handed over")

// run is the life of a term: open, initialize, process, and one of three ends.
func (c *consumer) run(ctx context.Context, limits func() limits) error {
	reader, err := c.open(ctx, c.from.Position)
	if err == nil {
		defer reader.Close()
		c.log.InfoContext(ctx, "processing shard", "from", c.from.Position)
		err = c.begin(ctx)
	}
	switch {
	case errors.Is(err, errDraining):
		return nil // there is nothing to store, and the trouble was logged when it happened
	case err != nil:
		return err
	}
	end, err := c.work(ctx, reader, limits)
	return c.finish(ctx, end, err)
}

// finish ends the term in the way that its work ended.
func (c *consumer) finish(ctx context.Context, end *stream.ShardEndError, err error) error {
	switch {
	case ctx.Err() != nil:
		return c.tellLost(ctx)
	case end != nil:
		return c.ended(ctx, end)
	case err != nil:
		// A lease that is not released rests for a while before somebody tries
		// again; what failed here would fail there at once.
		return errors.Join(err, c.handOver(ctx, c.hold.Save))
	default:
		return c.handOver(ctx, c.hold.Release)
	}
}

// begin makes the processor and initializes it.
func (c *consumer) begin(ctx context.Context) error {
	start := processors.Start{Shard: c.shard, Checkpoint: c.from}
	return c.retry(ctx, "initialize", func() error {
		c.tel.standstill.enter("initialize", lot{})
		defer c.tel.standstill.leave()
		if c.made == nil {
			err := processors.Try(func() error {
				c.made = c.cfg.Processor(c.shard)
				return nil
			})
			if err != nil {
				return fmt.Errorf("worker: Config.Processor: %w", err)
			}
			if c.made == nil {
				return errors.New("worker: Config.Processor returned nil: return a RecordProcessor")
			}
			c.processor = processors.Recover(c.made)
		}
		return c.processor.Initialize(ctx, start)
	})
}

// work processes batches until the shard ends (end is not nil), is to be handed
// over (both nil), cannot be read any more (err), or ctx is done.
func (c *consumer) work(ctx context.Context, reader stream.Reader, limits func() limits) (end *stream.ShardEndError, err error) {
	f := newFetcher(reader, limits, c.batches, c.log, c.cfg.random(c.hold, "fetcher"), c.tel)
	helpers, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { f.run(helpers) })
	wg.Go(func() { c.commit(helpers) })
	defer wg.Wait()
	defer stop()

	var batch processors.Batch
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
	last := b.Records[len(b.Records)-1].Sequence
	n := c.tracker.Deliver(last)
	c.progress.began(behind(b, 0))
	if err := c.attempt(ctx, batch, b, n, 1); err != nil {
		return c.struggle(ctx, batch, b, n, err)
	}
	c.done(b, n)
	return nil
}

// done takes note that a batch, which is span n of the tracker, is done.
func (c *consumer) done(b *stream.Batch, n uint64) {
	c.tracker.Done(n)
	c.progress.did(b.Behind)
	c.load.add(b.Bytes, len(b.Records))
	select {
	case c.dirty <- struct{}{}:
	default:
	}
}

// attempt gives the batch, which is span n of the tracker, to the processor once.
func (c *consumer) attempt(ctx context.Context, batch *processors.Batch, b *stream.Batch, n uint64, attempt int) error {
	// All of it is set anew: the processor may have used the former one up.
	*batch = processors.Batch{
		Records: b.Records, Shard: &c.shard, Behind: b.Behind,
		Attempt: attempt, Checkpointer: c.keeper,
	}
	call := c.tel.begin(ctx)
	c.tel.standstill.enter("process records", lotOf(b))
	err := c.processor.ProcessRecords(call.ctx, batch)
	c.tel.standstill.leave()
	call.end(b, err)
	if err != nil {
		c.tracker.Failed(n, true)
	}
	return err
}

// retry calls f until it returns nil, or [consumer.again] gives up.
func (c *consumer) retry(ctx context.Context, what string, f func() error) error {
	err := f()
	if err != nil {
		return c.again(ctx, what, lot{}, err, func(int) (lot, error) { return lot{}, f() })
	}
	return nil
}

// again calls f, whose first attempt has failed, until it returns nil. It gives
// up only with the shard: when ctx is done, with its cause, or between two
// attempts with errDraining, when the shard is to be handed over. What the
// attempts are made with is l at first, and then what f says.
func (c *consumer) again(ctx context.Context, what string, l lot, err error, f func(attempt int) (lot, error)) error {
	blocked := c.tel.standstill.begin(what, l, err)
	defer c.tel.standstill.end(blocked)
	var wait time.Duration
	for attempt := 1; ctx.Err() == nil; attempt++ {
		wait = c.cfg.Retry.Next(c.random, wait)
		log := c.log.With(l.attrs()...)
		log.With(failure(err)...).WarnContext(ctx, what+" failed, trying again: the shard waits", "attempt", attempt, "wait", wait)
		if !pause(ctx, wait, c.hold.Draining()) {
			if ctx.Err() == nil {
				return errDraining
			}
			break
		}
		if l, err = f(attempt + 1); err == nil {
			c.log.With(l.attrs()...).InfoContext(ctx, what+" succeeded again", "attempt", attempt+1)
			return nil
		}
		c.tel.standstill.again(blocked, l, err)
	}
	return context.Cause(ctx)
}

// failure is what a log should say of an error of a processor.
func failure(err error) []any {
	if p := (*processors.PanicError)(nil); errors.As(err, &p) {
		return []any{"err", err, "stack", string(p.Stack)}
	}
	return []any{"err", err}
}

// ended is the end of a shard that was read to its end: the processor is asked
// to finish, then the end is stored, so that the children may begin.
func (c *consumer) ended(ctx context.Context, end *stream.ShardEndError) error {
	err := c.retry(ctx, "shard ended", func() error {
		c.tel.standstill.enter("shard ended", lot{})
		defer c.tel.standstill.leave()
		return c.processor.ShardEnded(ctx, c.keeper)
	})
	switch {
	case err == nil:
		return c.tel.checkpoint(ctx, func(ctx context.Context) error { return c.hold.End(ctx, end.Children) })
	case ctx.Err() != nil:
		return c.tellLost(ctx)
	default:
		return c.handOver(ctx, c.hold.Release)
	}
}

// handOver ends a term so that the next one repeats nothing: it stores, with
// the given call, what is done so far.
func (c *consumer) handOver(ctx context.Context, store func(context.Context, checkpoint.State) error) error {
	c.tel.standstill.enter("shutdown requested", lot{})
	err := c.processor.ShutdownRequested(ctx, c.keeper)
	c.tel.standstill.leave()
	if err != nil {
		c.log.With(failure(err)...).WarnContext(ctx, "shutdown requested: the processor failed")
	}
	c.hold.SetLoad(c.load.rate())
	return c.keeper.Finish(ctx, !c.cfg.ManualCheckpoints, func(ctx context.Context, last checkpoint.State) error {
		return c.tel.checkpoint(ctx, func(ctx context.Context) error { return store(ctx, last) })
	})
}

// lostGrace is how long LeaseLost may take: it holds up the worker's return to
// work after a loss, so it is short.
const lostGrace = 5 * time.Second

// tellLost tells the processor why its shard is lost, and returns that.
func (c *consumer) tellLost(ctx context.Context) error {
	cause := context.Cause(ctx)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lostGrace)
	defer cancel()
	err := processors.Try(func() error {
		c.tel.standstill.enter("lease lost", lot{})
		defer c.tel.standstill.leave()
		c.made.LeaseLost(ctx, cause)
		return nil
	})
	if err != nil {
		c.log.With(failure(err)...).WarnContext(ctx, "lease lost: the processor failed")
	}
	return cause
}
