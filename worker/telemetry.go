package worker

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stream"
)

// scope names the instruments' library.
const scope = "github.com/millrace/millrace/worker"

// telemetry holds a worker's instruments. Names follow OpenTelemetry's semantic
// conventions for messaging where they have one.
type telemetry struct {
	tracer      trace.Tracer
	consumed    metric.Int64Counter
	bytes       metric.Int64Counter
	duration    metric.Float64Histogram
	latency     metric.Float64Histogram
	lag         metric.Float64Gauge
	retries     metric.Int64Counter
	trimmed     metric.Int64Counter
	blocked     metric.Int64UpDownCounter
	checkpoints metric.Int64Counter
	conflicts   metric.Int64Counter
	saving      metric.Float64Histogram
}

func newTelemetry(mp metric.MeterProvider, tp trace.TracerProvider) (*telemetry, error) {
	m := mp.Meter(scope)
	var errs []error
	must := func(err error) { errs = append(errs, err) }
	t := &telemetry{tracer: tp.Tracer(scope)}
	var err error
	seconds := metric.WithExplicitBucketBoundaries(.0001, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30)
	t.consumed, err = m.Int64Counter("messaging.client.consumed.messages", metric.WithUnit("{message}"), metric.WithDescription("Records given to a processor, retries not counted."))
	must(err)
	t.bytes, err = m.Int64Counter("millrace.bytes.consumed", metric.WithUnit("By"), metric.WithDescription("Payload and partition keys given to a processor, retries not counted."))
	must(err)
	t.duration, err = m.Float64Histogram("messaging.process.duration", metric.WithUnit("s"), seconds, metric.WithDescription("How long ProcessRecords took."))
	must(err)
	t.latency, err = m.Float64Histogram("millrace.record.latency", metric.WithUnit("s"), seconds, metric.WithDescription("From the arrival of a batch's last record until the batch was done."))
	must(err)
	t.lag, err = m.Float64Gauge("millrace.shard.lag", metric.WithUnit("s"), metric.WithDescription("How far the last record read is behind the newest of its shard."))
	must(err)
	t.retries, err = m.Int64Counter("millrace.records.retried", metric.WithUnit("{batch}"), metric.WithDescription("Batches given again after an error."))
	must(err)
	t.trimmed, err = m.Int64Counter("millrace.shard.trimmed", metric.WithUnit("{gap}"), metric.WithDescription("Gaps of records that left retention before they were processed."))
	must(err)
	t.blocked, err = m.Int64UpDownCounter("millrace.shards.blocked", metric.WithUnit("{shard}"), metric.WithDescription("Shards that wait because their processor fails."))
	must(err)
	t.checkpoints, err = m.Int64Counter("millrace.checkpoint.writes", metric.WithUnit("{write}"), metric.WithDescription("Checkpoints stored."))
	must(err)
	t.conflicts, err = m.Int64Counter("millrace.checkpoint.conflicts", metric.WithUnit("{write}"), metric.WithDescription("Checkpoints refused because the lease was lost."))
	must(err)
	t.saving, err = m.Float64Histogram("millrace.checkpoint.duration", metric.WithUnit("s"), seconds, metric.WithDescription("How long storing a checkpoint took."))
	must(err)
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("worker: Config.MeterProvider: %w", err)
	}
	return t, nil
}

// shardTelemetry is the telemetry of one term: its attributes are made once,
// so that a batch costs no allocation when nobody listens.
type shardTelemetry struct {
	*telemetry
	spanName string
	add      []metric.AddOption
	record   []metric.RecordOption
	span     []trace.SpanStartOption
	isBlock  atomic.Bool
}

func (t *telemetry) forShard(s *processors.Shard) *shardTelemetry {
	attrs := attribute.NewSet(
		attribute.String("messaging.system", "aws.kinesis"),
		attribute.String("messaging.destination.name", s.Stream.Name),
		attribute.String("messaging.destination.partition.id", s.ID),
		attribute.String("messaging.consumer.group.name", s.Application),
		attribute.String("messaging.client.id", s.Worker),
		attribute.String("messaging.operation.name", "process"),
		attribute.String("messaging.operation.type", "process"),
	)
	set := metric.WithAttributeSet(attrs)
	return &shardTelemetry{
		telemetry: t,
		spanName:  "process " + s.Stream.Name,
		add:       []metric.AddOption{set},
		record:    []metric.RecordOption{set},
		span: []trace.SpanStartOption{
			trace.WithSpanKind(trace.SpanKindConsumer),
			trace.WithAttributes(attrs.ToSlice()...),
		},
	}
}

// call is one call of ProcessRecords under measurement; ctx carries its span.
type call struct {
	t     *shardTelemetry
	ctx   context.Context
	span  trace.Span
	start time.Time
}

func (t *shardTelemetry) begin(ctx context.Context) call {
	ctx, span := t.tracer.Start(ctx, t.spanName, t.span...)
	return call{t, ctx, span, time.Now()}
}

func (c call) end(b *stream.Batch, err error) {
	t, ctx, span, now := c.t, c.ctx, c.span, time.Now()
	if span.IsRecording() {
		span.SetAttributes(
			attribute.Int("messaging.batch.message_count", len(b.Records)),
			attribute.Stringer("messaging.message.id", b.Records[0].Sequence),
		)
		if err != nil {
			span.RecordError(err)
			span.SetStatus(codes.Error, err.Error())
		}
	}
	span.End()
	t.duration.Record(ctx, now.Sub(c.start).Seconds(), t.record...)
	if err == nil {
		t.consumed.Add(ctx, int64(len(b.Records)), t.add...)
		t.bytes.Add(ctx, int64(b.Bytes), t.add...)
		t.lag.Record(ctx, b.Behind.Seconds(), t.record...)
		t.latency.Record(ctx, now.Sub(b.Records[len(b.Records)-1].Arrival).Seconds(), t.record...)
	}
}

// checkpoint measures one storing of a checkpoint.
func (t *shardTelemetry) checkpoint(ctx context.Context, save func(context.Context) error) error {
	start := time.Now()
	err := save(ctx)
	t.saving.Record(ctx, time.Since(start).Seconds(), t.record...)
	switch {
	case err == nil:
		t.checkpoints.Add(ctx, 1, t.add...)
	case errors.Is(err, checkpoint.ErrLeaseLost):
		t.conflicts.Add(ctx, 1, t.add...)
	}
	return err
}

// What these count has no request of its own to take a context from.

func (t *shardTelemetry) trimmedGap(*stream.TrimmedError) {
	t.telemetry.trimmed.Add(context.Background(), 1, t.add...)
}

func (t *shardTelemetry) retried() { t.retries.Add(context.Background(), 1, t.add...) }

func (t *shardTelemetry) setBlocked(is bool) {
	if t.isBlock.Swap(is) != is {
		delta := int64(-1)
		if is {
			delta = 1
		}
		t.blocked.Add(context.Background(), delta, t.add...)
	}
}
