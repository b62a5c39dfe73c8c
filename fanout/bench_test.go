package fanout_test

import (
	"encoding/binary"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/fanout"
	"github.com/millrace/millrace/kinesis"
	"github.com/millrace/millrace/stream"
)

// BenchmarkPutToNext measures how long it takes from the call of a durable put,
// one at a time, to the record in the consumer's hand.
func BenchmarkPutToNext(b *testing.B) {
	for _, c := range []struct {
		name  string
		below func(e *engine.Engine, s *engine.Stream) stream.Stream
	}{
		{"Engine", func(_ *engine.Engine, s *engine.Stream) stream.Stream { return s }},
		{"HTTP1", func(e *engine.Engine, _ *engine.Stream) stream.Stream { return remote(b, e, false) }},
		{"HTTP2", func(e *engine.Engine, _ *engine.Stream) stream.Stream { return remote(b, e, true) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			e, err := engine.Open(b.TempDir(), engine.Config{Logger: silent})
			if err != nil {
				b.Fatal(err)
			}
			defer e.Close()
			s, err := e.EnsureStream(b.Context(), "orders", engine.StreamConfig{Shards: 1})
			if err != nil {
				b.Fatal(err)
			}
			r := open(b, use(b, c.below(e, s), fanout.Config{}), stream.TrimHorizon)
			var took []time.Duration
			data := make([]byte, 1024)
			var batch stream.Batch
			began := time.Now()
			for b.Loop() {
				at := time.Since(began)
				binary.LittleEndian.PutUint64(data, uint64(at))
				if _, err := s.Put(b.Context(), stream.Entry{PartitionKey: "k", Data: data}); err != nil {
					b.Fatal(err)
				}
				if err := r.Next(b.Context(), &batch); err != nil {
					b.Fatal(err)
				}
				if got := binary.LittleEndian.Uint64(batch.Records[0].Data); got != uint64(at) {
					b.Fatalf("the record of %d came, want that of %d", got, at)
				}
				took = append(took, time.Since(began)-at)
			}
			b.StopTimer()
			r.Close()
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
		})
	}
}

// remote returns the stream of an engine that is served on loopback.
func remote(b *testing.B, e *engine.Engine, http2 bool) stream.Stream {
	s, err := kinesis.New(service(b, e, http2), "orders", kinesis.Config{Resubscribe: time.Millisecond, Logger: silent})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// BenchmarkSubscriptionsAtRest measures what a shard at rest takes that is read
// by push, with the server's side of it in the same process.
func BenchmarkSubscriptionsAtRest(b *testing.B) {
	const shards = 2000
	for _, c := range []struct {
		name  string
		below func(e *engine.Engine, s *engine.Stream) stream.Stream
	}{
		{"Engine", func(_ *engine.Engine, s *engine.Stream) stream.Stream { return s }},
		{"HTTP1", func(e *engine.Engine, _ *engine.Stream) stream.Stream { return remote(b, e, false) }},
		{"HTTP2", func(e *engine.Engine, _ *engine.Stream) stream.Stream { return remote(b, e, true) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			e, err := engine.OpenMemory(engine.Config{Logger: silent})
			if err != nil {
				b.Fatal(err)
			}
			defer e.Close()
			s, err := e.EnsureStream(b.Context(), "orders", engine.StreamConfig{Shards: shards})
			if err != nil {
				b.Fatal(err)
			}
			list, err := s.Shards(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			var entries []stream.Entry
			for _, shard := range list {
				entries = append(entries, stream.Entry{PartitionKey: "k", HashKey: shard.Hash.Start, HasHashKey: true, Data: []byte("one")})
			}
			if _, err := s.Put(b.Context(), entries...); err != nil {
				b.Fatal(err)
			}
			f := use(b, c.below(e, s), fanout.Config{})
			if err := f.Register(b.Context()); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				before := memory()
				began := time.Now()
				readers := make([]stream.Reader, shards)
				var opening sync.WaitGroup
				turns := make(chan struct{}, 100)
				for i, shard := range list {
					turns <- struct{}{}
					opening.Go(func() {
						defer func() { <-turns }()
						r, err := f.Open(b.Context(), shard.ID, stream.TrimHorizon)
						if err != nil {
							b.Error(err)
							return
						}
						readers[i] = r
						// The subscription stands when it has given something.
						if err := r.Next(b.Context(), new(stream.Batch)); err != nil {
							b.Error(err)
						}
					})
				}
				opening.Wait()
				b.ReportMetric(time.Since(began).Seconds(), "s-to-begin")
				b.ReportMetric(float64(memory()-before)/shards, "B/shard")
				for _, r := range readers {
					if r != nil {
						opening.Go(func() { r.Close() })
					}
				}
				opening.Wait()
			}
		})
	}
}

// memory is what heap and stacks take.
func memory() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// BenchmarkBacklog measures how fast a shard of records of 1 KiB is read by push,
// with the server's side of it in the same process.
func BenchmarkBacklog(b *testing.B) {
	const records, size = 100_000, 1 << 10
	e, err := engine.OpenMemory(engine.Config{Logger: silent, CacheBytes: 256 << 20})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	s, err := e.EnsureStream(b.Context(), "orders", engine.StreamConfig{Shards: 1})
	if err != nil {
		b.Fatal(err)
	}
	entries := make([]stream.Entry, 500)
	for i := range entries {
		entries[i] = stream.Entry{PartitionKey: "customer-4711", Data: make([]byte, size)}
	}
	for range records / len(entries) {
		if _, err := s.Put(b.Context(), entries...); err != nil {
			b.Fatal(err)
		}
	}
	for _, c := range []struct {
		name  string
		below stream.Stream
	}{{"Engine", s}, {"HTTP1", remote(b, e, false)}, {"HTTP2", remote(b, e, true)}} {
		b.Run(c.name, func(b *testing.B) {
			f := use(b, c.below, fanout.Config{})
			b.SetBytes(records * size)
			var batch stream.Batch
			for b.Loop() {
				r := open(b, f, stream.TrimHorizon)
				for got := 0; got < records; got += len(batch.Records) {
					if err := r.Next(b.Context(), &batch); err != nil {
						b.Fatal(err)
					}
				}
				r.Close()
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/records, "µs/record")
		})
	}
}
