package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/lease/sqlite"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/worker"
)

// runLatency puts 100-byte records at a steady rate, whether or not the former
// ones were answered (an open loop, so that a stall is counted for everyone who
// would have met it), while a worker processes them.
func runLatency(ctx context.Context, o options, report func(row)) error {
	for _, mode := range []struct {
		name string
		engine.Durability
	}{{"durable", engine.Durable}, {"relaxed", engine.LoseOnPowerFailure}} {
		rates := []int{1000, 10000}
		if o.quick {
			rates = rates[:1]
		}
		for _, rate := range rates {
			if err := latencyCase(ctx, o, mode.name, mode.Durability, rate, report); err != nil {
				return err
			}
		}
	}
	return nil
}

func latencyCase(ctx context.Context, o options, name string, d engine.Durability, rate int, report func(row)) (err error) {
	const shards = 16
	n := 3 * rate
	if o.quick {
		n = rate / 5
	}
	values := map[string][]float64{}
	for range o.rounds {
		put, processed, err := latencyRound(ctx, o, d, rate, n, shards)
		if err != nil {
			return err
		}
		for what, times := range map[string][]time.Duration{"put": put, "processed": processed} {
			slices.Sort(times)
			for name, p := range map[string]float64{"p50": .5, "p99": .99, "p99.9": .999} {
				key := what + " " + name + " µs"
				values[key] = append(values[key], float64(percentile(times, p).Microseconds()))
			}
		}
	}
	r := row{Case: fmt.Sprintf("%s, %d/s", name, rate), Value: map[string]spread{}}
	for _, what := range []string{"put", "processed"} {
		for _, p := range []string{"p50", "p99", "p99.9"} {
			key := what + " " + p + " µs"
			r.Units = append(r.Units, key)
			r.Value[key] = spreadOf(values[key])
		}
	}
	report(r)
	return nil
}

func latencyRound(ctx context.Context, o options, d engine.Durability, rate, n, shards int) (put, processed []time.Duration, err error) {
	dir, err := os.MkdirTemp(o.dir, "latency-")
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(dir)
	e, err := engine.Open(filepath.Join(dir, "engine"), engine.Config{Durability: d})
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	s, err := e.CreateStream(ctx, "bench", engine.StreamConfig{Shards: shards})
	if err != nil {
		return nil, nil, err
	}
	leases, err := sqlite.Open(ctx, filepath.Join(dir, "leases.db"), sqlite.Config{Application: "bench"})
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, leases.Close()) }()

	// Every record carries its number and when it was put.
	put, processed = make([]time.Duration, n), make([]time.Duration, n)
	epoch := time.Now()
	var left, ready atomic.Int64
	left.Store(int64(n))
	allReady := make(chan struct{})
	runCtx, enough := context.WithCancel(ctx)
	defer enough()
	w, err := worker.New(worker.Config{
		Application: "bench", Streams: []stream.Stream{s}, Leases: leases,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Processor: func(processors.Shard) processors.RecordProcessor {
			if ready.Add(1) == int64(shards) {
				close(allReady)
			}
			return processors.Func(func(_ context.Context, b *processors.Batch) error {
				now := time.Since(epoch)
				for i := range b.Records {
					number, due := decodeStamp(b.Records[i].Data)
					processed[number] = now - due
				}
				if left.Add(-int64(len(b.Records))) <= 0 {
					enough()
				}
				return nil
			})
		},
	})
	if err != nil {
		return nil, nil, err
	}
	var wg sync.WaitGroup
	var runErr error
	wg.Go(func() { runErr = w.Run(runCtx) })
	select {
	case <-allReady:
	case <-ctx.Done():
	}

	var putErr atomic.Pointer[error]
	var puts sync.WaitGroup
	begin := time.Since(epoch)
	for i := range n {
		due := begin + time.Duration(i)*time.Second/time.Duration(rate)
		if wait := due - time.Since(epoch); wait > 0 {
			time.Sleep(wait) // the rate of the producer, not a synchronisation
		}
		puts.Go(func() {
			// Timers wake late; that is the producer's matter and not counted.
			due := time.Since(epoch)
			data := make([]byte, 92)
			encodeStamp(data, i, due)
			results, err := s.Put(ctx, stream.Entry{PartitionKey: fmt.Sprintf("%08d", i), Data: data})
			put[i] = time.Since(epoch) - due
			if err == nil {
				err = results[0].Err
			}
			if err != nil {
				putErr.Store(&err)
				enough()
			}
		})
	}
	puts.Wait()
	wg.Wait()
	if p := putErr.Load(); p != nil {
		return nil, nil, *p
	}
	if runErr == nil && left.Load() != 0 {
		runErr = fmt.Errorf("%d of %d records were not processed", left.Load(), n)
	}
	return put, processed, runErr
}

func encodeStamp(data []byte, number int, due time.Duration) {
	binary.LittleEndian.PutUint64(data, uint64(number))
	binary.LittleEndian.PutUint64(data[8:], uint64(due))
}

func decodeStamp(data []byte) (number int, due time.Duration) {
	return int(binary.LittleEndian.Uint64(data)), time.Duration(binary.LittleEndian.Uint64(data[8:]))
}
