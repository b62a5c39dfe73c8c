package lease

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/user"
	"time"

	"github.com/millrace/millrace/internal/given"
	"github.com/millrace/millrace/stream"
)

// OperatorConfig says who acts on a fleet. The zero value works.
type OperatorConfig struct {
	// Actor is kept with what is done, and shown in the fleet's status.
	// Default: the user's name and that of the host.
	Actor string
	// Streams are needed to seek to stream.Latest. And where a stream is given, a
	// sequence number is compared with where the shard ends now before it is written:
	// one beyond that, as by a wrong digit, would skip whatever comes until then.
	// Default: none, and numbers are written as they are.
	Streams []stream.Stream
	// FailoverTime is how long a worker is silent whom an operator takes for dead
	// where nobody leads; one whose own FailoverTime is longer is given that. It is
	// also the measure of how long the store may take. Default: 10 s.
	FailoverTime time.Duration
	// Logger gets what a person would want to know. Default: slog.Default().
	Logger *slog.Logger
}

func (c OperatorConfig) withDefaults() OperatorConfig {
	if c.Actor == "" {
		c.Actor = "somebody"
		if u, err := user.Current(); err == nil {
			c.Actor = u.Username
		}
		if host, err := os.Hostname(); err == nil {
			c.Actor += "@" + host
		}
	}
	c.FailoverTime = cmp.Or(c.FailoverTime, 10*time.Second)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// validate checks a configuration as the user gave it.
func (c OperatorConfig) validate(store Store) error {
	var problems []error
	if !given.Is(store) {
		problems = append(problems, errors.New("lease: NewOperator: the store is nil: give the lease store of the application"))
	}
	for i, s := range c.Streams {
		if !given.Is(s) {
			problems = append(problems, fmt.Errorf("lease: OperatorConfig.Streams[%d] is nil: give a stream, or leave it out", i))
		}
	}
	if c.FailoverTime != 0 && c.FailoverTime < shortest {
		problems = append(problems, fmt.Errorf("lease: OperatorConfig.FailoverTime is %v: use that of the fleet, %v or more, or 0 for the default", c.FailoverTime, shortest))
	}
	return errors.Join(problems...)
}

// Operator acts on a running fleet, or on one that stands still, through its store
// alone. It is no worker, and may be made and left at any time. Its methods may be
// called at the same time, and by several operators.
//
//	Action ──► DryRun ──► Change: what would be written
//	   └─────► Do ──────► Change: what was ──► Undo ──► Change …
//
// Pauses and drains are notes that the leader obeys in each of its passes: at once
// where the store is a [Notifier], else within PlanInterval. A seek pauses its
// scope, waits until nobody holds the shards, writes where they are to go on, and
// lifts the pause: former holders cannot checkpoint any more, since the next term
// is a new one. A move is a handoff as the leader does it. Who did it, when, and
// why is kept with every note, and for the last twenty actions beyond that; it is
// told by [FleetStatus] and logged by the leader.
type Operator struct {
	cfg   OperatorConfig
	store Store
	log   *slog.Logger
}

// NewOperator checks the configuration. It asks nobody.
func NewOperator(store Store, cfg OperatorConfig) (*Operator, error) {
	if err := cfg.validate(store); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	return &Operator{cfg: cfg, store: store, log: cfg.Logger.With("actor", cfg.Actor)}, nil
}

// DryRun returns what Do would change at this moment. It writes nothing.
// [ErrNotPossible] says that the fleet does not allow it as it is.
func (o *Operator) DryRun(ctx context.Context, a Action) (Change, error) {
	_, c, err := o.propose(ctx, a)
	return c, err
}

// Do carries out an action, and returns what it has changed, also with an error: that is the
// record for [Operator.Undo]. To do again what is done already changes nothing.
//
// A seek returns when every shard of the scope has its new position. Where ctx
// ends before that, or the process does, the rest of the scope stays paused, and
// the same seek done again goes on with it; [ActionResume] gives it up. Whoever
// wants to be able to undo even a seek whose process ends midway keeps what
// DryRun returned: that is as good a record.
//
// A position before the oldest record that the stream still has begins at that
// one, and the worker tells of what is missing.
func (o *Operator) Do(ctx context.Context, a Action) (Change, error) {
	p, c, err := o.propose(ctx, a)
	if err != nil {
		return Change{}, err
	}
	switch a.Kind {
	case ActionSeek:
		if err = o.reposition(ctx, &c, a.To == stream.Latest); err == nil && c.Leases == nil {
			last := c.Skipped[len(c.Skipped)-1]
			err = movedOn("there is nothing left to seek: %s: %s", last.Key, last.Reason)
		}
	case ActionMove:
		err = o.hand(ctx, p, &c)
	default:
		err = o.writeNotes(ctx, &c)
	}
	o.record(ctx, c, false, err)
	if err != nil {
		return c, fmt.Errorf("lease: %v: %w", a, err)
	}
	o.log.InfoContext(ctx, "operator: "+a.String(), "reason", a.Reason, "notes", len(c.Notes), "leases", len(c.Leases), "skipped", len(c.Skipped))
	return c, nil
}

// Undo takes back what an action has changed: pauses and drains are lifted or
// come back, leases go back to the position or the owner that they had. It is
// fenced in the same way as the action was. What others have changed since is left
// as it is, told of in the Change that is returned, and an error: [ErrMovedOn].
// That a shard was processed further does not keep a seek from being undone: it
// goes on from where it was before, which skips nothing that was not done then.
func (o *Operator) Undo(ctx context.Context, done Change) (Change, error) {
	c := Change{Action: done.Action, Actor: o.cfg.Actor, At: time.Now()}
	p, err := o.look(ctx)
	if err == nil {
		err = o.undo(ctx, p, done, &c)
		o.record(ctx, c, true, err)
	}
	if err != nil {
		return c, fmt.Errorf("lease: undo %v: %w", done.Action, err)
	}
	o.log.InfoContext(ctx, "operator: undo "+done.Action.String(), "notes", len(c.Notes), "leases", len(c.Leases))
	return c, nil
}

func (o *Operator) undo(ctx context.Context, p *picture, done Change, c *Change) error {
	at := make(map[string]Lease, len(p.leases))
	for _, l := range p.leases {
		at[l.Key] = l
	}
	var problems []error
	skip := func(key string, err error) {
		c.Skipped = append(c.Skipped, Skipped{key, err.Error()})
		problems = append(problems, fmt.Errorf("%s: %w", key, err))
	}
	for _, l := range done.Leases {
		current := at[l.Before.Key]
		switch done.Action.Kind {
		case ActionSeek:
			state, err := l.unsought(current)
			if err != nil {
				skip(l.Before.Key, err)
			} else if !sameState(current.Checkpoint, state) {
				next := Sought(current, state.Position)
				next.Checkpoint, next.Owner, next.CheckpointOwner = state, "", ""
				c.Leases = append(c.Leases, LeaseChange{current, next})
			}
		case ActionMove:
			next, err := l.unmoved(current, p.in())
			if err != nil {
				skip(l.Before.Key, err)
			} else if next.Owner != current.Owner {
				c.Leases = append(c.Leases, LeaseChange{current, next})
			}
		}
	}
	switch done.Action.Kind {
	case ActionSeek:
		// Its note goes with it, or all by itself: a process that ended midway may
		// have left that alone.
		if len(c.Leases) > 0 || p.seeks(done.Action) {
			before := len(c.Skipped)
			problems = append(problems, o.reposition(ctx, c, false))
			for _, s := range c.Skipped[before:] {
				problems = append(problems, movedOn("%s: %s", s.Key, s.Reason))
			}
		}
		return errors.Join(problems...)
	case ActionMove:
		problems = append(problems, o.hand(ctx, p, c))
	}
	for _, n := range done.Notes {
		name := cmp.Or(n.Before.Name, n.After.Name)
		old, next, err := n.reverse(p.note(name))
		if err != nil {
			skip(name, err)
		} else if old != next {
			c.Notes = append(c.Notes, NoteChange{old, next})
		}
	}
	problems = append(problems, o.writeNotes(ctx, c))
	return errors.Join(problems...)
}

// propose looks at the fleet, and finds what an action changes.
func (o *Operator) propose(ctx context.Context, a Action) (*picture, Change, error) {
	now := time.Now().Round(0)
	if err := a.validate(now); err != nil {
		return nil, Change{}, err
	}
	p, err := o.look(ctx)
	if err != nil {
		return nil, Change{}, fmt.Errorf("lease: %v: %w", a, err)
	}
	if a.Scope, err = p.find(a.Scope); err != nil {
		return nil, Change{}, fmt.Errorf("lease: %v: %w", a, err)
	}
	c, err := p.propose(a, o.cfg.Actor, now)
	if err == nil && a.Kind == ActionSeek {
		err = o.place(ctx, &c)
	}
	if err != nil {
		return nil, Change{}, err
	}
	return p, c, nil
}

// call bounds one call of the store.
func (o *Operator) call(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, o.cfg.FailoverTime/3, errSlow)
}

