package worker

import (
	"context"
	"time"

	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stream"
)

// lot is a run of records that are given together; the zero value is none.
type lot struct {
	first, last stream.Sequence
	records     int
}

func lotOf(b *stream.Batch) lot {
	return lot{b.Records[0].Sequence, b.Records[len(b.Records)-1].Sequence, len(b.Records)}
}

// attrs are what a log says of it.
func (l lot) attrs() []any {
	if l.records == 0 {
		return nil
	}
	return []any{"first", l.first, "last", l.last, "records", l.records}
}

// wholeAttempts is how often all of a batch is given before less of it is: what
// fails for a moment is done with the second attempt or the third.
const wholeAttempts = 3

// struggle gives a batch, span n of the tracker, whose first attempt has failed,
// until all of it is done. What fails again and again is given in ever smaller
// parts, so that the record that is the matter is soon alone, and known by name;
// and when one is done, all that is left of the batch.
//
//	a b c d e f g h ✗ ✗ ✗   a b c d ✓   e f g h ✗   e f ✓   g h ✗   g ✗ ✗ ✗ …   ✓   h ✓
//
// Order stays as it is: nothing is given before all that is ahead of it is done.
func (c *consumer) struggle(ctx context.Context, batch *processors.Batch, b *stream.Batch, n uint64, err error) error {
	rest, whole := b, wholeAttempts
	for {
		part := rest
		err = c.again(ctx, "process records", lotOf(part), err, func(attempt int) (lot, error) {
			if size := len(part.Records); attempt > whole && size > 1 {
				part = cut(rest, 0, (size+1)/2)
				c.tracker.Shorten(n, lotOf(part).last)
			}
			return lotOf(part), c.reattempt(ctx, batch, part, n, attempt)
		})
		if err != nil {
			return err
		}
		c.done(part, n)
		if len(part.Records) == len(rest.Records) {
			return nil
		}
		rest, n, whole = cut(rest, len(part.Records), len(rest.Records)), n+1, 1
		c.progress.began(behind(rest, 0))
		if err = c.reattempt(ctx, batch, rest, n, 1); err == nil {
			c.done(rest, n)
			return nil
		}
	}
}

// reattempt gives records that were given before.
func (c *consumer) reattempt(ctx context.Context, batch *processors.Batch, b *stream.Batch, n uint64, attempt int) error {
	c.tel.retried(len(b.Records))
	c.tracker.Failed(n, false)
	return c.attempt(ctx, batch, b, n, attempt)
}

// cut returns a part of a batch.
func cut(b *stream.Batch, from, to int) *stream.Batch {
	part := &stream.Batch{Records: b.Records[from:to:to]}
	for i := range part.Records {
		part.Bytes += part.Records[i].Size()
	}
	part.Behind = behind(b, to-1)
	return part
}

// behind returns how far a record of a batch is behind the newest one of its shard.
func behind(b *stream.Batch, i int) time.Duration {
	return b.Behind + max(0, b.Records[len(b.Records)-1].Arrival.Sub(b.Records[i].Arrival))
}
