package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/millrace/millrace/stream"
)

// watched is a reader of a shard that may leave its stream while it is read: a
// closed shard does so when its last record leaves retention. Nothing can be read
// of it ever again, and its children wait; so, told of loudly, that is its end.
//
//	Next ──► not found ──► not listed ──── FailoverTime ────► not listed ──► ShardEndError
//
// Only what is read: what was given before is processed first, however long that
// takes.
type watched struct {
	stream.Reader
	c    *consumer
	s    stream.Stream
	last stream.Position // up to which it was read
}

// absent is the reader of a shard that could not be opened, as it was not found.
type absent struct{ err error }

func (a absent) Next(context.Context, *stream.Batch) error { return a.err }
func (a absent) Close() error                              { return nil }

// Next implements [stream.Reader].
func (w *watched) Next(ctx context.Context, b *stream.Batch) error {
	err := w.Reader.Next(ctx, b)
	switch {
	case err == nil && len(b.Records) > 0:
		w.last = stream.After(b.Records[len(b.Records)-1].Sequence)
	case errors.Is(err, stream.ErrShardNotFound):
		b.Reset()
		return w.departed(ctx, err)
	}
	return err
}

// departed returns the end of a shard that the stream does not list any more, and
// did not either some time before; else why, which is what the reader said.
func (w *watched) departed(ctx context.Context, why error) error {
	c, shard := w.c, w.c.shard.ID
	for look := range 2 {
		if look > 0 && !pause(ctx, c.cfg.FailoverTime, nil) {
			return context.Cause(ctx)
		}
		shards, err := w.look(ctx)
		switch {
		case err != nil:
			return fmt.Errorf("see whether %s has left the stream: %w", shard, err)
		case len(shards) == 0 || slices.ContainsFunc(shards, func(s stream.Shard) bool { return s.ID == shard }):
			return why
		case look > 0:
			c.log.ErrorContext(ctx, "shard left the stream before its end was read: the records that were left of it are lost",
				"from", w.last, "err", why)
			c.tel.gap()
			return &stream.ShardEndError{Shard: shard, Children: slices.DeleteFunc(shards, func(s stream.Shard) bool {
				return !slices.Contains(s.Parents, shard)
			})}
		}
	}
	return why
}

// look lists the shards of the incarnation that the lease is about.
func (w *watched) look(ctx context.Context) ([]stream.Shard, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, w.c.cfg.FailoverTime, errSlow)
	defer cancel()
	shards, err := w.s.Shards(ctx)
	if err != nil {
		return nil, err
	}
	switch id, err := w.s.Identity(ctx); {
	case err != nil:
		return nil, err
	case id.ID() != w.c.shard.Stream.ID():
		return nil, fmt.Errorf("%s is %s now: %w", w.c.shard.Stream.ID(), id.ID(), stream.ErrStreamNotFound)
	}
	return shards, nil
}
