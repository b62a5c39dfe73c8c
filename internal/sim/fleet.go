package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/millrace/millrace/internal/actor"
	"github.com/millrace/millrace/internal/check"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/stream/kpl"
	"github.com/millrace/millrace/stream/streamtest"
)

// Options describe one fleet.
type Options struct {
	// Seed decides everything.
	Seed uint64
	// Mode says which troubles there are. Default: Liveness.
	Mode Mode
	// Time is how long faults go on, in virtual time.
	Time time.Duration
	// Workers is how many worker slots there are, Shards with how many shards
	// the stream begins. Defaults: drawn, 3 to 7 and 2 to 10.
	Workers, Shards int
	// Failover, Drain and CheckpointEvery are the workers' own times. Defaults:
	// drawn, about half of a real fleet's, so that an hour holds more of
	// everything that can happen.
	Failover, Drain, CheckpointEvery time.Duration
	// Mixed says that lives have times of their own, as during rollouts that change
	// them: Failover and Drain, or a half or a third of both. Default: drawn.
	Mixed bool
	// Logger gets what the workers say. Default: nothing.
	Logger *slog.Logger
}

// Mode says which troubles a fleet has.
type Mode int

const (
	// Liveness has faults for a time, and then none: the fleet must come to rest.
	Liveness Mode = iota
	// Safety has hostile faults to the end, and asks for no progress.
	Safety
	// Calm has no trouble and no reshards: only loads waver.
	Calm
	// Scripted has nothing that is not done by a script, and processors
	// without moods.
	Scripted
)

func (m Mode) String() string { return [...]string{"liveness", "safety", "calm", "scripted"}[m] }

// withDefaults draws what is not given.
func (o Options) withDefaults() Options {
	r := actor.Source(o.Seed, "options", 0)
	workers, shards := 3+r.IntN(5), 2+r.IntN(9)
	failover := actor.Between(r, 3*time.Second, 8*time.Second)
	drain := actor.Between(r, failover/2, 2*failover)
	every := actor.Between(r, time.Second, 5*time.Second)
	pick(&o.Workers, workers)
	pick(&o.Shards, shards)
	pick(&o.Failover, failover)
	pick(&o.Drain, drain)
	pick(&o.CheckpointEvery, every)
	o.Mixed = o.Mixed || r.IntN(2) == 0 && o.Mode < Calm
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

func pick[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// fleet is a stream, a store and the machines that work on them. The checker
// sees all of it.
type fleet struct {
	Options
	check *check.Checker
	rows  *check.Store
	sink  *sink

	faults context.Context // done when faults are over
	lives  sync.WaitGroup  // of everything that was ever started, dead or alive

	mu       sync.Mutex // guards what follows
	stream   *streamtest.Memory
	id       string // of the stream
	report   Report
	machines []*machine                 // that are connected
	last     map[string]stream.Sequence // the last record put into each shard, by lease key
	putAt    map[place]time.Time        // of the records that are not done, while latency is measured
	faulty   []error                    // what the checker cannot see
}

// place is where one record is.
type place struct {
	key string
	at  stream.Sequence
}

// newFleet makes a fleet without machines. It must be called inside a bubble of
// testing/synctest. Faults last until the given context is done.
func newFleet(faults context.Context, o Options) *fleet {
	f := &fleet{
		Options: o.withDefaults(),
		check:   check.New(),
		faults:  faults,
		last:    map[string]stream.Sequence{},
	}
	f.rows = check.NewStore(f.check)
	f.sink = &sink{fleet: f, terms: map[string]int64{}}
	f.flow(streamtest.NewMemory("sim", f.Shards))
	return f
}

// flow makes a stream the one that the fleet processes.
func (f *fleet) flow(s *streamtest.Memory) {
	id, err := s.Identity(context.Background())
	if err != nil {
		f.fault(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stream, f.id = s, id.ID()
}

// present returns the stream as it is now, and its ID.
func (f *fleet) present() (s *streamtest.Memory, id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stream, f.id
}

// err returns all that was violated.
func (f *fleet) err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return errors.Join(append(f.faulty, f.check.Err())...)
}

// fault records what the checker cannot see.
func (f *fleet) fault(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faulty = append(f.faulty, err)
}

func (f *fleet) count(add func(*Report)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	add(&f.report)
}

// put puts entries, and tells the checker of them.
func (f *fleet) put(entries ...stream.Entry) {
	s, id := f.present()
	results, err := s.Put(context.Background(), entries...)
	if errors.Is(err, stream.ErrStreamNotFound) {
		return // deleted at this very moment
	}
	for _, res := range results {
		err = errors.Join(err, res.Err)
	}
	if err != nil {
		f.fault(fmt.Errorf("put: %w", err))
		return
	}
	now := time.Now()
	for i, res := range results {
		key := lease.Key(id, res.Shard)
		for sub := range inside(entries[i]) {
			at := res.Sequence.WithSub(uint64(sub))
			f.check.Put(key, at)
			f.mu.Lock()
			f.last[key] = at
			if f.putAt != nil {
				f.putAt[place{key, at}] = now
			}
			f.mu.Unlock()
		}
	}
}

// inside is how many records a processor will see of an entry.
func inside(e stream.Entry) int {
	if a, ok := kpl.Decode(e.Data); ok {
		return a.Len()
	}
	return 1
}

// done takes note of a record that is done.
func (f *fleet) done(key string, at stream.Sequence) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if put, measured := f.putAt[place{key, at}]; measured {
		delete(f.putAt, place{key, at})
		f.report.Latency = max(f.report.Latency, time.Since(put))
	}
}

// source gives an actor randomness of its own.
func (f *fleet) source(name string, i int) *rand.Rand { return actor.Source(f.Seed, name, i) }
