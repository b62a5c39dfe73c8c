package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/millrace/millrace/stream"
)

// Page is what a read that does not wait tells beside its records.
type Page struct {
	// Next is where to read on. It never moves by itself: a read from LATEST
	// that found nothing goes on from where the end of the shard was.
	Next stream.Position
	// Done is a sequence number that nothing which is still to be read has, nor
	// anything smaller: [stream.After] of it is where to read on, too, if
	// somebody has to keep it as a number.
	Done stream.Sequence
	// End is set when nothing follows, now and ever after: the records, if
	// there are any, were the last of a closed shard.
	End *stream.ShardEndError
	// More is closed when it is worth reading again. It is nil when that is so
	// now: when there were records, or the shard has ended.
	More <-chan struct{}
}

// Read fills b within its limits with what a shard has from a position on, and
// does not wait when there is nothing. It keeps nothing from one call to the next:
// who asks has the place, as in Kinesis' GetRecords. Positions and errors are those
// of [Stream.Open] and [stream.Reader], but that the end of the shard is none;
// after a [*stream.TrimmedError], go on at its Horizon.
//
// Where the stream has limits, a call counts against those of the shard, and
// fails with [stream.ErrThrottled] beyond them. One that ends with a TrimmedError
// does not: the next one does, with its records.
func (s *Stream) Read(ctx context.Context, shardID string, from stream.Position, b *stream.Batch) (Page, error) {
	return s.read(ctx, shardID, from, b, true)
}

// ReadDedicated is [Stream.Read] beside the limits: for subscriptions, which have
// a throughput of their own and keep to it by themselves.
func (s *Stream) ReadDedicated(ctx context.Context, shardID string, from stream.Position, b *stream.Batch) (Page, error) {
	return s.read(ctx, shardID, from, b, false)
}

func (s *Stream) read(ctx context.Context, shardID string, from stream.Position, b *stream.Batch, limited bool) (Page, error) {
	b.Reset()
	m, err := s.find(ctx, shardID)
	if err != nil {
		return Page{}, fmt.Errorf("read: %w", err)
	}
	// What is committed now, a read that finds nothing has looked at.
	committed, _ := m.log.Counters()
	if from == stream.Latest {
		from = stream.At(m.log.Base().Add(committed + 1))
	}
	start, err := s.start(m, from)
	if err != nil {
		return Page{}, fmt.Errorf("read: %w", err)
	}
	if limited && m.out != nil {
		if !m.out.admit() {
			return Page{}, fmt.Errorf("read %s of stream %s: %w", m.id, s.name, stream.ErrThrottled)
		}
		defer func() { m.out.spend(0, b.Bytes) }()
	}
	if from == stream.ShardEnd {
		return Page{Next: from, End: s.endOf(m.shard)}, nil
	}
	more, err := s.e.log.NewCursor(m.log, start).Read(b, s.cutoff())
	if err != nil {
		page, err := s.noRecords(ctx, m, from, err)
		if _, trimmed := errors.AsType[*stream.TrimmedError](err); trimmed && limited && m.out != nil {
			m.out.spend(-1, 0)
		}
		return page, err
	}
	if more != nil {
		done := m.log.Base().Add(max(start.Counter, committed+1) - 1)
		if _, isTime := from.Time(); !isTime {
			from = stream.After(done)
		}
		return Page{Next: from, Done: done, More: more}, nil
	}
	last := b.Records[len(b.Records)-1].Sequence
	page := Page{Next: stream.After(last), Done: last}
	if m.closed != 0 && b.Behind == 0 {
		page.End = s.endOf(m.shard)
	}
	return page, nil
}

// noRecords tells the end of a shard from errors.
func (s *Stream) noRecords(ctx context.Context, m member, from stream.Position, err error) (Page, error) {
	err = s.explain(m.shard, from, err, func() error { return s.usable(ctx) })
	if end, ok := errors.AsType[*stream.ShardEndError](err); ok {
		return Page{Next: stream.ShardEnd, End: end}, nil
	}
	return Page{}, err
}
