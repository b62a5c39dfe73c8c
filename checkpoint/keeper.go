package checkpoint

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/millrace/millrace/stream"
)

// Keeper stores the checkpoints of one term: those that a processor asks for
// through the [Checkpointer] face, and those that its owner takes from the
// [Tracker]. At most one write is under way; what is asked for meanwhile goes
// into the next one together, so that any number of callers cost one write.
//
// What it stores never goes back.
type Keeper struct {
	saver   Saver
	tracker *Tracker

	// turn is held during a write; a channel, because waiting for it must end
	// with the caller's context.
	turn chan struct{}

	mu     sync.Mutex
	stored State
	want   State
}

var _ Checkpointer = (*Keeper)(nil)

// NewKeeper continues from the state that is stored. It panics when there is
// no saver or no tracker.
func NewKeeper(saver Saver, tracker *Tracker, stored State) *Keeper {
	if saver == nil || tracker == nil {
		panic("checkpoint: NewKeeper was given no Saver or no Tracker: it needs both")
	}
	return &Keeper{saver: saver, tracker: tracker, turn: make(chan struct{}, 1), stored: stored, want: stored}
}

// Checkpoint implements [Checkpointer].
func (k *Keeper) Checkpoint(ctx context.Context) error {
	return k.advance(ctx, k.tracker.Claimed())
}

// CheckpointAt implements [Checkpointer].
func (k *Keeper) CheckpointAt(ctx context.Context, s stream.Sequence) error {
	err := k.delivered(s)
	if err == nil {
		k.mu.Lock()
		err = notBefore(k.stored, s)
		k.mu.Unlock()
	}
	if err != nil {
		return fmt.Errorf("checkpoint at %v: %w", s, err)
	}
	return k.advance(ctx, stream.After(s))
}

// CheckpointIn implements [Checkpointer]. Whether tx will commit is not known
// here, so nothing is taken for stored: the next write finds out.
func (k *Keeper) CheckpointIn(ctx context.Context, tx any, s stream.Sequence) error {
	err := k.delivered(s)
	joiner, ok := k.saver.(Joiner)
	if err == nil && !ok {
		err = ErrNoTransactions
	}
	if err == nil {
		// It takes no turn: a write under way may wait for what tx has.
		k.mu.Lock()
		stored, next := k.stored.Position, k.want
		k.mu.Unlock()
		if stream.After(s).Compare(stored) <= 0 {
			err = ErrStored
		} else {
			next.Position = stored // and not what others have asked for beyond
			next.moveTo(stream.After(s))
			err = joiner.SaveIn(ctx, tx, next)
		}
	}
	if err != nil {
		return fmt.Errorf("checkpoint at %v in a transaction: %w", s, err)
	}
	return nil
}

// Prepare implements [Checkpointer].
func (k *Keeper) Prepare(ctx context.Context, s stream.Sequence, note []byte) (Prepared, error) {
	pending := Pending{Position: stream.After(s), Data: bytes.Clone(note)}
	err := k.delivered(s)
	if err == nil {
		k.mu.Lock()
		if err = notBefore(k.want, s); err == nil {
			k.want.Pending = pending
		}
		k.mu.Unlock()
	}
	if err != nil {
		return nil, fmt.Errorf("prepare checkpoint at %v: %w", s, err)
	}
	isStored := func() bool {
		return k.stored.Pending.Position == pending.Position && bytes.Equal(k.stored.Pending.Data, pending.Data)
	}
	if err := k.write(ctx, isStored, k.saver.Save); err != nil {
		if errors.Is(err, ErrTooLarge) {
			k.forget(pending)
		}
		return nil, err
	}
	return prepared{k, pending.Position}, nil
}

// forget gives up a pending checkpoint that can never be stored: no other
// checkpoint could be, together with it.
func (k *Keeper) forget(pending Pending) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.want.Pending.Position == pending.Position && bytes.Equal(k.want.Pending.Data, pending.Data) {
		k.want.Pending = k.stored.Pending
	}
}

type prepared struct {
	keeper *Keeper
	at     stream.Position
}

func (p prepared) Commit(ctx context.Context) error { return p.keeper.advance(ctx, p.at) }

// delivered refuses what was not delivered yet.
func (k *Keeper) delivered(s stream.Sequence) error {
	switch last, any := k.tracker.Delivered(); {
	case !any:
		return fmt.Errorf("%w: nothing was delivered yet", ErrOutOfRange)
	case last.Less(s):
		return fmt.Errorf("%w: the last record delivered is %v", ErrOutOfRange, last)
	}
	return nil
}

// notBefore refuses what lies before a checkpoint.
func notBefore(state State, s stream.Sequence) error {
	if stream.After(s).Compare(state.Position) < 0 {
		return fmt.Errorf("%w: the checkpoint is already %v", ErrOutOfRange, state.Position)
	}
	return nil
}

// Save stores what the tracker knows to be done, if that is more than is
// stored. It is what automatic checkpoints call.
func (k *Keeper) Save(ctx context.Context) error {
	return k.advance(ctx, k.tracker.Position())
}

// Finish ends the term: release stores the state with which it ends, which is
// what is stored or was asked for, and with done also what the tracker knows to
// be done. Nothing else is written meanwhile. After a release that failed
// Finish may be called again.
func (k *Keeper) Finish(ctx context.Context, done bool, release func(context.Context, State) error) error {
	if done {
		k.mu.Lock()
		k.want.moveTo(k.tracker.Position())
		k.mu.Unlock()
	}
	return k.write(ctx, func() bool { return false }, release)
}

// advance stores a checkpoint at p or beyond.
func (k *Keeper) advance(ctx context.Context, p stream.Position) error {
	k.mu.Lock()
	k.want.moveTo(p)
	k.mu.Unlock()
	return k.write(ctx, func() bool { return k.stored.reaches(p) }, k.saver.Save)
}

// moveTo puts the checkpoint forward, never back, and drops a pending one that
// it reaches.
func (s *State) moveTo(p stream.Position) {
	if p.Compare(s.Position) > 0 {
		s.Position = p
	}
	if s.Pending.Position.Compare(p) <= 0 {
		s.Pending = Pending{}
	}
}

// reaches reports whether moveTo would change nothing.
func (s *State) reaches(p stream.Position) bool {
	return p.Compare(s.Position) <= 0 && (s.Pending.Position.IsZero() || s.Pending.Position.Compare(p) > 0)
}

// write waits for its turn and stores what is wanted by then, unless the write
// of somebody else has done it meanwhile. satisfied is called under mu.
func (k *Keeper) write(ctx context.Context, satisfied func() bool, save func(context.Context, State) error) error {
	select {
	case k.turn <- struct{}{}:
		defer func() { <-k.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	k.mu.Lock()
	done, next := satisfied(), k.want
	k.mu.Unlock()
	if done {
		return nil
	}
	if err := save(ctx, next); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stored = next
	return nil
}
