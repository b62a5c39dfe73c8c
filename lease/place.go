package lease

import (
	"context"
	"errors"
	"fmt"

	"github.com/millrace/millrace/stream"
)

// place puts concrete positions in the place of LATEST, and makes sure that a
// sequence number is one that its shard has reached: of what came before another
// one nothing would be processed, and nobody would be told.
func (o *Operator) place(ctx context.Context, c *Change) error {
	_, _, numbered := c.Action.To.Sequence()
	if c.Action.To != stream.Latest && !numbered {
		return nil
	}
	known := map[string]stream.Stream{}
	for i, s := range o.cfg.Streams {
		id, err := s.Identity(ctx)
		if err != nil {
			return fmt.Errorf("lease: OperatorConfig.Streams[%d]: %w", i, err)
		}
		known[id.ID()] = s
	}
	problems := make([]error, len(c.Leases))
	parallel(len(c.Leases), func(i int) {
		l := &c.Leases[i]
		switch s := known[l.After.StreamID]; {
		case s != nil && numbered:
			problems[i] = o.reached(ctx, s, *l)
		case s != nil:
			l.After.Checkpoint.Position, problems[i] = s.Pin(ctx, l.After.Shard)
		case numbered:
			o.log.WarnContext(ctx, "nobody has checked the sequence number, since its stream is not given in OperatorConfig.Streams",
				"stream", l.After.Stream, "shard", l.After.Shard, "to", c.Action.To)
		default:
			problems[i] = notPossible("the end of %s is not known without its stream: give it in OperatorConfig.Streams", l.After.StreamID)
		}
	})
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("lease: %v: %w", c.Action, err)
	}
	return nil
}

// reached makes sure that the stream knows the sequence number to which a lease
// is to go, and that its shard has got so far.
func (o *Operator) reached(ctx context.Context, s stream.Stream, l LeaseChange) error {
	shard, to := l.After.Shard, l.After.Checkpoint.Position
	r, err := s.Open(ctx, shard, to)
	if err != nil {
		return err
	}
	if err := r.Close(); err != nil {
		return err
	}
	end, err := s.Pin(ctx, shard)
	if err != nil {
		return err
	}
	number, after, _ := to.Sequence()
	base := stream.At(number.WithSub(0)) // the end is told without the place inside an aggregate
	whole := base
	if after {
		whole = stream.After(number.WithSub(0))
	}
	switch _, _, numbered := end.Sequence(); {
	case numbered && whole.Compare(end) <= 0:
		return nil
	case numbered:
		return beyond(shard, to, fmt.Sprintf("which is at %v", end))
	case to.Compare(l.Before.Checkpoint.Position) <= 0:
		return nil // it was processed already
	default:
		return o.found(ctx, s, shard, to, base)
	}
}

func beyond(shard string, to stream.Position, end string) error {
	return notPossible("%v is beyond the end of %s, %s, so that all records until then would be skipped: compare its digits, or use stream.Latest", to, shard, end)
}

// found makes sure that a shard of which it is only known that it is quiet has a
// record at a place, or behind it.
func (o *Operator) found(ctx context.Context, s stream.Stream, shard string, to, from stream.Position) error {
	looking, cancel := context.WithTimeoutCause(ctx, o.cfg.FailoverTime, errNothingThere)
	defer cancel()
	r, err := s.Open(looking, shard, from)
	if err != nil {
		return err
	}
	defer r.Close()
	err = r.Next(looking, &stream.Batch{MaxRecords: 1, MaxBytes: 1})
	var ended *stream.ShardEndError
	var trimmed *stream.TrimmedError
	switch {
	case err == nil || errors.As(err, &trimmed):
		return nil
	case errors.As(err, &ended), errors.Is(err, errNothingThere):
		return beyond(shard, to, fmt.Sprintf("or no record at it or behind it could be read in %v", o.cfg.FailoverTime))
	default:
		return err
	}
}

var errNothingThere = errors.New("no record came")
