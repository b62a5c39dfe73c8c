package kinesis

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/millrace/millrace/internal/backoff"
	"github.com/millrace/millrace/stream"
)

// ConsumerClient is what consumers of enhanced fan-out need of Kinesis, beside
// [Client]. The Client of github.com/aws/aws-sdk-go-v2/service/kinesis has it.
type ConsumerClient interface {
	RegisterStreamConsumer(context.Context, *sdk.RegisterStreamConsumerInput, ...func(*sdk.Options)) (*sdk.RegisterStreamConsumerOutput, error)
	DescribeStreamConsumer(context.Context, *sdk.DescribeStreamConsumerInput, ...func(*sdk.Options)) (*sdk.DescribeStreamConsumerOutput, error)
	DeregisterStreamConsumer(context.Context, *sdk.DeregisterStreamConsumerInput, ...func(*sdk.Options)) (*sdk.DeregisterStreamConsumerOutput, error)
	SubscribeToShard(context.Context, *sdk.SubscribeToShardInput, ...func(*sdk.Options)) (*sdk.SubscribeToShardOutput, error)
}

var (
	_ ConsumerClient   = (*sdk.Client)(nil)
	_ stream.Registrar = (*Stream)(nil)
)

const (
	// consumerPlaces is how many consumers a stream takes at least; an account
	// may have been given more.
	consumerPlaces = 20
	// consumerPatience is how long a consumer may take to become ACTIVE, or to
	// go. Both take seconds.
	consumerPatience = 2 * time.Minute
	// consumerWait is the least time between two requests about a consumer, so
	// that one process stays within the five a second that a stream takes.
	consumerWait, consumerLongest = 250 * time.Millisecond, 3 * time.Second
)

// Register registers a consumer of enhanced fan-out, or finds the one that is
// there, and waits until it is ACTIVE: see [stream.Registrar].
func (s *Stream) Register(ctx context.Context, consumer string) (stream.Subscriber, error) {
	r, err := s.registration(ctx, consumer)
	if err != nil {
		return nil, fmt.Errorf("register consumer %s: %w", consumer, err)
	}
	ctx, cancel := consumerTime(ctx)
	defer cancel()
	arn, err := r.until(ctx, r.active)
	if err != nil {
		return nil, fmt.Errorf("register consumer %s: %w", consumer, err)
	}
	return newSubscriber(s, r.client, consumer, arn), nil
}

// Deregister removes a consumer and waits until it is gone, with its
// subscriptions: see [stream.Registrar].
func (s *Stream) Deregister(ctx context.Context, consumer string) error {
	r, err := s.registration(ctx, consumer)
	if err != nil {
		return fmt.Errorf("deregister consumer %s: %w", consumer, err)
	}
	ctx, cancel := consumerTime(ctx)
	defer cancel()
	if _, err := r.until(ctx, r.gone); err != nil {
		return fmt.Errorf("deregister consumer %s: %w", consumer, err)
	}
	return nil
}

func consumerTime(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, consumerPatience, fmt.Errorf("kinesis: the consumer is not ready after %v", consumerPatience))
}

// registration is a consumer on its way: each step asks how it stands, and does
// what brings it further. Other workers may be doing the same.
type registration struct {
	s        *Stream
	client   ConsumerClient
	consumer string
	arn      *string // of the stream
	refused  int     // how often in a row there was no room
}

func (s *Stream) registration(ctx context.Context, consumer string) (*registration, error) {
	client, ok := s.client.(ConsumerClient)
	if !ok {
		return nil, fmt.Errorf("kinesis: %T has no operations for consumers: give a kinesis.Client of aws-sdk-go-v2", s.client)
	}
	// Consumers belong to an incarnation, and are named by its ARN.
	id, err := s.incarnation.confirm(ctx)
	if err != nil {
		return nil, err
	}
	return &registration{s: s, client: client, consumer: consumer, arn: aws.String(id.Name)}, nil
}

// until repeats a step until it is done. Steps are spread out at random, since
// all workers of a fleet may start at once.
func (r *registration) until(ctx context.Context, step func(context.Context) (arn string, done bool, err error)) (arn string, err error) {
	for wait := consumerWait; ; wait = backoff.Next(nil, wait, consumerWait, consumerLongest) {
		arn, done, err := step(ctx)
		if done || err != nil {
			return arn, err
		}
		if err := pause(ctx, wait); err != nil {
			return "", err
		}
	}
}

