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
// and when one is done, what is left is given in the parts that were made.
//
//	a b c d e f g h ✗ ✗ ✗   a b c d ✗   a b ✓   c d ✓   e f g h ✗   e f ✓   g h ✗   g ✗ ✗ ✗ …
//
// Order stays as it is: nothing is given before all that is ahead of it is done. And
// no part reaches beyond the end of an earlier one that it begins within: that
// may have been done in a transaction whose commit was not heard of.
func (c *consumer) struggle(ctx context.Context, batch *processors.Batch, b *stream.Batch, n uint64, err error) error {
	from, ends := 0, []int{len(b.Records)} // of the parts that are left, the nearest last
	part, whole := b, wholeAttempts
	next := func() {
		part = cut(b, from, ends[len(ends)-1])
		if len(ends) > 1 {
			c.tracker.Shorten(n, lotOf(part).last)
		}
	}
	for {
		err = c.again(ctx, "process records", lotOf(part), err, func(attempt int) (lot, error) {
			if size := len(part.Records); attempt > whole && size > 1 {
				ends = append(ends, from+(size+1)/2)
				next()
			}
			return lotOf(part), c.reattempt(ctx, batch, part, n, attempt)
		})
		if err != nil {
			return err
		}
		for whole = 1; err == nil; err = c.reattempt(ctx, batch, part, n, 1) {
			c.done(part, n)
			from, ends = ends[len(ends)-1], ends[:len(ends)-1]
			if len(ends) == 0 {
				return nil
			}
			n++
			next()
			c.progress.began(behind(part, 0))
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
