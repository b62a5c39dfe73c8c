package worker

import (
	"cmp"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/millrace/millrace/internal/given"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/stream/kpl"
)

// Config says what a worker does. Application, Streams, Leases and Processor
// are needed; the zero value of everything else is a good choice. From must be the
// same for the whole fleet. Drain and FailoverTime may differ, as during a rollout
// that changes them: each worker tells the others its own, and who waits for it waits
// for the longer of the two. Only programs of this version or a later one do so:
// change them when no earlier one runs any more.
type Config struct {
	// Application names the fleet. Workers of one application share out the
	// shards among them; different applications read the same stream on their own.
	Application string
	// Name is what people know this worker by; it need not be unique, since
	// every start gets an incarnation of its own. Default: host name and process id.
	Name string
	// Streams are what is processed, one or many: the same for all workers of the
	// application or, as during a rollout, those of the others and more.
	Streams []stream.Stream
	// Leases is where it is written who owns which shard, and how far it got.
	// The store belongs to the application alone: one that is [lease.Named], as
	// that of lease/sqlite, must name the same one.
	Leases lease.Store
	// Processor makes the processor for one term on one shard. It is called
	// once for each, from the goroutine that the processor will be called from;
	// after a panic, and when it returned nil, it is called again, like an
	// Initialize that failed.
	Processor func(processors.Shard) processors.RecordProcessor

	// From is where shards are begun that nobody has processed yet: TrimHorizon,
	// Latest or AtTime, which is not in the future: a clock may be ahead by a minute.
	// It matters at the first contact with a stream only; children of a reshard always
	// begin at their first record.
	// Default: stream.TrimHorizon.
	From stream.Position
	// BatchRecords and BatchBytes bound one call of ProcessRecords. A record
	// larger than BatchBytes comes alone. Defaults: 1,000 records, 1 MiB.
	BatchRecords, BatchBytes int
	// Memory bounds the records that the worker holds for all its shards
	// together, in bytes: with many shards, batches get smaller than
	// BatchBytes, but not smaller than 64 KiB. Each shard has one batch in work
	// and one read ahead. When shards are added, what is in memory already stays
	// until it is processed. Default: 256 MiB.
	Memory int
	// Aggregates is what to do with records that carry many, as the Kinesis
	// Producer Library makes them. Their records are given one by one, each with a
	// sequence number of its own, and checkpoints may stand between two of them. How
	// to go on where a record belongs to another shard, see [kpl.Policy]; [kpl.Keep]
	// gives aggregates as they are. Default: kpl.Deliver; such records are given, and counted.
	//
	// It may be changed: checkpoints mean the same with Deliver, Drop and Fail, and
	// what Drop has left out is not given later. From kpl.Keep to these, the last
	// aggregate that was done comes again, one by one and without its first record.
	// To kpl.Keep, an aggregate of which a part was done comes again as a whole. But
	// where that part is its first record alone the rest is left out: no checkpoint
	// tells that from the whole. So let the fleet finish what is there before it is
	// changed to kpl.Keep.
	Aggregates kpl.Policy
	// Retry says how long to wait before a batch is given again that ended in an
	// error or a panic. It is given until it succeeds. Default: 100 ms to 30 s.
	Retry processors.Backoff
	// CheckpointEvery is how long finished work may wait for its checkpoint,
	// and so how much may come again after a crash. Default: 5 s.
	CheckpointEvery time.Duration
	// ManualCheckpoints leaves checkpoints to the processor, by its
	// [checkpoint.Checkpointer]; only a shard's end is stored by itself. Default:
	// false; they are stored each CheckpointEvery, at a shard's end, and before a
	// shard is handed over.
	ManualCheckpoints bool

	// Drain is how long a stop may wait for the running batch, once the shards are
	// handed off. The handing over of a shard may wait for nine tenths of it, or of
	// FailoverTime if that is longer, from the last heartbeat that did not tell of
	// it. Then the batch's context is cancelled. Default: 30 s.
	Drain time.Duration
	// FailoverTime is how long a silent worker is waited for before its shards
	// go to others, and how long a worker that cannot reach the store may go
	// on. Default: 10 s.
	FailoverTime time.Duration
	// MaxShards bounds how many shards this worker takes. Default: no bound.
	MaxShards int
	// Code is the revision of the program, any text: during a rollout, shards that
	// have to move prefer the newest, which is that whose first worker joined last, of
	// those that live. Zone and Host tell where the worker runs. Defaults: empty.
	Code, Zone, Host string

	// Seed decides the jitter of all delays; two starts of one worker name must
	// never share one. It is for simulations that are to take the same course
	// again. Default: 0, a random one.
	Seed uint64

	// Logger gets what a person would want to know. Default: slog.Default().
	Logger *slog.Logger
	// MeterProvider and TracerProvider get metrics and spans; without one they
	// cost nothing. Defaults: those of package otel.
	MeterProvider  metric.MeterProvider
	TracerProvider trace.TracerProvider
}

