package worker

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stream"
)

// Worker is one member of a fleet.
type Worker struct {
	cfg         Config
	coordinator *lease.Coordinator
	tel         *telemetry
	started     atomic.Bool
	held        atomic.Int64 // shards in hand, for the size of batches
	batches     batches
	moments     *moments

	mu        sync.Mutex             // guards what follows
	consumers map[*consumer]struct{} // one for each shard in hand
}

// New checks the configuration and makes a worker. It starts nothing.
func New(cfg Config) (*Worker, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	log := cfg.Logger.With("application", cfg.Application)
	cfg.Logger = log.With("worker", cfg.Name)
	tel, err := newTelemetry(cfg.MeterProvider, cfg.TracerProvider)
	if err != nil {
		return nil, err
	}
	coordinator, err := lease.NewCoordinator(lease.Config{
		Application:    cfg.Application,
		Worker:         cfg.Name,
		Store:          cfg.Leases,
		Streams:        cfg.Streams,
		Initial:        cfg.From,
		FailoverTime:   cfg.FailoverTime,
		HandoffTimeout: max(cfg.Drain, cfg.FailoverTime),
		Drain:          cfg.Drain,
		MaxLeases:      cfg.MaxShards,
		Code:           cfg.Code,
		Zone:           cfg.Zone,
		Host:           cfg.Host,
		Logger:         log, // it adds the worker by itself
		Seed:           cfg.Seed,
		MeterProvider:  cfg.MeterProvider,
	})
	if err != nil {
		return nil, err
	}
	return &Worker{cfg: cfg, coordinator: coordinator, tel: tel, moments: newMoments(&cfg), consumers: map[*consumer]struct{}{}}, nil
}

// ErrStarted says that Run was called twice.
var ErrStarted = errors.New("worker: Run was already called: make a new worker")

// Run works until ctx is done, and returns when everything that it started has
// ended. Then it stops gracefully: it goes on, for seconds, until other workers are
// about to take its shards, so that these do not rest; running batches finish,
// everything done is checkpointed, and the shards are handed over; what takes longer
// than Config.Drain then is cancelled. Where there is no other worker the shards are
// given up at once. It returns nil after a stop that ctx asked for, and an error only
// for what no waiting can mend. A store or a stream that
// cannot be reached is waited for.
//
// A stop takes no longer than Config.Drain and four times Config.FailoverTime: one
// each until the shards are handed off, to give up what was cancelled, for a leader's
// last pass, and to leave the fleet, where the store does not answer; and five seconds
// for LeaseLost. What the fleet was not told it learns from the silence. Only
// callbacks that go on though their context is done are waited for longer, until they
// return; so let a supervisor kill the process after that time.
func (w *Worker) Run(ctx context.Context) error {
	if w.started.Swap(true) {
		return ErrStarted
	}
	looking, enough := context.WithCancel(context.WithoutCancel(ctx))
	var looks sync.WaitGroup
	looks.Go(func() { w.keepLooking(looking) })
	defer looks.Wait()
	defer enough()
	defer w.tel.observe(w)()
	return w.coordinator.Run(ctx, w.hold)
}

// hold processes one shard for one term; it is a [lease.HoldFunc].
func (w *Worker) hold(ctx context.Context, h lease.Hold) error {
	w.held.Add(1)
	defer w.held.Add(-1)
	c := w.consumer(h)
	w.enter(c)
	defer w.leave(c)
	// A callback that does not heed the loss of its shard is known at once.
	stop := context.AfterFunc(ctx, func() {
		c.lost.Store(true)
		c.tel.standstill.look(0)
	})
	defer stop()
	return c.run(ctx, w.limits)
}

// consumer makes what works on one shard for one term. It is a function of its
// own for the sake of the stack, which every shard at rest keeps.
func (w *Worker) consumer(h lease.Hold) *consumer {
	row := h.Lease()
	shard := processors.Shard{
		Application: w.cfg.Application, Worker: w.cfg.Name,
		Stream: stream.Identity{Name: row.Stream}, ID: row.Shard,
		Parents: row.Parents, Hash: row.Hash,
		Term: h.Term(),
	}
	tel := w.tel.forShard(&shard)
	tel.standstill.tell = h.SetBlocked
	tracker := checkpoint.NewTracker(row.Checkpoint.Position)
	return &consumer{
		cfg:     &w.cfg,
		hold:    h,
		shard:   shard,
		from:    row.Checkpoint,
		tracker: tracker,
		keeper:  checkpoint.NewKeeper(tel.saver(h), tracker, row.Checkpoint),
		log:     w.cfg.Logger.With("stream", row.Stream, "shard", row.Shard, "term", h.Term()),
		tel:     tel,
		known:   w.coordinator.StreamIDs,
		batches: &w.batches,
		random:  w.cfg.random(h, "consumer"),
		dirty:   make(chan struct{}, 1),
		moments: w.moments,
		load:    newLoadMeter(row.Load),
	}
}

// limits bound one batch.
type limits struct {
	records, bytes int
	memory         int // that the batch may keep alive
}

// limits returns those of the next batch: the shards in hand share the memory
// evenly, each with one batch in work and one read ahead.
func (w *Worker) limits() limits {
	share := max(leastBatch, w.cfg.Memory/(2*max(1, int(w.held.Load()))))
	return limits{w.cfg.BatchRecords, min(w.cfg.BatchBytes, share), share}
}
