package lease

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"
)

// Coordinator is one worker's part in the fleet: it keeps the worker known as
// alive, takes the leases that are given to it, runs a [HoldFunc] for each, and
// leads the fleet when it is its turn.
type Coordinator struct {
	cfg     Config
	store   Store
	dice    *dice
	log     *slog.Logger
	meters  *meters
	running atomic.Bool
	joining trouble                 // Run's
	session atomic.Pointer[session] // the present one, for Status
	stuck   stuck
}

// NewCoordinator checks the configuration and makes a coordinator. It starts
// nothing and asks nobody.
func NewCoordinator(cfg Config) (*Coordinator, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	meters, err := newMeters(cfg.MeterProvider, cfg.Application, cfg.Worker)
	if err != nil {
		return nil, err
	}
	return &Coordinator{
		cfg:    cfg,
		store:  cfg.Store,
		dice:   newDice(cfg.Seed, ""),
		log:    cfg.Logger.With("worker", cfg.Worker),
		meters: meters,

		joining: trouble{what: "joining the fleet"},
	}, nil
}

var (
	errRunning = errors.New("lease: Run was already called: make a new coordinator")
	errNoHold  = errors.New("lease: Run needs a HoldFunc: it is nil")
)

// Run takes part until ctx is done, and returns when everything that it
// started has ended. hold is called for each lease that is taken, each time on
// a goroutine of its own.
//
// A store that cannot be reached is waited for, however long; a worker that the
// fleet took for dead comes back as a new incarnation by itself, once its old
// holds have returned. When ctx is done the holds go on until the leader has handed
// their leases off, and the successors have been told: for FailoverTime at most, and
// not at all when nobody else is there. Then they are asked to let go
// ([Hold.Draining]); those still there after Config.Drain are cancelled with
// [ErrDrained]. Then all leases are given up, and Run returns nil: when the holds
// have returned, within three times Config.FailoverTime, though the store does not
// answer.
//
// A hold that goes on for FailoverTime after its context was cancelled, because
// this worker was too late or is taken for dead, holds up nobody but itself: the
// worker comes back without it, and takes its lease again only when it has
// returned. It is told of as an error, again and again. Run
// returns an error only when it was called wrongly.
func (c *Coordinator) Run(ctx context.Context, hold HoldFunc) error {
	if hold == nil {
		return errNoHold
	}
	if c.running.Swap(true) {
		return errRunning
	}
	for ctx.Err() == nil {
		s := newSession(c, hold)
		c.session.Store(s)
		s.run(ctx)
	}
	c.stuck.left.Wait()
	return nil
}

// call bounds one call of the store. Its error, like any other but
// ErrConflict, leaves open whether a write took place.
func (c *Coordinator) call(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, c.cfg.FailoverTime/3, errSlow)
}

var (
	errSlow       = errors.New("lease store: no answer in time")
	errSlowStream = errors.New("stream: no answer in FailoverTime")
)

// diceOf returns the random numbers of one actor: a loop, or a lease. Each has
// its own, so that none depends on the order in which others draw.
func (c *Coordinator) diceOf(actor string) *dice { return newDice(c.cfg.Seed, actor) }

// retry returns the pauses between attempts at a store that fails.
func (c *Coordinator) retry(dice *dice) *backoff {
	return &backoff{dice: dice, least: c.cfg.FailoverTime / 50, most: c.cfg.FailoverTime / 3}
}

// now is the moment for a new row's Counter: Unix milliseconds, so that terms
// grow even when a row is deleted and created again. Nothing else is read from
// a wall clock.
func now() int64 { return time.Now().UnixMilli() }
