package kinesis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/millrace/millrace/internal/backoff"
	"github.com/millrace/millrace/stream"
)

// subscriber pushes the shards of a stream to one consumer of enhanced fan-out.
type subscriber struct {
	s        *Stream
	client   ConsumerClient
	consumer string
	arn      string
	http     sdk.HTTPClient // nil: the client's

	mu    sync.Mutex           // guards begun; nothing waits under it
	begun map[string]time.Time // when each shard's last subscription began, if not long ago
}

func newSubscriber(s *Stream, client ConsumerClient, consumer, arn string) *subscriber {
	return &subscriber{s: s, client: client, consumer: consumer, arn: arn, http: pushTransport(client), begun: map[string]time.Time{}}
}

const (
	// renewAfter is when a subscription is renewed, and renewSpread over how long
	// the renewals of shards that began together are spread. Kinesis ends a
	// subscription after five minutes.
	renewAfter, renewSpread = 4*time.Minute + 20*time.Second, 30 * time.Second
	// busyPatience is how many times Config.Resubscribe a shard that another
	// subscription has just begun, or a service that is asked too much, is waited
	// for before it becomes an error. Subscribe may be called again after it.
	busyPatience = 12
	// mostBarren is how many subscriptions may break off one after the other
	// before an event has come. Then it is an error, and Subscribe may be called
	// again.
	mostBarren = 3
)

// Subscribe pushes the records of a shard: see [stream.Subscriber]. It renews
// the subscription, begins another one where it breaks, and waits where the
// service wants it to. It returns what keeps a subscription from beginning, and
// may then be called again.
//
// A consumer has one subscription for each shard, and a later one takes it over.
// A subscription that was taken over waits before it takes the shard back: in a
// fleet, it was the shard's next holder who took it, and ctx ends soon.
func (u *subscriber) Subscribe(ctx context.Context, shardID string, from stream.Position, limits stream.Batch, handle func(*stream.Batch) error) error {
	if err := u.s.incarnation.meet(ctx); err != nil {
		return err
	}
	if from == stream.Latest {
		// It is to stay where it is when the first subscription breaks off.
		var err error
		if from, err = u.s.pin(ctx, shardID); err != nil {
			return err
		}
	}
	p := &push{
		subscriber: u, where: u.s.newFeed(shardID, from), handle: handle,
		batch: stream.Batch{MaxRecords: limits.MaxRecords, MaxBytes: limits.MaxBytes, MaxFootprint: limits.MaxFootprint},
	}
	switch from {
	case stream.ShardEnd:
		return p.end(ctx, nil)
	case stream.Position{}:
		return fmt.Errorf("kinesis: position of %s is empty: use TRIM_HORIZON, LATEST, a time, a sequence number or SHARD_END", shardID)
	}
	return p.run(ctx)
}

// push is one call of Subscribe.
type push struct {
	*subscriber
	where  feed // the shard, and where it stands: behind what was handled
	batch  stream.Batch
	handle func(*stream.Batch) error

	renewing chan begun    // gets the result of the renewal that is under way; else nil
	wait     time.Duration // the last one for another subscription to go
	barren   int           // how many subscriptions in a row gave no event
}

// begun is a subscription that has begun, or why it has not.
type begun struct {
	c   *subscription
	err error
}

// errNoEnd says that an event has no number to go on from, as the last one of a
// shard, and that the shard has no children.
var errNoEnd = fmt.Errorf("%w: it says that the shard has ended, and there are no children", errAnswer)

// handled is the error of a handle.
type handled struct{ error }

func (p *push) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer p.settle()
	defer cancel(errServed)
	c, err := p.begin(ctx)
	for err == nil {
		c, err = p.follow(ctx, c)
	}
	if own, ok := errors.AsType[handled](err); ok {
		return own.error
	}
	return err
}

// settle waits for a renewal that nobody needs any more.
func (p *push) settle() {
	if p.renewing != nil {
		if last := <-p.renewing; last.err == nil {
			last.c.close()
		}
	}
}

