package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/internal/fleet"
	"github.com/millrace/millrace/internal/testdynamo"
	"github.com/millrace/millrace/internal/testpg"
	"github.com/millrace/millrace/stream"
)

// Fleets of worker processes: this program, started again, and a lease store that is
// a server of its own. What they do is read from their journals.

// leaseStore is where a fleet keeps its leases.
type leaseStore struct {
	name string
	// open starts it, and returns how to set a worker to it.
	open func() (set func(*fleet.Config), stop func() error, err error)
}

var (
	// onPostgres waits for the disk, as a server that somebody relies on does.
	onPostgres = leaseStore{"PostgreSQL", func() (func(*fleet.Config), func() error, error) {
		s, stop, err := testpg.Open("fsync=on", "max_connections=400")
		if err != nil {
			return nil, nil, err
		}
		return func(c *fleet.Config) { c.Postgres = s.URL() }, stop, nil
	}}
	onDynamoDB = leaseStore{"DynamoDB (moto)", emulated(testdynamo.Open)}
	// onDynalite is for thousands of leases.
	onDynalite  = leaseStore{"DynamoDB (dynalite)", emulated(testdynamo.OpenFast)}
	leaseStores = []leaseStore{onPostgres, onDynamoDB}
)

func emulated(start func() (testdynamo.API, func(), error)) func() (func(*fleet.Config), func() error, error) {
	return func() (func(*fleet.Config), func() error, error) {
		api, stop, err := start()
		if err != nil {
			return nil, nil, err
		}
		return func(c *fleet.Config) { c.DynamoDB = api.URL }, func() error { stop(); return nil }, nil
	}
}

// leaseStores are those to measure: one, in a quick run.
func (b *bench) leaseStores() []leaseStore { return b.some(leaseStores) }

func (b *bench) some(stores []leaseStore) []leaseStore {
	if b.quick {
		return stores[:1]
	}
	return stores
}

// haveLeaseStores says, by an error, why fleets cannot be measured on this machine.
func haveLeaseStores() error {
	var errs []error
	for _, s := range []leaseStore{onPostgres, onDynamoDB, onDynalite} {
		_, stop, err := s.open()
		if err == nil {
			err = stop()
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// liveFleet is one that is measured.
type liveFleet struct {
	cfg       fleet.Config
	host      *fleet.Host
	engine    *engine.Engine
	stream    *engine.Stream
	stop      func() error
	processes []*fleet.Process
	started   int

	events []fleet.Event // of all processes, as far as they were read
	// holder is who processes each shard, by the name of its process.
	holder map[string]string
	scans  map[string]int // by process

	putting sync.WaitGroup
	enough  context.CancelFunc
	put     error
}

// openFleet starts so many workers on so many shards, and waits until each has its
// share.
func openFleet(ctx context.Context, dir string, s leaseStore, cfg fleet.Config, workers, shards int) (f *liveFleet, err error) {
	f = &liveFleet{cfg: cfg, holder: map[string]string{}, scans: map[string]int{}, enough: func() {}}
	f.cfg.Observe = true
	f.cfg.Application = fmt.Sprintf("bench-%d-%d", os.Getpid(), time.Now().UnixMilli())
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close())
		}
	}()
	set, stop, err := s.open()
	if err != nil {
		return f, err
	}
	f.stop = stop
	set(&f.cfg)
	if f.engine, err = engine.OpenMemory(engine.Config{}); err != nil {
		return f, err
	}
	if f.stream, err = f.engine.EnsureStream(ctx, "clicks", engine.StreamConfig{Shards: shards}); err != nil {
		return f, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return f, err
	}
	if f.host, err = fleet.NewHost(dir, f.stream); err != nil {
		return f, err
	}
	for range workers {
		if _, err := f.start(); err != nil {
			return f, err
		}
	}
	return f, f.wait(ctx, "each worker has its share", func() bool { return f.shared(shards) })
}

// shared reports whether the shards are shared out evenly among the processes that
// there are.
func (f *liveFleet) shared(shards int) bool {
	counts := map[string]int{}
	for _, who := range f.holder {
		counts[who]++
	}
	held, workers := 0, len(f.processes)
	for _, p := range f.processes {
		n := counts[p.Name]
		if n < shards/workers || n > (shards+workers-1)/workers {
			return false
		}
		held += n
	}
	return held == shards
}

func (f *liveFleet) start() (*fleet.Process, error) {
	f.started++
	p, err := f.host.Start(fmt.Sprint("w", f.started), f.cfg)
	if err == nil {
		f.processes = append(f.processes, p)
	}
	return p, err
}

// close ends everything. Workers are killed: nobody asks for their last words.
func (f *liveFleet) close() error {
	f.enough()
	f.putting.Wait()
	errs := []error{f.put}
	if f.host != nil {
		errs = append(errs, f.host.Close())
	}
	if f.engine != nil {
		errs = append(errs, f.engine.Close())
	}
	if f.stop != nil {
		errs = append(errs, f.stop())
	}
	return errors.Join(errs...)
}

// feed puts a record to every shard, again and again, until the fleet is closed.
func (f *liveFleet) feed(ctx context.Context, every time.Duration) error {
	shards, err := f.stream.Shards(ctx)
	if err != nil {
		return err
	}
	ctx, f.enough = context.WithCancel(ctx)
	f.putting.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for n := 0; ; n++ {
			entries := make([]stream.Entry, len(shards))
			for i, s := range shards {
				entries[i] = stream.Entry{PartitionKey: "k", Data: strconv.AppendInt(nil, int64(n), 10), HashKey: s.Hash.Start, HasHashKey: true}
			}
			if _, err := f.stream.Put(ctx, entries...); err != nil && ctx.Err() == nil {
				f.put = err
				return
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
	return nil
}

// look reads what the workers have done, and returns what is new.
func (f *liveFleet) look() ([]fleet.Event, error) {
	events, err := f.host.Events()
	for _, e := range events {
		switch e.Kind {
		case fleet.Began:
			f.holder[e.Shard] = e.Who
		case fleet.Scan:
			f.scans[e.Who]++
		}
	}
	f.events = append(f.events, events...)
	return events, err
}

// patience is how long a fleet may take to do what is waited for.
const fleetPatience = 3 * time.Minute

// wait looks until something is so.
func (f *liveFleet) wait(ctx context.Context, what string, so func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, fleetPatience)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		if _, err := f.look(); err != nil || so() {
			return err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			last := ""
			for _, p := range f.processes {
				text := p.Log()
				last += "\n" + p.Name + ": " + text[max(0, len(text)-500):]
			}
			return fmt.Errorf("not within %v: %s; the processes told:%s", fleetPatience, what, last)
		}
	}
}

// rest lets the fleet be for a while.
func (f *liveFleet) rest(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	_, err := f.look()
	return err
}

// leader returns the process that scans the leases, and one that does not.
func (f *liveFleet) leader() (leader, other *fleet.Process) {
	byScans := slices.SortedFunc(slices.Values(f.processes), func(a, b *fleet.Process) int { return cmp.Compare(f.scans[b.Name], f.scans[a.Name]) })
	return byScans[0], byScans[len(byScans)-1]
}

// of returns the shards that a process processes.
func (f *liveFleet) of(p *fleet.Process) (shards []string) {
	for shard, who := range f.holder {
		if who == p.Name {
			shards = append(shards, shard)
		}
	}
	return shards
}
