package worker

import (
	"context"
	"errors"
	"fmt"
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
	meter       metric.Meter
	tracer      trace.Tracer
	consumed    metric.Int64Counter
	bytes       metric.Int64Counter
	duration    metric.Float64Histogram
	latency     metric.Float64Histogram
	lag         metric.Float64ObservableGauge
	retries     metric.Int64Counter
	trimmed     metric.Int64Counter
	inside      metric.Int64Counter
	outOfRange  metric.Int64Counter
	blocked     metric.Int64ObservableUpDownCounter
	checkpoints metric.Int64Counter
	conflicts   metric.Int64Counter
	saving      metric.Float64Histogram
}

func newTelemetry(mp metric.MeterProvider, tp trace.TracerProvider) (*telemetry, error) {
	m := mp.Meter(scope)
	var errs []error
	must := func(err error) { errs = append(errs, err) }
	t := &telemetry{meter: m, tracer: tp.Tracer(scope)}
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
	t.lag, err = m.Float64ObservableGauge("millrace.shard.lag", metric.WithUnit("s"), metric.WithDescription("How far the work on a shard in hand is behind: it grows while there is something to do and nothing is done."))
	must(err)
	t.retries, err = m.Int64Counter("millrace.records.retried", metric.WithUnit("{message}"), metric.WithDescription("Records given again after an error."))
	must(err)
	t.trimmed, err = m.Int64Counter("millrace.shard.trimmed", metric.WithUnit("{gap}"), metric.WithDescription("Gaps of records that left retention before they were processed, and shards that did with records unread."))
	must(err)
	t.inside, err = m.Int64Counter("millrace.deaggregated.records", metric.WithUnit("{message}"), metric.WithDescription("Records that came out of aggregates."))
	must(err)
	t.outOfRange, err = m.Int64Counter("millrace.deaggregated.out_of_range", metric.WithUnit("{message}"), metric.WithDescription("Records that came out of aggregates and belong to other shards, delivered or dropped."))
	must(err)
	t.blocked, err = m.Int64ObservableUpDownCounter("millrace.shards.blocked", metric.WithUnit("{shard}"), metric.WithDescription("Shards that wait because their processor fails, or has not returned for FailoverTime, or because they cannot be read."))
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

// observe has the shards in hand looked at whenever somebody collects metrics, until
// enough is called: what is told of a shard ends with its term.
func (t *telemetry) observe(w *Worker) (enough func()) {
	watch, err := t.meter.RegisterCallback(func(_ context.Context, to metric.Observer) error {
		for _, c := range w.atWork() {
			blocked := int64(1)
			since := c.tel.standstill.longest("", c.cfg.FailoverTime)
			if since.IsZero() {
				blocked = 0
			}
			to.ObserveInt64(t.blocked, blocked, c.tel.shard.watch...)
			if !c.lost.Load() { // else somebody else's
				to.ObserveFloat64(t.lag, c.lag().Seconds(), c.tel.shard.watch...)
			}
		}
		return nil
	}, t.lag, t.blocked)
	if err != nil {
		w.cfg.Logger.Warn("metrics of shards cannot be observed", "err", err)
		return func() {}
	}
	return func() { _ = watch.Unregister() }
}

// shardTelemetry is the telemetry of one term: its attributes are made once,
// so that a batch costs no allocation when nobody listens.
type shardTelemetry struct {
	*telemetry
	shard   operation // what is told of the shard itself
	process operation
	settle  operation

	standstill standstill // what makes the shard wait
}

// operation is one kind of thing that is done with a shard.
type operation struct {
	name   string
	add    []metric.AddOption
	record []metric.RecordOption
	watch  []metric.ObserveOption
	span   []trace.SpanStartOption
}

func (t *telemetry) forShard(s *processors.Shard) *shardTelemetry {
	operation := func(name, kind string, spanKind trace.SpanKind) operation {
		attrs := []attribute.KeyValue{
			attribute.String("messaging.system", "aws.kinesis"),
			attribute.String("messaging.destination.name", s.Stream.Name),
			attribute.String("messaging.destination.partition.id", s.ID),
			attribute.String("messaging.consumer.group.name", s.Application),
			attribute.String("messaging.client.id", s.Worker),
		}
		if name != "" {
			attrs = append(attrs, attribute.String("messaging.operation.name", name), attribute.String("messaging.operation.type", kind))
		}
		set := metric.WithAttributeSet(attribute.NewSet(attrs...))
		return operation{
			name:   name + " " + s.Stream.Name,
			add:    []metric.AddOption{set},
			record: []metric.RecordOption{set},
			watch:  []metric.ObserveOption{set},
			span:   []trace.SpanStartOption{trace.WithSpanKind(spanKind), trace.WithAttributes(attrs...)},
		}
	}
	return &shardTelemetry{
		telemetry: t,
		shard:     operation("", "", trace.SpanKindInternal),
		process:   operation("process", "process", trace.SpanKindConsumer),
		settle:    operation("checkpoint", "settle", trace.SpanKindClient),
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
	ctx, span := t.tracer.Start(ctx, t.process.name, t.process.span...)
	return call{t, ctx, span, time.Now()}
}

func (c call) end(b *stream.Batch, err error) {
	t, ctx, span, now := c.t, c.ctx, c.span, time.Now()
	if span.IsRecording() {
		span.SetAttributes(
			attribute.Int("messaging.batch.message_count", len(b.Records)),
			attribute.Stringer("messaging.message.id", b.Records[0].Sequence),
		)
	}
	finish(span, err)
	took := now.Sub(c.start).Seconds()
	if err != nil {
		t.duration.Record(ctx, took, append(t.process.record[:1:1], metric.WithAttributes(errorType(err)))...)
		return
	}
	t.duration.Record(ctx, took, t.process.record...)
	t.consumed.Add(ctx, int64(len(b.Records)), t.process.add...)
	t.bytes.Add(ctx, int64(b.Bytes), t.shard.add...)
	t.latency.Record(ctx, now.Sub(b.Records[len(b.Records)-1].Arrival).Seconds(), t.shard.record...)
}

func finish(span trace.Span, err error) {
	if err != nil && span.IsRecording() {
		span.RecordError(err)
		span.SetAttributes(errorType(err))
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}

// errorType tells errors apart by their type: few enough for a metric.
func errorType(err error) attribute.KeyValue {
	kind := fmt.Sprintf("%T", err)
	if p := (*processors.PanicError)(nil); errors.As(err, &p) {
		kind = "panic"
	}
	return attribute.String("error.type", kind)
}

// checkpoint measures one storing of a checkpoint.
func (t *shardTelemetry) checkpoint(ctx context.Context, save func(context.Context) error) error {
	ctx, span := t.tracer.Start(ctx, t.settle.name, t.settle.span...)
	start := time.Now()
	err := save(ctx)
	finish(span, err)
	t.saving.Record(ctx, time.Since(start).Seconds(), t.shard.record...)
	switch {
	case err == nil:
		t.checkpoints.Add(ctx, 1, t.shard.add...)
	case errors.Is(err, checkpoint.ErrLeaseLost):
		t.conflicts.Add(ctx, 1, t.shard.add...)
	}
	return err
}

// saver measures what goes through a Saver: checkpoints that the worker takes,
// and those that the processor asks for.
func (t *shardTelemetry) saver(s checkpoint.Saver) checkpoint.Saver { return measured{s, t} }

type measured struct {
	next checkpoint.Saver
	tel  *shardTelemetry
}

func (m measured) Save(ctx context.Context, s checkpoint.State) error {
	return m.tel.checkpoint(ctx, func(ctx context.Context) error { return m.next.Save(ctx, s) })
}

func (m measured) SaveIn(ctx context.Context, tx any, s checkpoint.State) error {
	joiner, ok := m.next.(checkpoint.Joiner)
	if !ok {
		return checkpoint.ErrNoTransactions
	}
	return m.tel.checkpoint(ctx, func(ctx context.Context) error { return joiner.SaveIn(ctx, tx, s) })
}

// What these count has no request of its own to take a context from.

func (t *shardTelemetry) gap() { t.trimmed.Add(context.Background(), 1, t.shard.add...) }

func (t *shardTelemetry) retried(records int) {
	t.retries.Add(context.Background(), int64(records), t.shard.add...)
}

func (t *shardTelemetry) unpacked(records, outOfRange int) {
	t.inside.Add(context.Background(), int64(records), t.shard.add...)
	if outOfRange > 0 {
		t.outOfRange.Add(context.Background(), int64(outOfRange), t.shard.add...)
	}
}
