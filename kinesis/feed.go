package kinesis

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/middleware"
	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/millrace/millrace/stream"
)

// feed gets one page after the other. It belongs to one goroutine at a time.
type feed struct {
	s     *Stream
	shard string

	at       stream.Position // everything before it was got
	since    int64           // and nothing that arrived earlier is wanted, Unix ms
	iterator string          // stands there; "" when there is none
	pace     pace
	average  float64 // size of the records so far
	refusals int     // in a row

	clock time.Time // of the service, when it gave the last iterator

	// beside runs something while the feed goes on, and reports whether it does:
	// whoever has the feed waits for it. nil where it does not last that long.
	beside func(func(context.Context)) bool
}

func (s *Stream) newFeed(shardID string, from stream.Position) feed {
	return feed{s: s, shard: shardID, at: from, pace: newPace(&s.cfg, &s.pacing, time.Now()), average: 1 << 10}
}

const (
	mostRecords = 10_000
	// loudRefusals is how many refusals in a row are worth a line of log.
	loudRefusals = 10
)

// next waits until the shard may be read and reads it once. The page may be
// empty, and has no iterator at the shard's end. It asks for about that many bytes. After an error it can be called
// again, and goes on where it was.
func (f *feed) next(ctx context.Context, want int) (*page, error) {
	for doubts := 0; ; {
		if err := f.wait(ctx); err != nil {
			return nil, err
		}
		if f.iterator == "" {
			if err := f.renew(ctx); errors.Is(err, errAtEnd) {
				return newPage(), nil
			} else if err != nil {
				return nil, err
			}
		}
		limit := min(max(int(float64(want)/f.average), 1), mostRecords)
		asked := time.Now()
		p, err := f.s.getRecords(ctx, f.iterator, limit)
		switch {
		case err == nil:
			if err := f.recheck(ctx); err != nil {
				return nil, err
			}
			f.got(p, asked)
			return p, nil
		case ctx.Err() != nil:
			return nil, f.failed(ctx, err)
		case f.refused(ctx, err):
		case is[*types.ExpiredIteratorException](err), is[*types.InvalidArgumentException](err):
			// Five minutes are over, or the iterator is one of a former life of
			// the server.
			f.iterator = ""
			if doubts++; doubts > 2 {
				return nil, f.failed(ctx, err)
			}
		default:
			return nil, f.failed(ctx, err)
		}
	}
}

// recheck looks now and then whether what is read is still the same stream.
func (f *feed) recheck(ctx context.Context) error {
	if f.beside == nil {
		return nil
	}
	if err := f.s.incarnation.recheck(ctx, f.beside); err != nil {
		return fmt.Errorf("read %s: %w", f.shard, err)
	}
	return nil
}

// wait waits for the feed's turn.
func (f *feed) wait(ctx context.Context) error {
	if err := pause(ctx, time.Until(f.pace.next)); err != nil {
		return fmt.Errorf("kinesis: read %s of %s: %w", f.shard, f.s.target.text, err)
	}
	return nil
}

// got takes a page over: what it repeats is left out, and it is known where to
// go on.
func (f *feed) got(p *page, asked time.Time) {
	f.refusals = 0
	f.pace.got(asked, len(p.entries), p.bytes, p.behind)
	if n := len(p.entries); n > 0 {
		f.average = 0.5*f.average + 0.5*float64(max(1, p.bytes/n))
		if p.skip(f.at, f.since); p.left() > 0 {
			f.since = 0 // arrivals need not grow: what comes now is wanted, whenever it arrived
		}
		if last := stream.After(p.entries[n-1].seq); last.Compare(f.at) > 0 {
			f.at = last
		}
	}
	f.iterator = p.next
}

// refused reports whether an error says that too much was asked, and then lets
// the pace say when to ask again.
func (f *feed) refused(ctx context.Context, err error) bool {
	if !errors.Is(kindOf(err), stream.ErrThrottled) {
		return false
	}
	f.pace.refused(time.Now())
	f.s.tel.throttled.Add(ctx, 1, f.s.tel.ofStream)
	if f.refusals++; f.refusals%loudRefusals == 0 {
		f.s.cfg.Logger.WarnContext(ctx, "reading the shard is refused again and again: other consumers may take all that it gives",
			"stream", f.s.target.text, "shard", f.shard, "refusals", f.refusals, "err", err)
	}
	return true
}

// failed says what is wrong. Whether it is the stream that is not found, or the
// shard, the service tells in words only: so the stream is looked for.
func (f *feed) failed(ctx context.Context, err error) error {
	return f.s.failed(ctx, "read "+f.shard, err)
}

