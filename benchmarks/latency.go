package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace/millrace/benchmarks/internal/disk"
	"github.com/millrace/millrace/benchmarks/internal/logs"
	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/lease/sqlite"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/worker"
)

// What is timed.
const (
	answered  = "put"
	processed = "processed"
)

var latencyBenchmark = benchmark{
	name:  "latency",
	about: "from the call of Put to its answer, and to the processor of a worker, beside a bare write + fdatasync of 4 KiB",
	columns: []string{
		latency(answered, 50), latency(answered, 99), latency(answered, 99.9),
		latency(processed, 50), latency(processed, 99), latency(processed, 99.9),
	},
	run: runLatency,
}

const (
	latencyShards = 16
	latencyLasts  = 2 * time.Second
	syncLasts     = 2 * time.Second
	// latencyRests is until a new engine has a second log file. Later on it takes
	// those from retention, which is no work.
	latencyRests = time.Second
	// closedLoop is the rate of one producer who waits for each answer.
	closedLoop = 0
)

var latencyRates = []int{closedLoop, 1000, 10_000}

func latencyCase(d engine.Durability, rate int) string {
	name := "durable, "
	if d == engine.LoseOnPowerFailure {
		name = "not durable, "
	}
	if rate == closedLoop {
		return name + "closed loop"
	}
	return fmt.Sprintf("%s%d/s", name, rate)
}

// runLatency puts records while a worker processes them, in a closed loop or at
// a steady rate whether or not the former ones were answered (an open loop, so
// that a stall is counted for everyone who would have met it).
func runLatency(ctx context.Context, b *bench) error {
	b.note("Records of 100 B over %d shards, %v each. The bare disk's \"put\" is one write + fdatasync after the other, at 1000/s one each millisecond, measured for %v in the same rounds.", latencyShards, b.lasts(latencyLasts), b.lasts(syncLasts))
	rates := latencyRates
	if b.quick {
		rates = rates[1:2]
	}
	for _, d := range []engine.Durability{engine.Durable, engine.LoseOnPowerFailure} {
		for _, rate := range rates {
			who := []contender{{millrace, func(ctx context.Context, dir string) (figures, error) { return b.latency(ctx, dir, d, rate) }}}
			if d == engine.Durable {
				who = append(who, contender{rawRecycled, func(ctx context.Context, dir string) (figures, error) { return b.bareSyncs(ctx, dir, rate) }})
			}
			if err := b.compare(ctx, latencyCase(d, rate), who...); err != nil {
				return err
			}
		}
	}
	return nil
}

// bareSyncs writes and syncs as often as the producer puts, if a disk can do that
// one by one: a disk that rests between them answers later.
func (b *bench) bareSyncs(ctx context.Context, path string, rate int) (f figures, err error) {
	ring, err := disk.OpenRing(path, disk.Recycled, 64<<20, 4096)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, ring.Close()) }()
	var times []time.Duration
	if rate == closedLoop || rate > 1000 {
		times, err = ring.Loop(ctx, b.lasts(syncLasts))
	} else {
		times, err = ring.Paced(ctx, rate, b.lasts(syncLasts))
	}
	f = figures{}
	distribution(f, answered, times)
	return f, err
}

// latency is one round: an engine, a worker over it that has all shards, and a
// producer.
func (b *bench) latency(ctx context.Context, dir string, d engine.Durability, rate int) (f figures, err error) {
	m, err := logs.OpenMillrace(ctx, filepath.Join(dir, "engine"), engine.Config{Durability: d}, engine.StreamConfig{Shards: latencyShards})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	leases, err := sqlite.Open(ctx, filepath.Join(dir, "leases.db"), sqlite.Config{Application: "bench"})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, leases.Close()) }()

	p := &producer{stream: m.Stream, epoch: time.Now(), allReady: make(chan struct{})}
	runCtx, enough := context.WithCancel(ctx)
	defer enough()
	w, err := worker.New(worker.Config{
		Application: "bench", Streams: []stream.Stream{m.Stream}, Leases: leases, Logger: logs.Quiet,
		Processor: p.processor,
	})
	if err != nil {
		return nil, err
	}
	var wg sync.WaitGroup
	var runErr error
	wg.Go(func() { runErr = w.Run(runCtx) })
	select {
	case <-p.allReady:
	case <-ctx.Done():
	}
	if err = pause(ctx, b.lasts(latencyRests)); err == nil {
		err = p.produce(ctx, rate, b.lasts(latencyLasts))
	}
	for err == nil && p.processed.Load() < int64(len(p.put)) {
		err = pause(ctx, time.Millisecond) // the last ones are on their way
	}
	enough()
	wg.Wait()
	if err = errors.Join(err, runErr); err != nil {
		return nil, err
	}
	f = figures{}
	distribution(f, answered, p.put)
	distribution(f, processed, p.took)
	return f, nil
}

// producer puts records that carry their number and when they were put, and
// hears of them again from the processors.
type producer struct {
	stream   stream.Putter
	epoch    time.Time
	ready    atomic.Int64
	allReady chan struct{} // closed when a processor has begun on each shard

	put, took []time.Duration // by number: until the answer, until the processor
	processed atomic.Int64
}

func (p *producer) processor(processors.Shard) processors.RecordProcessor {
	if p.ready.Add(1) == latencyShards {
		close(p.allReady)
	}
	return processors.Func(func(_ context.Context, batch *processors.Batch) error {
		now := time.Since(p.epoch)
		for i := range batch.Records {
			data := batch.Records[i].Data
			p.took[binary.LittleEndian.Uint64(data)] = now - time.Duration(binary.LittleEndian.Uint64(data[8:]))
		}
		p.processed.Add(int64(len(batch.Records)))
		return nil
	})
}

// produce puts for that long.
func (p *producer) produce(ctx context.Context, rate int, lasts time.Duration) error {
	if rate == closedLoop {
		const most = 1 << 20 // more than one caller puts in any time that lasts
		p.put, p.took = make([]time.Duration, most), make([]time.Duration, most)
		n := 0
		for until := time.Now().Add(lasts); n == 0 || n < most && time.Now().Before(until); n++ {
			if err := p.one(ctx, n); err != nil {
				return err
			}
		}
		p.put, p.took = p.put[:n], p.took[:n]
		return nil
	}
	n := max(1, int(lasts.Seconds()*float64(rate)))
	p.put, p.took = make([]time.Duration, n), make([]time.Duration, n)
	errs := make([]error, n)
	var puts sync.WaitGroup
	begin := time.Now()
	for i := range n {
		if wait := time.Until(begin.Add(time.Duration(i) * time.Second / time.Duration(rate))); wait > 0 {
			time.Sleep(wait) // the rate of the producer, not a synchronisation
		}
		// Timers wake late; that is the producer's matter and not counted.
		puts.Go(func() { errs[i] = p.one(ctx, i) })
	}
	puts.Wait()
	return errors.Join(errs...)
}

// one puts the record of that number.
func (p *producer) one(ctx context.Context, number int) error {
	data := make([]byte, 100-keySize)
	begin := time.Since(p.epoch)
	binary.LittleEndian.PutUint64(data, uint64(number))
	binary.LittleEndian.PutUint64(data[8:], uint64(begin))
	results, err := p.stream.Put(ctx, stream.Entry{PartitionKey: fmt.Sprintf("%0*d", keySize, number), Data: data})
	p.put[number] = time.Since(p.epoch) - begin
	if err == nil {
		err = results[0].Err
	}
	return err
}
