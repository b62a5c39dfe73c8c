package worker

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/embedded"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/processors"
)

// meters is a MeterProvider whose metrics can be looked at.
type meters struct {
	provider *sdk.MeterProvider
	reader   *sdk.ManualReader
}

func newMeters() *meters {
	reader := sdk.NewManualReader()
	return &meters{sdk.NewMeterProvider(sdk.WithReader(reader)), reader}
}

// series is what one metric says under one set of attributes: the sum of a
// counter, the value of a gauge, the count of a histogram.
type series struct {
	unit  string
	attrs attribute.Set
	value float64
}

// collect returns the metrics of this package by name.
func (m *meters) collect(t *testing.T) map[string][]series {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := m.reader.Collect(context.WithoutCancel(t.Context()), &all); err != nil {
		t.Fatal(err)
	}
	found := map[string][]series{}
	for _, scoped := range all.ScopeMetrics {
		if scoped.Scope.Name != scope {
			continue
		}
		for _, metric := range scoped.Metrics {
			add := func(attrs attribute.Set, value float64) {
				found[metric.Name] = append(found[metric.Name], series{metric.Unit, attrs, value})
			}
			switch data := metric.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					add(p.Attributes, float64(p.Value))
				}
			case metricdata.Gauge[float64]:
				for _, p := range data.DataPoints {
					add(p.Attributes, p.Value)
				}
			case metricdata.Histogram[float64]:
				for _, p := range data.DataPoints {
					add(p.Attributes, float64(p.Count))
				}
			default:
				t.Fatalf("%s is a %T", metric.Name, data)
			}
		}
	}
	return found
}

func (m *meters) sum(t *testing.T, name string) (sum float64) {
	t.Helper()
	for _, s := range m.collect(t)[name] {
		sum += s.value
	}
	return sum
}

// spans is a TracerProvider that keeps the spans that have ended.
type spans struct {
	embedded.TracerProvider
	mu    sync.Mutex
	ended []*span
}

func (s *spans) Tracer(string, ...trace.TracerOption) trace.Tracer { return &tracer{spans: s} }

type tracer struct {
	embedded.Tracer
	spans *spans
}

func (t *tracer) Start(ctx context.Context, name string, options ...trace.SpanStartOption) (context.Context, trace.Span) {
	cfg := trace.NewSpanStartConfig(options...)
	s := &span{spans: t.spans, name: name, kind: cfg.SpanKind(), attrs: cfg.Attributes()}
	return trace.ContextWithSpan(ctx, s), s
}

type span struct {
	noop.Span
	spans  *spans
	name   string
	kind   trace.SpanKind
	attrs  []attribute.KeyValue
	status codes.Code
	err    error
}

func (s *span) IsRecording() bool                             { return true }
func (s *span) SetAttributes(attrs ...attribute.KeyValue)     { s.attrs = append(s.attrs, attrs...) }
func (s *span) SetStatus(code codes.Code, _ string)           { s.status = code }
func (s *span) RecordError(err error, _ ...trace.EventOption) { s.err = err }

func (s *span) End(...trace.SpanEndOption) {
	s.spans.mu.Lock()
	defer s.spans.mu.Unlock()
	s.spans.ended = append(s.spans.ended, s)
}

// text is the attributes as a test can compare them.
func text(attrs ...attribute.KeyValue) string {
	set := attribute.NewSet(attrs...)
	return set.Encoded(attribute.DefaultEncoder())
}