// leastBatch is how small Memory can make a batch: below it, the cost of a
// batch is no longer small beside that of its records.
const leastBatch = 64 << 10

func (c Config) withDefaults() Config {
	c.Name = cmp.Or(c.Name, lease.DefaultWorker())
	c.From = cmp.Or(c.From, stream.TrimHorizon)
	c.BatchRecords = cmp.Or(c.BatchRecords, 1000)
	c.BatchBytes = cmp.Or(c.BatchBytes, 1<<20)
	c.Memory = cmp.Or(c.Memory, 256<<20)
	c.CheckpointEvery = cmp.Or(c.CheckpointEvery, 5*time.Second)
	c.Drain = cmp.Or(c.Drain, 30*time.Second)
	c.FailoverTime = cmp.Or(c.FailoverTime, 10*time.Second)
	c.Seed = cmp.Or(c.Seed, rand.Uint64())
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.MeterProvider == nil {
		c.MeterProvider = otel.GetMeterProvider()
	}
	if c.TracerProvider == nil {
		c.TracerProvider = otel.GetTracerProvider()
	}
	return c
}

// random returns a source for one goroutine of one term.
func (c *Config) random(h lease.Hold, who string) *rand.Rand {
	hash := fnv.New64a()
	fmt.Fprint(hash, h.Lease().Key, h.Term(), who)
	return rand.New(rand.NewPCG(c.Seed, hash.Sum64()))
}

// validate names the field, the value and the fix for everything that is wrong.
func (c Config) validate() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("worker: Config."+format, args...))
	}
	if c.Application == "" {
		bad("Application is empty: name the fleet, for example \"billing\"")
	}
	if len(c.Streams) == 0 {
		bad("Streams is empty: give at least one stream")
	}
	for i, s := range c.Streams {
		if !given.Is(s) {
			bad("Streams[%d] is nil: leave it out or give a stream", i)
		}
	}
	if !given.Is(c.Leases) {
		bad("Leases is nil: give a lease store, for example sqlite.Open(…) or lease.NewMemory()")
	}
	if strings.ContainsAny(c.Name, "#@") {
		bad("Name is %q: leave out the characters # and @, which set incarnations apart", c.Name)
	}
	if c.Processor == nil {
		bad("Processor is nil: give a function that makes a RecordProcessor")
	}
	if _, _, numbered := c.From.Sequence(); numbered || c.From == stream.ShardEnd {
		bad("From is %v: a first position must fit every shard: use stream.TrimHorizon, stream.Latest or stream.AtTime", c.From)
	}
	if at, isTime := c.From.Time(); isTime && time.Until(at) > time.Minute {
		bad("From is %v, %v after now, so that all records until then would be skipped: mind the time zone, or use stream.Latest", c.From, time.Until(at).Round(time.Second))
	}
	atLeast := func(field string, value, least int) {
		if value != 0 && value < least {
			bad("%s is %d: use at least %d, or 0 for the default", field, value, least)
		}
	}
	atLeast("BatchRecords", c.BatchRecords, 1)
	atLeast("BatchBytes", c.BatchBytes, 1)
	atLeast("Memory", c.Memory, 1<<20)
	atLeast("MaxShards", c.MaxShards, 1)
	if !c.Aggregates.Valid() {
		bad("Aggregates is %v: use kpl.Deliver, kpl.Drop, kpl.Fail or kpl.Keep", c.Aggregates)
	}
	duration := func(field string, value, least time.Duration) {
		if value != 0 && value < least {
			bad("%s is %v: use at least %v, or 0 for the default", field, value, least)
		}
	}
	duration("Retry.Min", c.Retry.Min, time.Millisecond)
	duration("Retry.Max", c.Retry.Max, time.Millisecond)
	if c.Retry.Max != 0 && c.Retry.Max < c.Retry.Min {
		bad("Retry.Max is %v, shorter than Retry.Min, %v: raise it", c.Retry.Max, c.Retry.Min)
	}
	duration("CheckpointEvery", c.CheckpointEvery, time.Millisecond)
	duration("Drain", c.Drain, time.Millisecond)
	duration("FailoverTime", c.FailoverTime, 100*time.Millisecond)
	return errors.Join(errs...)
}
