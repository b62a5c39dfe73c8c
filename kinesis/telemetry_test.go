package kinesis

import (
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/millrace/millrace/stream"
)

func TestRequestsRefusalsAndPutsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reader := sdkmetric.NewManualReader()
		s := newService(t, 1)
		s.put(0, 5, 10)
		s.fault = func(op string, n int) error {
			if op == "GetRecords" && n < 3 {
				return &types.ProvisionedThroughputExceededException{}
			}
			return nil
		}
		st := s.stream(Config{MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))})
		read(t, openAt(t, st, first, stream.TrimHorizon), 0, 5)
		if _, err := st.Put(t.Context(), make([]stream.Entry, 0)...); err != nil {
			t.Error(err)
		}
		if _, err := st.Put(t.Context(), stream.Entry{PartitionKey: "a"}, stream.Entry{PartitionKey: "b"}); err != nil {
			t.Error(err)
		}

		var all metricdata.ResourceMetrics
		if err := reader.Collect(t.Context(), &all); err != nil {
			t.Fatal(err)
		}
		got := map[string]int64{}
		for _, m := range all.ScopeMetrics[0].Metrics {
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					got[m.Name] += p.Value
				}
			case metricdata.Histogram[float64]:
				for _, p := range data.DataPoints {
					op, _ := p.Attributes.Value(attribute.Key("messaging.operation.name"))
					failure, _ := p.Attributes.Value(attribute.Key("error.type"))
					got[m.Name+" "+op.AsString()+" "+failure.AsString()] += int64(p.Count)
				}
			}
		}
		for name, want := range map[string]int64{
			"messaging.client.sent.messages":                   2,
			"millrace.source.throttled":                        2,
			"messaging.client.operation.duration get_records ": 1,
			"messaging.client.operation.duration get_records ProvisionedThroughputExceededException": 2,
			"messaging.client.operation.duration get_shard_iterator ":                                1,
			"messaging.client.operation.duration put_records ":                                       1,
		} {
			if got[name] != want {
				t.Errorf("%s is %d, want %d", name, got[name], want)
			}
		}
	})
}