func TestTelemetryHasTheNamesOfTheConventions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 1)
		meters, spans := newMeters(), &spans{}
		cfg := b.config("a")
		cfg.MeterProvider, cfg.TracerProvider = meters.provider, spans
		cfg.Retry = processors.Backoff{Min: time.Second, Max: time.Second}
		attempts := 0
		cfg.Processor = func(processors.Shard) processors.RecordProcessor {
			return processors.Func(func(ctx context.Context, batch *processors.Batch) error {
				if _, ok := trace.SpanFromContext(ctx).(*span); !ok {
					t.Error("the processor's context carries no span")
				}
				switch attempts++; attempts {
				case 1:
					return errors.New("no")
				case 2:
					if got := meters.sum(t, "millrace.shards.blocked"); got != 1 {
						t.Errorf("%v shards are counted as blocked between two attempts", got)
					}
					panic("no")
				}
				b.ledger.add(batch)
				return nil
			})
		}
		b.puts(10) // "1" to "10" with keys of five bytes: 61 bytes
		w := b.start(cfg)
		b.ledger.wait(t, 10)
		time.Sleep(10 * time.Second) // the checkpoint
		inHand := meters.collect(t)
		w.stop()

		shard := []attribute.KeyValue{
			attribute.String("messaging.system", "aws.kinesis"),
			attribute.String("messaging.destination.name", "orders"),
			attribute.String("messaging.destination.partition.id", only),
			attribute.String("messaging.consumer.group.name", "test"),
			attribute.String("messaging.client.id", "a"),
		}
		with := func(more ...attribute.KeyValue) []attribute.KeyValue { return slices.Concat(shard, more) }
		process := with(attribute.String("messaging.operation.name", "process"), attribute.String("messaging.operation.type", "process"))
		failed := func(kind string) []attribute.KeyValue {
			return slices.Concat(process, []attribute.KeyValue{attribute.String("error.type", kind)})
		}
		type point struct {
			name, unit, attrs string
			value             float64
		}
		want := []point{
			{"messaging.client.consumed.messages", "{message}", text(process...), 10},
			{"messaging.process.duration", "s", text(process...), 1},
			{"messaging.process.duration", "s", text(failed("*errors.errorString")...), 1},
			{"messaging.process.duration", "s", text(failed("panic")...), 1},
			{"millrace.bytes.consumed", "By", text(shard...), 61},
			{"millrace.checkpoint.duration", "s", text(shard...), 2}, // by itself, and with the release
			{"millrace.checkpoint.writes", "{write}", text(shard...), 2},
			{"millrace.record.latency", "s", text(shard...), 1},
			{"millrace.records.retried", "{message}", text(shard...), 20},
		}
		for name, unit := range map[string]string{"millrace.shard.lag": "s", "millrace.shards.blocked": "{shard}"} {
			if now := inHand[name]; len(now) != 1 || now[0].unit != unit || text(now[0].attrs.ToSlice()...) != text(shard...) || now[0].value != 0 {
				t.Errorf("%s of the shard in hand: %+v", name, now)
			}
		}
		var got []point
		collected := meters.collect(t)
		for _, name := range slices.Sorted(maps.Keys(collected)) {
			for _, s := range collected[name] {
				got = append(got, point{name, s.unit, text(s.attrs.ToSlice()...), s.value})
			}
		}
		slices.SortFunc(got, func(a, b point) int { return strings.Compare(a.name+a.attrs, b.name+b.attrs) })
		slices.SortFunc(want, func(a, b point) int { return strings.Compare(a.name+a.attrs, b.name+b.attrs) })
		for i := range max(len(got), len(want)) {
			switch {
			case i >= len(got):
				t.Errorf("missing: %+v", want[i])
			case i >= len(want):
				t.Errorf("not wanted: %+v", got[i])
			case got[i] != want[i]:
				t.Errorf("got  %+v\nwant %+v", got[i], want[i])
			}
		}

		var told []string
		for _, s := range spans.ended {
			told = append(told, s.name+" "+s.kind.String()+" "+s.status.String()+" "+text(s.attrs...))
		}
		first := b.first(t)
		batch := []attribute.KeyValue{attribute.Int("messaging.batch.message_count", 10), attribute.Stringer("messaging.message.id", first)}
		settle := text(with(attribute.String("messaging.operation.name", "checkpoint"), attribute.String("messaging.operation.type", "settle"))...)
		wantSpans := []string{
			"process orders consumer Error " + text(slices.Concat(failed("*errors.errorString"), batch)...),
			"process orders consumer Error " + text(slices.Concat(failed("panic"), batch)...),
			"process orders consumer Unset " + text(slices.Concat(process, batch)...),
			"checkpoint orders client Unset " + settle,
			"checkpoint orders client Unset " + settle,
		}
		if !slices.Equal(told, wantSpans) {
			t.Errorf("spans:\n%s\nwant:\n%s", strings.Join(told, "\n"), strings.Join(wantSpans, "\n"))
		}
	})
}

