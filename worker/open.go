package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/stream/kpl"
)

// open finds the stream that the lease is about, and opens the shard there.
// What cannot be reached is tried again, until the shard is lost or is to be
// handed over (errDraining). What is not there is an error: the lease may be
// better in other hands.
func (c *consumer) open(ctx context.Context, from stream.Position) (reader stream.Reader, err error) {
	asking, stop := c.undrained(ctx)
	defer stop()
	var final error
	err = c.retry(ctx, "open the shard", func() error {
		r, err := c.openOnce(asking, from)
		switch {
		case err == nil:
			reader = r
		case errors.Is(context.Cause(asking), errDraining):
			final = errDraining
		case hopeless(err):
			final = err
		default:
			return err
		}
		return nil
	})
	return reader, errors.Join(err, final)
}

var errSlow = errors.New("stream: no answer in FailoverTime")

func (c *consumer) openOnce(ctx context.Context, from stream.Position) (stream.Reader, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.FailoverTime, errSlow)
	defer cancel()
	row := c.hold.Lease()
	s, id, err := c.find(ctx, row.StreamID)
	if err != nil {
		return nil, fmt.Errorf("find the stream %s: %w", row.StreamID, err)
	}
	c.shard.Stream = id
	reader, err := kpl.Open(ctx, s, stream.Shard{ID: row.Shard, Hash: row.Hash}, from, c.aggregates())
	if err != nil {
		err = fmt.Errorf("open %s of %s at %v: %w", row.Shard, row.StreamID, from, err)
		if !errors.Is(err, stream.ErrShardNotFound) {
			return nil, err
		}
		reader = absent{err}
	}
	return &watched{Reader: reader, c: c, s: s, last: from}, nil
}

// aggregates says how records that carry many are read, and tells of them.
func (c *consumer) aggregates() kpl.Options {
	told := false
	return kpl.Options{Policy: c.cfg.Aggregates, Count: func(unpacked, outOfRange int) {
		c.tel.unpacked(unpacked, outOfRange)
		if outOfRange > 0 && !told {
			told = true // the metric tells how many
			c.log.Warn("records inside of aggregates belong to other shards: their producer took this shard for another one", "records", outOfRange, "policy", c.cfg.Aggregates)
		}
	}}
}

// hopeless reports whether a stream answered, and no waiting will change what.
func hopeless(err error) bool {
	return errors.Is(err, stream.ErrStreamNotFound) || errors.Is(err, stream.ErrShardNotFound) || errors.Is(err, stream.ErrClosed)
}

// undrained returns a context that ends with ctx, and with errDraining when the
// shard is to be handed over, until stop is called.
func (c *consumer) undrained(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-c.hold.Draining():
			cancel(errDraining)
		case <-ctx.Done():
		}
	})
	return ctx, func() {
		cancel(nil)
		wg.Wait()
	}
}

// find returns the stream that is that incarnation. The one that was it when the
// worker last asked is asked alone: a thousand shards that are opened in a deploy
// are to put a thousand questions, however many streams there are, since a service
// answers few of them.
func (c *consumer) find(ctx context.Context, id string) (stream.Stream, stream.Identity, error) {
	if at := slices.Index(c.known(), id); at >= 0 {
		s := c.cfg.Streams[at]
		present, err := s.Identity(ctx)
		if err == nil && present.ID() == id || err != nil && !errors.Is(err, stream.ErrStreamNotFound) {
			return s, present, err
		}
	}
	return find(ctx, c.cfg.Streams, id)
}

// find asks the streams which of them is that incarnation: a name alone does
// not tell. All are asked at the same time, so that one that does not answer
// holds up nothing but its own shards. [stream.ErrStreamNotFound] is the error
// only when all have answered.
func find(ctx context.Context, streams []stream.Stream, id string) (stream.Stream, stream.Identity, error) {
	type answer struct {
		stream stream.Stream
		id     stream.Identity
		err    error
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan answer, len(streams))
	for _, s := range streams {
		wg.Go(func() {
			id, err := s.Identity(ctx)
			answers <- answer{s, id, err}
		})
	}
	var unknown error
	for range streams {
		switch a := <-answers; {
		case a.err == nil && a.id.ID() == id:
			return a.stream, a.id, nil
		case a.err != nil && !errors.Is(a.err, stream.ErrStreamNotFound):
			unknown = errors.Join(unknown, a.err)
		}
	}
	if unknown != nil {
		return nil, stream.Identity{}, unknown
	}
	return nil, stream.Identity{}, fmt.Errorf("none of Config.Streams is it: %w", stream.ErrStreamNotFound)
}