// look reads the fleet.
func (o *Operator) look(ctx context.Context) (*picture, error) {
	p, err := pictureOf(ctx, o.store, o.cfg.FailoverTime)
	if err == nil && p.unreadable != nil {
		o.log.WarnContext(ctx, "reading an operator's order failed", "err", p.unreadable)
	}
	return p, err
}

// writeNotes carries out the changes of notes. Those that were not written are
// taken out of the change.
func (o *Operator) writeNotes(ctx context.Context, c *Change) error {
	for i, n := range c.Notes {
		row, err := o.swapNote(ctx, n.Before, n.After)
		if err != nil {
			c.Notes = c.Notes[:i]
			return err
		}
		c.Notes[i].After = row
	}
	return nil
}

// swapNote swaps a note. An answer that was lost is found out by reading.
func (o *Operator) swapNote(ctx context.Context, old, next Note) (Note, error) {
	for trouble := (trouble{what: "writing a note"}); ; {
		calling, cancel := o.call(ctx)
		row, err := o.store.SwapNote(calling, old, next)
		cancel()
		switch {
		case err == nil:
			return row, nil
		case errors.Is(err, ErrConflict) && row.Name == next.Name && row.Value == next.Value:
			return row, nil // an earlier attempt went through, or the same stands there already
		case errors.Is(err, ErrConflict):
			return row, movedOn("the note %q has changed meanwhile", cmp.Or(next.Name, old.Name))
		}
		trouble.met(ctx, o.log, err)
		if !wait(ctx, o.cfg.FailoverTime/50, nil) {
			return Note{}, fmt.Errorf("write the note %q: %w", cmp.Or(next.Name, old.Name), errors.Join(context.Cause(ctx), err))
		}
	}
}