// follow reads a subscription to its end, and begins the next one.
func (p *push) follow(ctx context.Context, c *subscription) (*subscription, error) {
	err := p.drink(ctx, c)
	c.close()
	if p.barren++; c.came > 0 {
		p.wait, p.barren = 0, 0
	}
	switch {
	case final(err):
		return nil, err
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	if p.renewing != nil {
		// Its success has ended this one, or it is just about to take its place.
		renewed := <-p.renewing
		p.renewing = nil
		if renewed.err == nil {
			return renewed.c, nil
		}
	}
	log := p.s.cfg.Logger.With("stream", p.s.target.text, "consumer", p.consumer, "shard", p.where.shard)
	switch again := p.s.cfg.Resubscribe; {
	case is[*types.ResourceInUseException](err):
		p.wait = backoff.Next(nil, p.wait, again, busyPatience*again)
		log.WarnContext(ctx, "another subscription of this consumer has taken the shard: waiting before it is taken back", "wait", p.wait)
		if err := pause(ctx, p.wait); err != nil {
			return nil, err
		}
	case is[*types.ResourceNotFoundException](err), kindOf(err) != nil, p.barren == mostBarren:
		return nil, p.explain(ctx, err)
	case errors.Is(err, errNoEnd):
		return nil, err
	case !errors.Is(err, errServed):
		log.InfoContext(ctx, "a subscription broke off, beginning another one", "at", p.where.at, "err", err)
		p.s.tel.reconnects.Add(ctx, 1, p.s.tel.ofStream)
	}
	return p.begin(ctx)
}

// final reports whether an error is the last word of Subscribe.
func final(err error) bool { return is[handled](err) || is[*stream.ShardEndError](err) }

// drink handles the events of a subscription until it ends, and has it renewed
// in time. Its error is never nil.
func (p *push) drink(ctx context.Context, c *subscription) error {
	renewal := c.begun.Add(renewAfter + rand.N(renewSpread))
	for {
		if p.renewing == nil && time.Now().After(renewal) {
			p.renew(ctx, c)
			renewal = time.Now().Add(renewSpread) // where it fails
		}
		events, err := c.next()
		if err != nil {
			return err
		}
		next, children := events.next, events.children
		err = p.pass(ctx, events)
		events.release()
		switch {
		case err != nil:
			return err
		case next == "" || len(children) > 0:
			return p.end(ctx, children)
		}
		p.moveTo(next)
	}
}

// renew begins the next subscription while the present one is read on. Kinesis
// takes the shard from the present one when the next has begun, and not before:
// so there is no gap but Kinesis' own. What the present one still gave after the
// call is what the next one repeats, and is left out there.
func (p *push) renew(ctx context.Context, c *subscription) {
	renewing := make(chan begun, 1)
	p.renewing = renewing
	at := p.where.at
	go func() {
		next, err := p.call(ctx, at)
		if err == nil {
			c.cancel(errServed) // wakes the reader, which takes the next one
		} else {
			p.s.cfg.Logger.InfoContext(ctx, "a subscription could not be renewed yet", "stream", p.s.target.text, "consumer", p.consumer, "shard", p.where.shard, "err", err)
		}
		renewing <- begun{next, err}
	}()
}

// pass gives records to the handle, in batches within the limits.
func (p *push) pass(ctx context.Context, events *page) error {
	if events.skip(p.where.at, p.where.since); events.left() > 0 {
		p.where.since = 0 // see [feed.got]
	}
	for events.left() > 0 {
		p.batch.Reset()
		events.fill(&p.batch)
		last := p.batch.Records[len(p.batch.Records)-1].Sequence
		if err := p.handle(&p.batch); err != nil {
			return handled{err}
		}
		p.where.at = stream.After(last)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	p.batch.Reset()
	return nil
}

// moveTo notes how far the shard was seen, with or without records, unless it
// is no further.
func (p *push) moveTo(continuation string) {
	seq, err := stream.ParseSequence(continuation)
	if err != nil {
		return // the last record will do
	}
	if next := stream.After(seq); next.Compare(p.where.at) > 0 {
		p.where.at = next
	}
}

// end returns the end of the shard, with its children.
func (p *push) end(ctx context.Context, children []stream.Shard) error {
	if len(children) == 0 {
		var err error
		if children, err = p.s.children(ctx, p.where.shard); err != nil {
			return fmt.Errorf("children of %s: %w", p.where.shard, err)
		}
		if len(children) == 0 {
			return fmt.Errorf("kinesis: the subscription of %s: %w", p.where.shard, errNoEnd)
		}
	}
	return &stream.ShardEndError{Shard: p.where.shard, Children: children}
}

// begin begins a subscription, as soon as the service lets it. Where nothing is
// left of the shard, it returns the shard's end.
func (p *push) begin(ctx context.Context) (*subscription, error) {
	again := p.s.cfg.Resubscribe
	patience := time.Now().Add(busyPatience * again)
	at, tries, wait := p.where.at, 0, time.Duration(0)
	for {
		c, err := p.call(ctx, at)
		switch {
		case err == nil:
			return c, nil
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case is[*types.InvalidArgumentException](err):
			at, err = p.where.elsewhere(ctx, tries, err)
			if errors.Is(err, errAtEnd) {
				return nil, p.end(ctx, nil)
			} else if err != nil {
				return nil, err
			}
			tries++
			continue
		case time.Now().After(patience):
			return nil, p.explain(ctx, err)
		case is[*types.ResourceInUseException](err):
			// Another one began less than five seconds ago.
			wait = again/5 + rand.N(again/5+1)
		case errors.Is(kindOf(err), stream.ErrThrottled):
			wait = backoff.Next(nil, wait, again/5, 4*again)
		default:
			return nil, p.explain(ctx, err)
		}
		if err := pause(ctx, wait); err != nil {
			return nil, err
		}
	}
}

// call calls SubscribeToShard, no sooner than the service allows after the
// shard's last subscription began.
func (p *push) call(ctx context.Context, at stream.Position) (*subscription, error) {
	cfg := &p.s.cfg
	if err := pause(ctx, time.Until(p.lastBegun(p.where.shard).Add(cfg.Resubscribe))); err != nil {
		return nil, err
	}
	done := p.s.tel.begin(ctx, subscribeToShard)
	c, err := p.subscribe(ctx, &sdk.SubscribeToShardInput{ConsumerARN: aws.String(p.arn), ShardId: aws.String(p.where.shard), StartingPosition: startingPosition(at)})
	done(err)
	if err == nil {
		p.noteBegun(p.where.shard, c.begun)
	}
	return c, err
}

func (u *subscriber) lastBegun(shard string) time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.begun[shard]
}

// noteBegun notes when a subscription began, and forgets what matters no more.
func (u *subscriber) noteBegun(shard string, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for other, at := range u.begun {
		if now.Sub(at) > u.s.cfg.Resubscribe {
			delete(u.begun, other)
		}
	}
	u.begun[shard] = now
}

// explain puts the error of a subscription in the words of package stream. What
// is not found may be the stream, the consumer, or the shard.
func (p *push) explain(ctx context.Context, err error) error {
	if !is[*types.ResourceNotFoundException](err) || ctx.Err() != nil {
		return p.s.explain(ctx, "SubscribeToShard", err)
	}
	if _, gone := p.s.incarnation.confirm(ctx); gone != nil {
		return fmt.Errorf("subscribe to %s: %w", p.where.shard, gone)
	}
	_, status, gone := p.s.describeConsumer(ctx, p.client, &sdk.DescribeStreamConsumerInput{ConsumerARN: aws.String(p.arn)})
	if gone == nil && status != types.ConsumerStatusActive {
		gone = fmt.Errorf("%w: it is %s", stream.ErrConsumerNotFound, status)
	}
	if gone != nil {
		return fmt.Errorf("subscribe to %s as consumer %s: %w", p.where.shard, p.consumer, gone)
	}
	return fmt.Errorf("kinesis: SubscribeToShard of %s, %s: %w: %w", p.s.target.text, p.where.shard, stream.ErrShardNotFound, err)
}

// startingPosition is a position in the words of the API.
func startingPosition(at stream.Position) *types.StartingPosition {
	seq, after, isSequence := at.Sequence()
	since, isTime := at.Time()
	switch {
	case isTime:
		return &types.StartingPosition{Type: types.ShardIteratorTypeAtTimestamp, Timestamp: &since}
	case !isSequence, !after && seq == stream.Sequence{}:
		return &types.StartingPosition{Type: types.ShardIteratorTypeTrimHorizon}
	}
	kind := types.ShardIteratorTypeAtSequenceNumber
	if after || seq.Sub() > 0 {
		kind = types.ShardIteratorTypeAfterSequenceNumber
	}
	return &types.StartingPosition{Type: kind, SequenceNumber: aws.String(string(seq.AppendDecimal(nil)))}
}
