package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/millrace/millrace/benchmarks/internal/disk"
	"github.com/millrace/millrace/benchmarks/internal/logs"
	"github.com/millrace/millrace/engine"
)

var readBenchmark = benchmark{
	name:    "read",
	about:   "reading from the beginning, and following the end while it is written, against NATS and the page cache",
	columns: []string{recordRate, byteRate, cpuPerRecord, allocs},
	run:     runRead,
}

// Who reads.
const (
	fromMemory    = "Millrace, from its memory"
	fromPageCache = "Millrace, from the page cache"
	natsOrdered   = "NATS, ordered consumer"
	rawRead       = "pread 1 MiB + CRC32C"
)

const (
	readLasts   = time.Second
	fromFiles   = 512 << 20 // bytes that are read from files
	inMemory    = 48 << 20  // bytes that fit into the engine's memory
	fromNATS    = 64 << 20
	tailLasts   = 1500 * time.Millisecond
	wholeStream = 1 << 62
)

var (
	catchUps = []load{{8, 500, 1024, 1}, {8, 500, 1024, 16}, {8, 500, 100, 1}, {8, 500, 100, 16}}
	tailed   = load{4, 500, 1024, 1}
)

func catchUp(l load) string { return "catch-up, " + sizeName(l.size) + ", " + shardsName(l.shards) }

func tail(l load) string {
	return "tail, " + sizeName(l.size) + ", not durable, put by " + load{l.callers, l.batch, l.size, l.shards}.String()
}

func runRead(ctx context.Context, b *bench) error {
	b.note("Catch-up: one reader for each shard, from the first record to the last, every checksum checked where files are read; %d MiB in files, %d MiB in memory.", fromFiles>>20, inMemory>>20)
	b.note("Tail: one reader follows %s; records/s is what it reads, CPU is that of writing and reading together.", tailed)
	cases := catchUps
	if b.quick {
		cases = cases[:1]
	}
	for _, l := range cases {
		if err := b.readCase(ctx, l); err != nil {
			return err
		}
	}
	if err := b.compare(ctx, tail(tailed), b.tailMillrace(tailed), b.tailNATS(tailed)); err != nil {
		return err
	}
	return b.runOneShard(ctx)
}

// readCase reads the same data again in each round: nothing changes by reading.
func (b *bench) readCase(ctx context.Context, l load) (err error) {
	if !b.wants(catchUp(l)) {
		return nil
	}
	dir, done, err := b.temp()
	if err != nil {
		return err
	}
	defer done()
	files, n, err := filled(ctx, dir+"/files", engine.Config{CacheBytes: 1}, l, b.amount(fromFiles))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, files.Close()) }()
	memory, err := logs.OpenMillrace(ctx, dir+"/memory", engine.Config{Durability: engine.LoseOnPowerFailure}, engine.StreamConfig{Shards: l.shards})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, memory.Close()) }()
	kept, err := fill(ctx, memory, l, b.amount(inMemory))
	if err != nil {
		return err
	}
	server, err := logs.OpenNATS(ctx, dir+"/nats", false, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	sent, err := fill(ctx, server, l, b.amount(fromNATS))
	if err != nil {
		return err
	}
	again := func(n int, read func(ctx context.Context) error) func(context.Context, string) (figures, error) {
		return func(ctx context.Context, _ string) (figures, error) { return b.again(ctx, n, l.size, read) }
	}
	return b.compare(ctx, catchUp(l),
		contender{fromMemory, again(kept, func(ctx context.Context) error { _, err := readAll(ctx, memory.Stream, kept); return err })},
		contender{fromPageCache, again(n, func(ctx context.Context) error { _, err := readAll(ctx, files.Stream, n); return err })},
		contender{natsOrdered, again(sent, func(ctx context.Context) error { return readNATS(ctx, server, sent) })},
		contender{rawRead, func(context.Context, string) (figures, error) {
			return rawReading(dir+"/files", int64(n*l.size), l.size)
		}},
	)
}

// rawReading reads bytes of files without looking at them, as if they were
// records of that size.
func rawReading(dir string, bytes int64, size int) (figures, error) {
	var watch stopwatch
	watch.start()
	read, err := disk.ReadAll(dir, bytes)
	u := watch.stop()
	f := figures{byteRate: float64(read) / 1e6 / u.wall.Seconds()}
	u.perRecord(f, max(1, int(read)/size))
	return f, err
}

// again reads n records as often as it takes to last.
func (b *bench) again(ctx context.Context, n, size int, read func(ctx context.Context) error) (figures, error) {
	var watch stopwatch
	total := 0
	watch.start()
	for begin := time.Now(); total == 0 || time.Since(begin) < b.lasts(readLasts); total += n {
		if err := read(ctx); err != nil {
			return nil, err
		}
	}
	u := watch.stop()
	f := figures{byteRate: float64(total*size) / 1e6 / u.wall.Seconds(), allocs: float64(u.allocs) / float64(total)}
	u.perRecord(f, total)
	return f, nil
}

func readNATS(ctx context.Context, server *logs.NATS, n int) error {
	return server.Read(ctx, func(string, []byte) bool { n--; return n == 0 })
}

// tailMillrace follows a stream while it is written.
func (b *bench) tailMillrace(l load) contender {
	return contender{millrace, func(ctx context.Context, dir string) (f figures, err error) {
		m, err := logs.OpenMillrace(ctx, dir, engine.Config{Durability: engine.LoseOnPowerFailure}, engine.StreamConfig{Shards: l.shards})
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, m.Close()) }()
		shards, err := m.Stream.Shards(ctx)
		if err != nil {
			return nil, err
		}
		return b.tail(ctx, m, l, func(ctx context.Context, read func(int) bool) error {
			return readShard(ctx, m.Stream, shards[0].ID, read)
		})
	}}
}

func (b *bench) tailNATS(l load) contender {
	return contender{natsDefault, func(ctx context.Context, dir string) (f figures, err error) {
		server, err := logs.OpenNATS(ctx, dir, false, false)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, server.Close()) }()
		return b.tail(ctx, server, l, func(ctx context.Context, read func(int) bool) error {
			return server.Read(ctx, func(string, []byte) bool { return read(1) })
		})
	}}
}

// tail writes for a while and measures until follow has read everything.
func (b *bench) tail(ctx context.Context, log logs.Log, l load, follow func(ctx context.Context, read func(records int) bool) error) (figures, error) {
	ctx, enough := context.WithCancelCause(ctx)
	defer enough(nil)
	got, wanted := 0, make(chan int, 1)
	total := wholeStream
	var followed error
	var wg sync.WaitGroup
	var watch stopwatch
	watch.start()
	wg.Go(func() {
		followed = follow(ctx, func(records int) bool {
			got += records
			select {
			case total = <-wanted:
			default:
			}
			return got >= total
		})
		if followed != nil {
			enough(followed)
		}
	})
	callers := make([]*caller, l.callers)
	shared := l.records(prepared)
	for i := range callers {
		callers[i] = &caller{writer: log.Writer(), records: shared, batch: l.batch}
	}
	n, _, err := together(ctx, callers, b.lasts(tailLasts))
	wanted <- n + l.batch // and one more, so that the reader looks
	if err == nil {
		err = callers[0].writer.Append(ctx, shared[:l.batch])
	}
	if err != nil {
		enough(err)
	}
	wg.Wait()
	u := watch.stop()
	if err = errors.Join(err, followed); err != nil {
		return nil, err
	}
	f := figures{byteRate: float64(got*l.size) / 1e6 / u.wall.Seconds(), allocs: float64(u.allocs) / float64(got)}
	u.perRecord(f, got)
	return f, nil
}