// swap swaps a row. An answer that was lost is found out by reading, as far as
// that tells.
func (o *Operator) swap(ctx context.Context, old, next Lease) (Lease, error) {
	calling, cancel := o.call(ctx)
	defer cancel()
	row, err := o.store.Swap(calling, old, next)
	if err == nil || errors.Is(err, ErrConflict) {
		return row, err
	}
	reading, cancel := o.call(ctx)
	defer cancel()
	rows, unread := o.store.Read(reading, old.Key)
	if unread == nil && len(rows) == 1 && rows[0].Counter == old.Counter+1 && rows[0].Owner == next.Owner &&
		rows[0].CheckpointOwner == next.CheckpointOwner && sameState(rows[0].Checkpoint, next.Checkpoint) {
		return rows[0], nil
	}
	return row, err
}

// hand carries out a move: the swap, then the bumps of both, as a leader does.
// The leader that finds the handoff announces it again, and counts its own time.
func (o *Operator) hand(ctx context.Context, p *picture, c *Change) error {
	for i, l := range c.Leases {
		row, err := rewrite(l.Before, l.After, func(old, next Lease) (Lease, error) { return o.swap(ctx, old, next) })
		if err != nil {
			c.Leases = c.Leases[:i]
			switch {
			case !errors.Is(err, ErrConflict):
				return fmt.Errorf("hand over %s: whether it took place is not known: %w", l.Before.Key, err)
			case row.Key == "":
				return movedOn("the row of %s is gone", l.Before.Key)
			case row.Finished():
				return movedOn("%s is finished", l.Before.Key)
			default:
				return movedOn("%s has changed meanwhile, and belongs to %s", l.Before.Key, orNobody(row.Owner))
			}
		}
		c.Leases[i].After = row
		for _, m := range p.members {
			if m.Incarnation == l.Before.Owner || m.Incarnation == row.Owner || m.Incarnation == row.CheckpointOwner {
				bump(m, func(old, next Member) (Member, error) { // it only speeds things up
					calling, cancel := o.call(ctx)
					defer cancel()
					return o.store.SwapMember(calling, old, next)
				})
			}
		}
	}
	return nil
}