func TestCheckpointsThatTheProcessorAsksForAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 1)
		meters := newMeters()
		cut := &cuttable{Store: b.store}
		cfg := b.config("a")
		cfg.Leases = cut
		cfg.MeterProvider = meters.provider
		cfg.ManualCheckpoints = true
		cfg.Processor = func(processors.Shard) processors.RecordProcessor {
			return processors.Func(func(ctx context.Context, batch *processors.Batch) error {
				if string(batch.Records[0].Data) != "1" {
					<-ctx.Done()
				}
				err := batch.Checkpointer.Checkpoint(context.WithoutCancel(ctx))
				if err == nil {
					b.ledger.add(batch)
				}
				return err
			})
		}
		b.puts(1)
		w := b.start(cfg)
		b.ledger.wait(t, 1)
		b.puts(1)
		w.crash(cut)
		if writes, conflicts := meters.sum(t, "millrace.checkpoint.writes"), meters.sum(t, "millrace.checkpoint.conflicts"); writes != 1 || conflicts != 1 {
			t.Errorf("%v writes and %v conflicts were counted, want 1 of each", writes, conflicts)
		}
	})
}

// The callback hangs, the processor fails, or the shard is another worker's.
func TestTheMetricsOfAShardTellThatItStandsStillAndEndWithItsTerm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 1)
		meters := newMeters()
		cfg := b.config("a")
		cfg.MeterProvider, cfg.BatchRecords = meters.provider, 5
		var hangs, fails atomic.Bool
		cfg.Processor = func(processors.Shard) processors.RecordProcessor {
			return processors.Func(func(ctx context.Context, batch *processors.Batch) error {
				for hangs.Load() {
					time.Sleep(time.Second) // and heeds no context
				}
				if fails.Load() {
					return errors.New("no")
				}
				b.ledger.add(batch)
				return nil
			})
		}
		w := b.start(cfg)
		quiet := func(when string) {
			t.Helper()
			if lag, blocked := meters.sum(t, "millrace.shard.lag"), meters.sum(t, "millrace.shards.blocked"); lag != 0 || blocked != 0 {
				t.Errorf("%s: a lag of %v, %v blocked", when, lag, blocked)
			}
		}
		b.puts(20)
		b.ledger.wait(t, 20)
		quiet("all is done")
		for name, harm := range map[string]*atomic.Bool{"it hangs": &hangs, "it fails": &fails} {
			harm.Store(true)
			b.puts(10)
			time.Sleep(10 * time.Minute)
			b.puts(10)
			time.Sleep(50 * time.Minute)
			if lag, blocked := meters.sum(t, "millrace.shard.lag"), meters.sum(t, "millrace.shards.blocked"); lag < 3590 || lag > 3610 || blocked != 1 {
				t.Errorf("%s for an hour: a lag of %v, %v blocked", name, lag, blocked)
			}
			harm.Store(false)
			b.ledger.wait(t, b.put)
			time.Sleep(time.Minute)
			quiet(name + " no more")
		}
		hangs.Store(true)
		b.puts(10)
		time.Sleep(time.Minute)
		fence(t, b.store, w.worker.Status().Incarnation)
		time.Sleep(time.Minute)
		if n, blocked := len(meters.collect(t)["millrace.shard.lag"]), meters.sum(t, "millrace.shards.blocked"); n != 0 || blocked != 1 {
			t.Errorf("a shard that is lost has %d lags here, and blocks %v", n, blocked)
		}
		hangs.Store(false)
		b.ledger.wait(t, b.put)
		w.stop()
		if all := meters.collect(t); len(all["millrace.shard.lag"])+len(all["millrace.shards.blocked"]) != 0 {
			t.Errorf("after Run: %v", all)
		}
	})
}

// fence has the fleet take an incarnation for dead.
func fence(t *testing.T, store lease.Store, incarnation string) {
	t.Helper()
	members, err := store.Members(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range members {
		if fenced := m; m.Incarnation == incarnation {
			fenced.Fenced = true
			if _, err := store.SwapMember(t.Context(), m, fenced); err != nil {
				t.Fatal(err)
			}
		}
	}
}