// active looks whether the consumer may subscribe, and registers it where there
// is none.
func (r *registration) active(ctx context.Context) (arn string, done bool, err error) {
	switch arn, status, err := r.describe(ctx); {
	case err == nil:
		return arn, status == types.ConsumerStatusActive, nil
	case errors.Is(err, stream.ErrThrottled):
		return "", false, nil
	case !errors.Is(err, stream.ErrConsumerNotFound):
		return "", false, err
	}
	var made types.Consumer
	err = r.request(ctx, func(ctx context.Context) error {
		out, err := r.client.RegisterStreamConsumer(ctx, &sdk.RegisterStreamConsumerInput{StreamARN: r.arn, ConsumerName: &r.consumer}, sturdily)
		if err == nil && out.Consumer != nil {
			made = *out.Consumer
		}
		return err
	})
	switch {
	case err == nil, is[*types.ResourceInUseException](err): // somebody else was faster
		r.refused = 0
		arn = aws.ToString(made.ConsumerARN)
		return arn, arn != "" && made.ConsumerStatus == types.ConsumerStatusActive, nil
	case is[*types.LimitExceededException](err):
		return "", false, r.crowded(ctx, err)
	}
	return "", false, r.s.explain(ctx, "RegisterStreamConsumer", err)
}

// crowded tells a stream that has no place for a consumer from one that was
// asked too often: the service has one error for both.
func (r *registration) crowded(ctx context.Context, refusal error) error {
	ctx, cancel := r.s.request(ctx)
	defer cancel()
	out, err := r.s.client.DescribeStreamSummary(ctx, &sdk.DescribeStreamSummaryInput{StreamARN: r.arn}, sturdily)
	if err != nil || out.StreamDescriptionSummary == nil || aws.ToInt32(out.StreamDescriptionSummary.ConsumerCount) < consumerPlaces {
		r.refused = 0
		return nil // try again
	}
	if r.refused++; r.refused < 2 {
		return nil
	}
	return fmt.Errorf("kinesis: stream %s has %d consumers: %w: deregister one, or ask for a higher quota: %w", r.s.target.text,
		*out.StreamDescriptionSummary.ConsumerCount, stream.ErrTooManyConsumers, refusal)
}

// gone looks whether the consumer is gone, and removes it where nobody has.
func (r *registration) gone(ctx context.Context) (_ string, done bool, err error) {
	switch _, status, err := r.describe(ctx); {
	case errors.Is(err, stream.ErrConsumerNotFound):
		return "", true, nil
	case errors.Is(err, stream.ErrThrottled), err == nil && status == types.ConsumerStatusDeleting:
		return "", false, nil
	case err != nil:
		return "", false, err
	}
	err = r.request(ctx, func(ctx context.Context) error {
		_, err := r.client.DeregisterStreamConsumer(ctx, &sdk.DeregisterStreamConsumerInput{StreamARN: r.arn, ConsumerName: &r.consumer}, sturdily)
		return err
	})
	switch {
	case err == nil, is[*types.ResourceInUseException](err), is[*types.LimitExceededException](err), is[*types.ResourceNotFoundException](err):
		return "", false, nil // it was CREATING, somebody else is removing it, or all are asking too much
	}
	return "", false, r.s.explain(ctx, "DeregisterStreamConsumer", err)
}

// describe asks for the consumer by its name.
func (r *registration) describe(ctx context.Context) (arn string, status types.ConsumerStatus, err error) {
	return r.s.describeConsumer(ctx, r.client, &sdk.DescribeStreamConsumerInput{StreamARN: r.arn, ConsumerName: &r.consumer})
}

// describeConsumer asks how a consumer stands. What is not found is the consumer:
// or the stream, whose end everything else will tell.
func (s *Stream) describeConsumer(ctx context.Context, client ConsumerClient, in *sdk.DescribeStreamConsumerInput) (arn string, status types.ConsumerStatus, err error) {
	ctx, cancel := s.request(ctx)
	defer cancel()
	out, err := client.DescribeStreamConsumer(ctx, in, sturdily)
	switch {
	case err == nil && out.ConsumerDescription != nil && aws.ToString(out.ConsumerDescription.ConsumerARN) != "":
		return *out.ConsumerDescription.ConsumerARN, out.ConsumerDescription.ConsumerStatus, nil
	case err == nil:
		return "", "", fmt.Errorf("kinesis: DescribeStreamConsumer of %s: %w: no consumer in it", s.target.text, errAnswer)
	case is[*types.ResourceNotFoundException](err):
		return "", "", fmt.Errorf("kinesis: DescribeStreamConsumer of %s: %w: %w", s.target.text, stream.ErrConsumerNotFound, err)
	}
	return "", "", s.explain(ctx, "DescribeStreamConsumer", err)
}

// request bounds one request about the consumer in time.
func (r *registration) request(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := r.s.request(ctx)
	defer cancel()
	return do(ctx)
}
