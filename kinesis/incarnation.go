package kinesis

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/millrace/millrace/stream"
)

// summary asks what is to be known of the stream that goes by the name now.
func (s *Stream) summary(ctx context.Context) (*types.StreamDescriptionSummary, error) {
	ctx, cancel := s.request(ctx)
	defer cancel()
	out, err := s.client.DescribeStreamSummary(ctx, &sdk.DescribeStreamSummaryInput{StreamName: s.target.name, StreamARN: s.target.arn}, sturdily)
	if err != nil {
		return nil, s.explain(ctx, "DescribeStreamSummary", err)
	}
	d := out.StreamDescriptionSummary
	if d == nil || aws.ToString(d.StreamARN) == "" || d.StreamCreationTimestamp == nil {
		return nil, fmt.Errorf("kinesis: DescribeStreamSummary of %s: %w: no ARN or no creation time", s.target.text, errAnswer)
	}
	s.maxRecord.Store(int64(aws.ToInt32(d.MaxRecordSizeInKiB)) << 10)
	return d, nil
}

// describe asks which stream it is.
func (s *Stream) describe(ctx context.Context) (stream.Identity, error) {
	d, err := s.summary(ctx)
	if err != nil {
		return stream.Identity{}, err
	}
	// The API has it to the millisecond, and a client may have read a fraction of
	// seconds that is a little less.
	return stream.Identity{Name: *d.StreamARN, Created: d.StreamCreationTimestamp.Round(time.Millisecond)}, nil
}

// incarnation knows which stream it is that was met first, and asks whether it
// still is there. Who asks at the same time as others shares their question, so
// that a worker may open a thousand shards at once: the service answers 20 such
// questions a second, to all of an account.
type incarnation struct {
	ask   func(context.Context) (stream.Identity, error)
	every time.Duration // and no more often

	met  atomic.Bool   // first is known
	turn chan struct{} // holds a token while somebody asks
	due  atomic.Int64  // when recheck asks again, Unix ns
	gone atomic.Bool   // recheck was told that the stream is, and those who read ask for themselves

	// Guarded by turn.
	first stream.Identity
	asked time.Time // when the last question that was answered was put
	err   error     // and what came of it
}

// askEvery is the least time between two questions, but where shards are read
// more often than that.
const askEvery = 100 * time.Millisecond

func newIncarnation(ask func(context.Context) (stream.Identity, error), every time.Duration) *incarnation {
	return &incarnation{ask: ask, every: every, turn: make(chan struct{}, 1)}
}

// meet asks for the stream if nobody has yet.
func (i *incarnation) meet(ctx context.Context) error {
	if i.met.Load() {
		return nil
	}
	_, err := i.confirm(ctx)
	return err
}

// confirm returns the identity of the stream that was met first, if it was still
// there at some moment after the call. So what was learned of the stream between
// meet and the call is about that incarnation, and no other.
func (i *incarnation) confirm(ctx context.Context) (stream.Identity, error) {
	if ctx.Err() != nil {
		return stream.Identity{}, context.Cause(ctx)
	}
	called := time.Now()
	select {
	case i.turn <- struct{}{}:
	case <-ctx.Done():
		return stream.Identity{}, context.Cause(ctx)
	}
	defer func() { <-i.turn }()
	if !i.asked.After(called) {
		if err := pause(ctx, i.every-time.Since(i.asked)); err != nil {
			return stream.Identity{}, err
		}
		asked := time.Now()
		id, err := i.ask(ctx)
		if ctx.Err() != nil {
			return stream.Identity{}, context.Cause(ctx) // which tells the others nothing
		}
		i.asked, i.err = asked, i.judge(id, err)
		i.due.Store(asked.Add(recheckEvery).UnixNano())
	}
	return i.first, i.err
}

// recheckEvery is how long a reader may go on with its iterators before somebody
// asks. Those of Kinesis die with their stream; others' may not.
const recheckEvery = 30 * time.Second

// recheckPatience is how long a reader waits for that: a service that is slow to
// say who it is may be quick to give records.
const recheckPatience = 500 * time.Millisecond

// recheck asks again after a while, and returns an error only when the stream is
// gone: everything else, the reader will notice by itself. An answer that takes
// longer counts for the reads that come after it; until then beside keeps the
// question under way.
func (i *incarnation) recheck(ctx context.Context, beside func(func(context.Context)) bool) error {
	due, now := i.due.Load(), time.Now().UnixNano()
	switch {
	case i.gone.Load():
		return i.ifGone(ctx)
	case now < due || !i.due.CompareAndSwap(due, now+int64(recheckEvery)):
		return nil
	}
	answered := make(chan error, 1)
	if !beside(func(ctx context.Context) { answered <- i.ifGone(ctx) }) {
		return nil
	}
	late := time.NewTimer(recheckPatience)
	defer late.Stop()
	select {
	case err := <-answered:
		return err
	case <-late.C:
	case <-ctx.Done():
	}
	return nil
}

// ifGone returns the error that says that the stream is gone, if it is.
func (i *incarnation) ifGone(ctx context.Context) error {
	_, err := i.confirm(ctx)
	switch {
	case errors.Is(err, stream.ErrStreamNotFound):
		i.gone.Store(true)
		return err
	case err == nil:
		i.gone.Store(false)
	}
	return nil
}

// errRecreated says that the name is another stream's now.
var errRecreated = errors.New("another stream was created under its name")

func (i *incarnation) judge(id stream.Identity, err error) error {
	switch {
	case err != nil:
		return err
	case i.first == stream.Identity{}:
		i.first = id
		i.met.Store(true)
	case i.first.ID() != id.ID():
		return fmt.Errorf("kinesis: stream %s: %w: %w at %v", i.first.ID(), stream.ErrStreamNotFound, errRecreated, id.Created.UTC().Format(time.RFC3339))
	}
	return nil
}
