package worker

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stream"
)

// endless has always more records, which cost nothing to read.
type endless struct{ stream.Stream }

func (s endless) Open(context.Context, string, stream.Position) (stream.Reader, error) {
	return new(endlessReader), nil
}

type endlessReader struct{ n uint64 }

func (r *endlessReader) Next(ctx context.Context, b *stream.Batch) error {
	b.Reset()
	now := time.Now()
	for range b.MaxRecords {
		r.n++
		b.Records = append(b.Records, stream.Record{Sequence: stream.MakeSequence(0, 0, r.n), PartitionKey: "key", Arrival: now})
		b.Bytes += 3
	}
	b.Footprint, b.Behind = b.Bytes, time.Second
	return context.Cause(ctx)
}

func (r *endlessReader) Close() error { return nil }

func TestNoRecordCostsAnAllocation(t *testing.T) {
	const shards, warm, records = 16, 200_000, 2_000_000
	b := setup(t, shards)
	var seen atomic.Int64
	var before, after runtime.MemStats
	begun, done := make(chan struct{}), make(chan struct{})
	cfg := b.config("a")
	cfg.Streams = []stream.Stream{endless{b.stream}}
	cfg.Processor = func(processors.Shard) processors.RecordProcessor {
		return processors.Func(func(_ context.Context, batch *processors.Batch) error {
			n := int64(len(batch.Records))
			switch now := seen.Add(n); {
			case now >= warm && now-n < warm:
				runtime.ReadMemStats(&before)
				close(begun)
			case now >= warm+records && now-n < warm+records:
				runtime.ReadMemStats(&after)
				close(done)
			}
			return nil
		})
	}
	w := b.start(cfg)
	<-begun
	<-done
	w.stop()
	each := float64(after.Mallocs-before.Mallocs) / records
	t.Logf("%.4f allocations a record", each)
	if each > .02 {
		t.Errorf("%.3f allocations for each record", each)
	}
}

// BenchmarkBatch is what one batch costs, be it of one record.
func BenchmarkBatch(b *testing.B) {
	bundle := setup(b, 1)
	var seen atomic.Int64
	begun, done := make(chan struct{}), make(chan struct{})
	cfg := bundle.config("a")
	cfg.BatchRecords = 1
	cfg.Streams = []stream.Stream{endless{bundle.stream}}
	cfg.Processor = func(processors.Shard) processors.RecordProcessor {
		return processors.Func(func(context.Context, *processors.Batch) error {
			switch seen.Add(1) {
			case 1000:
				close(begun)
			case int64(1000 + b.N):
				close(done)
			}
			return nil
		})
	}
	w := bundle.start(cfg)
	<-begun
	b.ReportAllocs()
	b.ResetTimer()
	<-done
	b.StopTimer()
	w.stop()
}