func (s *Stream) failed(ctx context.Context, what string, err error) error {
	if ctx.Err() == nil && is[*types.ResourceNotFoundException](err) {
		if _, gone := s.incarnation.confirm(ctx); gone != nil {
			return fmt.Errorf("kinesis: %s: %w", what, gone)
		}
		return fmt.Errorf("kinesis: %s of %s: %w: %w", what, s.target.text, stream.ErrShardNotFound, err)
	}
	return s.explain(ctx, what, err)
}

// renew gets an iterator for where the feed stands, and makes sure that it is
// one of the stream that was met first.
func (f *feed) renew(ctx context.Context) error {
	if err := f.s.incarnation.meet(ctx); err != nil {
		return fmt.Errorf("read %s: %w", f.shard, err)
	}
	at := f.at
	for tries := 0; ; {
		iterator, err := f.iteratorAt(ctx, at)
		switch {
		case err == nil:
			if _, err := f.s.incarnation.confirm(ctx); err != nil {
				return fmt.Errorf("read %s: %w", f.shard, err)
			}
			f.iterator = iterator
			return nil
		case ctx.Err() != nil:
			return f.failed(ctx, err)
		case f.refused(ctx, err):
			if err := f.wait(ctx); err != nil {
				return err
			}
		case is[*types.InvalidArgumentException](err):
			if at, err = f.elsewhere(ctx, tries, err); err != nil {
				return err
			}
			tries++
		default:
			return f.failed(ctx, err)
		}
	}
}

// errAtEnd says that the shard is closed and that nothing is left behind the
// position.
var errAtEnd = errors.New("at the end of the shard")

// elsewhere finds out why the feed's position was refused, and returns one that
// the service takes, from which what the feed wants can be reached.
func (f *feed) elsewhere(ctx context.Context, tries int, why error) (stream.Position, error) {
	if t, ok := f.at.Time(); ok && tries < len(stepsBack) {
		// It is in the future, by the service's clock: from before now on, leaving
		// out what arrives too early.
		f.since = t.UnixMilli()
		if tries == len(stepsBack)-1 {
			return stream.TrimHorizon, nil
		}
		return stream.AtTime(time.Now().Add(-stepsBack[tries])), nil
	}
	seq, _, ok := f.at.Sequence()
	if !ok || tries > 0 {
		return stream.Position{}, f.failed(ctx, why)
	}
	first, last, err := f.s.sequences(ctx, f.shard)
	switch {
	case err != nil:
		return stream.Position{}, err
	case seq.Less(first):
		return stream.TrimHorizon, nil
	case last != stream.Sequence{} && seq.WithSub(0) == last:
		return stream.Position{}, errAtEnd
	}
	// Also what lies behind the last number of a closed shard: it says nothing of
	// what was read of this one.
	return stream.Position{}, fmt.Errorf("kinesis: read %s of %s at %v: %w: %w", f.shard, f.s.target.text, f.at, ErrForeignPosition, why)
}

// stepsBack is by how much the clocks of this machine and of the service may
// differ; 0 stands for any time.
var stepsBack = [...]time.Duration{10 * time.Second, 10 * time.Minute, 0}

// iteratorAt asks for an iterator.
func (f *feed) iteratorAt(ctx context.Context, at stream.Position) (string, error) {
	in := &sdk.GetShardIteratorInput{StreamName: f.s.target.name, StreamARN: f.s.target.arn, ShardId: &f.shard}
	seq, after, isSequence := at.Sequence()
	since, isTime := at.Time()
	switch {
	case at == stream.TrimHorizon, isSequence && !after && seq == stream.Sequence{}:
		in.ShardIteratorType = types.ShardIteratorTypeTrimHorizon
	case at == stream.Latest:
		in.ShardIteratorType = types.ShardIteratorTypeLatest
	case isTime:
		in.ShardIteratorType, in.Timestamp = types.ShardIteratorTypeAtTimestamp, &since
	case isSequence:
		in.ShardIteratorType = types.ShardIteratorTypeAtSequenceNumber
		if after || seq.Sub() > 0 {
			in.ShardIteratorType = types.ShardIteratorTypeAfterSequenceNumber
		}
		in.StartingSequenceNumber = aws.String(string(seq.AppendDecimal(nil)))
	}
	ctx, cancel := f.s.request(ctx)
	defer cancel()
	done := f.s.tel.begin(ctx, getShardIterator)
	out, err := f.s.client.GetShardIterator(ctx, in, sturdily)
	if err == nil && aws.ToString(out.ShardIterator) == "" {
		err = fmt.Errorf("GetShardIterator: %w: no iterator", errAnswer)
	}
	done(err)
	if err != nil {
		return "", err
	}
	var told bool
	if f.clock, told = middleware.GetServerTime(out.ResultMetadata); !told {
		f.clock = time.Now()
	}
	return *out.ShardIterator, nil
}
