package checkpoint

import (
	"bytes"
	"context"
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

// NewKeeper continues from the state that is stored.
func NewKeeper(saver Saver, tracker *Tracker, stored State) *Keeper {
	return &Keeper{saver: saver, tracker: tracker, turn: make(chan struct{}, 1), stored: stored, want: stored}
}

// Checkpoint implements [Checkpointer].
func (k *Keeper) Checkpoint(ctx context.Context) error {
	last, ok := k.tracker.Delivered()
	if !ok {
		return nil
	}
	return k.advance(ctx, stream.After(last))
}

// CheckpointAt implements [Checkpointer].
func (k *Keeper) CheckpointAt(ctx context.Context, s stream.Sequence) error {
	if err := k.checkRange(s); err != nil {
		return fmt.Errorf("checkpoint at %v: %w", s, err)
	}
	return k.advance(ctx, stream.After(s))
}

// Prepare implements [Checkpointer].
func (k *Keeper) Prepare(ctx context.Context, s stream.Sequence, note []byte) (Prepared, error) {
	if err := k.checkRange(s); err != nil {
		return nil, fmt.Errorf("prepare checkpoint at %v: %w", s, err)
	}
	pending := Pending{Position: stream.After(s), Data: bytes.Clone(note)}
	k.mu.Lock()
	k.want.Pending = pending
	k.mu.Unlock()
	err := k.flush(ctx, func() bool {
		return k.stored.Pending.Position == pending.Position && bytes.Equal(k.stored.Pending.Data, pending.Data)
	})
	if err != nil {
		return nil, err
	}
	return &prepared{k, s}, nil
}

type prepared struct {
	keeper *Keeper
	at     stream.Sequence
}

func (p *prepared) Commit(ctx context.Context) error { return p.keeper.CheckpointAt(ctx, p.at) }

// checkRange refuses what lies before the stored checkpoint or was not
// delivered yet.
func (k *Keeper) checkRange(s stream.Sequence) error {
	last, ok := k.tracker.Delivered()
	if !ok || last.Less(s) {
		return fmt.Errorf("%w: the last record delivered is %v", ErrOutOfRange, last)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if stream.After(s).Compare(k.stored.Position) < 0 {
		return fmt.Errorf("%w: the checkpoint is already %v", ErrOutOfRange, k.stored.Position)
	}
	return nil
}

// Save stores what the tracker knows to be done, if that is more than is
// stored. It is what automatic checkpoints call.
func (k *Keeper) Save(ctx context.Context) error {
	return k.advance(ctx, k.tracker.Position())
}

// Dirty reports whether more is done than is stored.
func (k *Keeper) Dirty() bool {
	done := k.tracker.Position()
	k.mu.Lock()
	defer k.mu.Unlock()
	return done.Compare(k.stored.Position) > 0
}

// Final returns the state with which a term should end: what is stored, and
// with done also what the tracker knows. The caller stores it; nothing else
// may be asked of the keeper afterwards.
func (k *Keeper) Final(done bool) State {
	k.mu.Lock()
	defer k.mu.Unlock()
	if done {
		k.want.moveTo(k.tracker.Position())
	}
	return k.want
}

// advance stores a checkpoint at p or beyond.
func (k *Keeper) advance(ctx context.Context, p stream.Position) error {
	k.mu.Lock()
	k.want.moveTo(p)
	k.mu.Unlock()
	return k.flush(ctx, func() bool { return k.stored.Position.Compare(p) >= 0 })
}

// moveTo puts the checkpoint forward, never back, and drops a pending one that
// it reaches.
func (s *State) moveTo(p stream.Position) {
	if p.Compare(s.Position) <= 0 {
		return
	}
	s.Position = p
	if !s.Pending.Position.IsZero() && s.Pending.Position.Compare(p) <= 0 {
		s.Pending = Pending{}
	}
}

// flush waits for its turn and writes what is wanted by then, unless the write
// of somebody else has done it meanwhile. satisfied is called under mu.
func (k *Keeper) flush(ctx context.Context, satisfied func() bool) error {
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
	if err := k.saver.Save(ctx, next); err != nil {
		return err
	}
	k.mu.Lock()
	k.stored = next
	k.mu.Unlock()
	return nil
}
