package worker

import (
	"context"
	"errors"
	"fmt"
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
	return &Worker{cfg: cfg, coordinator: coordinator, tel: tel}, nil
}

// ErrStarted says that Run was called twice.
var ErrStarted = errors.New("worker: Run was already called: make a new worker")

// Run works until ctx is done, and returns when everything that it started has
// ended. Then it stops gracefully: running batches finish, everything done is
// checkpointed, and the shards are handed over at once; what takes longer than
// Config.Drain is cancelled. It returns nil after a stop that ctx asked for,
// and an error only for what no waiting can mend. A store or a stream that
// cannot be reached is waited for.
func (w *Worker) Run(ctx context.Context) error {
	if w.started.Swap(true) {
		return ErrStarted
	}
	return w.coordinator.Run(ctx, w.hold)
}

// hold processes one shard for one term; it is a [lease.HoldFunc].
func (w *Worker) hold(ctx context.Context, h lease.Hold) error {
	w.held.Add(1)
	defer w.held.Add(-1)
	row := h.Lease()
	source, id, err := w.stream(ctx, row)
	if err != nil {
		return err
	}
	reader, err := source.Open(ctx, row.Shard, row.Checkpoint.Position)
	if err != nil {
		return fmt.Errorf("open %s of %s at %v: %w", row.Shard, id.Name, row.Checkpoint.Position, err)
	}
	defer reader.Close()

	shard := processors.Shard{
		Application: w.cfg.Application, Worker: w.cfg.Name,
		Stream: id, ID: row.Shard, Parents: row.Parents, Hash: row.Hash,
		Term: h.Term(),
	}
	processor, err := w.processor(shard)
	if err != nil {
		return err
	}
	tracker := checkpoint.NewTracker(row.Checkpoint.Position)
	c := &consumer{
		cfg:       &w.cfg,
		hold:      h,
		shard:     shard,
		processor: processor,
		tracker:   tracker,
		keeper:    checkpoint.NewKeeper(h, tracker, row.Checkpoint),
		log:       w.cfg.Logger.With("stream", id.Name, "shard", row.Shard, "term", h.Term()),
		tel:       w.tel.forShard(&shard),
		random:    w.cfg.random(shard, "consumer"),
		dirty:     make(chan struct{}, 1),
	}
	c.log.InfoContext(ctx, "processing shard", "from", row.Checkpoint.Position)
	return c.run(ctx, reader, w.limits)
}

// stream finds the stream that a lease is about: the same incarnation, not only
// the same name.
func (w *Worker) stream(ctx context.Context, row lease.Lease) (stream.Stream, stream.Identity, error) {
	for _, s := range w.cfg.Streams {
		id, err := s.Identity(ctx)
		if err != nil {
			return nil, id, fmt.Errorf("identify the stream of %s: %w", row.Key, err)
		}
		if id.ID() == row.StreamID {
			return s, id, nil
		}
	}
	return nil, stream.Identity{}, fmt.Errorf("lease %s is about %s: %w", row.Key, row.StreamID, stream.ErrStreamNotFound)
}

func (w *Worker) processor(shard processors.Shard) (p processors.RecordProcessor, err error) {
	err = processors.Try(func() error {
		p = w.cfg.Processor(shard)
		return nil
	})
	if err == nil && p == nil {
		err = errors.New("it returned nil: return a RecordProcessor")
	}
	if err != nil {
		return nil, fmt.Errorf("worker: Config.Processor for %s: %w", shard.ID, err)
	}
	return processors.Recover(p), nil
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
