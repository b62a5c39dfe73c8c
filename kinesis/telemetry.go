package kinesis

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// scope names the instruments' library.
const scope = "github.com/millrace/millrace/kinesis"

// telemetry holds a stream's instruments. Names follow OpenTelemetry's semantic
// conventions for messaging where they have one.
type telemetry struct {
	duration  metric.Float64Histogram
	sent      metric.Int64Counter
	throttled metric.Int64Counter
	// reconnects counts subscriptions that broke off.
	reconnects metric.Int64Counter

	stream     []attribute.KeyValue
	ofStream   metric.MeasurementOption
	operations [operations]metric.MeasurementOption
}

// operation is one of those whose duration is measured.
type operation int

const (
	getRecords operation = iota
	getShardIterator
	putRecords
	subscribeToShard
	operations
)

var operationNames = [operations][2]string{{"get_records", "receive"}, {"get_shard_iterator", "receive"}, {"put_records", "send"}, {"subscribe_to_shard", "receive"}}

func newTelemetry(mp metric.MeterProvider, stream string) (*telemetry, error) {
	m := mp.Meter(scope)
	t := &telemetry{stream: []attribute.KeyValue{
		attribute.String("messaging.system", "aws.kinesis"),
		attribute.String("messaging.destination.name", stream),
	}}
	var errs [4]error
	t.duration, errs[0] = m.Float64Histogram("messaging.client.operation.duration", metric.WithUnit("s"),
		metric.WithExplicitBucketBoundaries(.005, .01, .025, .05, .075, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10),
		metric.WithDescription("How long requests took, with the SDK's attempts."))
	t.sent, errs[1] = m.Int64Counter("messaging.client.sent.messages", metric.WithUnit("{message}"), metric.WithDescription("Records that were put, or that failed for good."))
	t.throttled, errs[2] = m.Int64Counter("millrace.source.throttled", metric.WithUnit("{request}"), metric.WithDescription("Reads that were refused because a shard was asked too often, or for too much."))
	t.reconnects, errs[3] = m.Int64Counter("millrace.fanout.reconnects", metric.WithUnit("{subscription}"), metric.WithDescription("Subscriptions that broke off, and were begun again."))
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("kinesis: Config.MeterProvider: %w", err)
	}
	t.ofStream = metric.WithAttributeSet(attribute.NewSet(t.stream...))
	for i, name := range operationNames {
		t.operations[i] = metric.WithAttributeSet(attribute.NewSet(append(t.stream[:2:2],
			attribute.String("messaging.operation.name", name[0]), attribute.String("messaging.operation.type", name[1]))...))
	}
	return t, nil
}

// begin measures one request until the returned function is called.
func (t *telemetry) begin(ctx context.Context, op operation) func(error) {
	start := time.Now()
	return func(err error) {
		if took := time.Since(start).Seconds(); err != nil {
			t.duration.Record(ctx, took, t.operations[op], metric.WithAttributes(errorType(err)))
		} else {
			t.duration.Record(ctx, took, t.operations[op])
		}
	}
}

// errorType tells errors apart by the code of the API, or else by their type:
// few enough for a metric.
func errorType(err error) attribute.KeyValue {
	kind := code(err)
	if kind == "" {
		kind = fmt.Sprintf("%T", err)
	}
	return attribute.String("error.type", kind)
}
