package lease

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// meters are the instruments of one coordinator.
type meters struct {
	held                                              metric.Int64UpDownCounter
	acquired, lostCount, handedOff, fencedCount, gone metric.Int64Counter
	leader                                            metric.Int64Gauge
	meter                                             metric.Meter
	shards                                            metric.Int64ObservableGauge
	application                                       attribute.KeyValue
	common                                            metric.MeasurementOption
	reasons                                           map[string]metric.MeasurementOption
}

func newMeters(provider metric.MeterProvider, application, worker string) (*meters, error) {
	meter := provider.Meter("github.com/millrace/millrace/lease")
	var problems []error
	counter := func(name, unit, description string) metric.Int64Counter {
		c, err := meter.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(description))
		problems = append(problems, err)
		return c
	}
	m := &meters{
		acquired:    counter("millrace.lease.acquired", "{lease}", "Leases taken: terms begun."),
		lostCount:   counter("millrace.lease.lost", "{lease}", "Leases lost while they were held."),
		handedOff:   counter("millrace.lease.handed_off", "{lease}", "Leases given up in good order."),
		fencedCount: counter("millrace.lease.fenced", "{worker}", "Times the fleet took this worker for dead."),
		gone:        counter("millrace.shard.gone", "{shard}", "Shards that left the stream before they were processed."),
	}
	var err error
	m.held, err = meter.Int64UpDownCounter("millrace.lease.held", metric.WithUnit("{lease}"), metric.WithDescription("Leases held now."))
	problems = append(problems, err)
	m.leader, err = meter.Int64Gauge("millrace.leader", metric.WithUnit("1"), metric.WithDescription("1 while this worker leads the fleet, else 0."))
	problems = append(problems, err)
	m.meter, m.application = meter, attribute.String("messaging.consumer.group.name", application)
	m.shards, err = meter.Int64ObservableGauge("millrace.fleet.shards", metric.WithUnit("{shard}"),
		metric.WithDescription("Shards of the whole fleet, by how they stand, and why: told by its leader."))
	problems = append(problems, err)
	common := []attribute.KeyValue{
		m.application,
		attribute.String("messaging.client.id", worker),
	}
	m.common = metric.WithAttributeSet(attribute.NewSet(common...))
	m.reasons = map[string]metric.MeasurementOption{}
	for _, reason := range []string{"finished", "released", "lost", "expired", "absent", "drained"} {
		m.reasons[reason] = metric.WithAttributeSet(attribute.NewSet(append(common, attribute.String("reason", reason))...))
	}
	return m, errors.Join(problems...)
}

// taken counts a term that begins (+1) or is over (-1).
func (m *meters) taken(change int64) {
	m.held.Add(context.Background(), change, m.common)
	if change > 0 {
		m.acquired.Add(context.Background(), change, m.common)
	}
}

func (m *meters) gaveUp(reason string) {
	m.handedOff.Add(context.Background(), 1, m.reasons[reason])
}

func (m *meters) lost(cause error) {
	reason := "lost"
	switch {
	case errors.Is(cause, ErrExpired):
		reason = "expired"
	case errors.Is(cause, ErrAbsent):
		reason = "absent"
	}
	m.lostCount.Add(context.Background(), 1, m.reasons[reason])
}

func (m *meters) fenced() { m.fencedCount.Add(context.Background(), 1, m.common) }

func (m *meters) trimmed() { m.gone.Add(context.Background(), 1, m.common) }

func (m *meters) leads(now bool) {
	var value int64
	if now {
		value = 1
	}
	m.leader.Record(context.Background(), value, m.common)
}

// counts has the gauge of the fleet's shards tell what a tally says, until stop is
// called.
func (m *meters) counts(t *tally) (stop func()) {
	registration, err := m.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		for group, n := range t.last() {
			o.ObserveInt64(m.shards, n, metric.WithAttributes(m.application,
				attribute.String("state", string(group.state)), attribute.String("reason", group.cause)))
		}
		return nil
	}, m.shards)
	if err != nil {
		return func() {} // the provider has told of it
	}
	return func() { _ = registration.Unregister() }
}
