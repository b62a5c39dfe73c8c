package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/stream"
)

// held is a lease in the hands of this worker: from the take, which may be
// pending or unknown, to the end of its callbacks. It is the [Hold] given to
// the HoldFunc.
type held struct {
	s       *session
	key     string
	ctx     context.Context // ends when the lease is lost; the HoldFunc's
	cancel  context.CancelCauseFunc
	leaving chan struct{} // closed when the shard is to be handed over
	dice    *dice
	writing chan struct{} // holds one token: writes of the row come one after the other

	// Guarded by the session's mu:

	grip
	leaves   bool             // leaving is closed
	letGo    time.Time        // when it will be, since the lease is handed off
	done     bool             // ended or released: nothing more may be stored
	final    func(Lease) bool // while a last write is under way: whether a row shows it
	children []stream.Shard   // what End was told
	since    time.Time        // of the beginning of the term
	load     Load
	blocked  Blocked
	joined   stream.Position // the furthest that a transaction may have stored
}

var _ Hold = (*held)(nil)

func (h *held) Lease() Lease {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	return h.row
}

func (h *held) Term() int64               { return h.term } // set before the HoldFunc starts
func (h *held) Draining() <-chan struct{} { return h.leaving }

func (h *held) SetLoad(load Load) {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	h.load = load
}

func (h *held) SetBlocked(b Blocked) {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	if !b.IsZero() {
		b.Key = h.key
	}
	h.blocked = b
}

func (h *held) Save(ctx context.Context, state checkpoint.State) error {
	return h.write(ctx, "checkpoint", false, func(l Lease) (Lease, error) {
		return Checkpointed(l, h.orJoined(l, state))
	})
}

// orJoined returns what is to be stored when that state is asked for: what a
// transaction of this hold has stored beyond it stays.
func (h *held) orJoined(l Lease, state checkpoint.State) checkpoint.State {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	if at := l.Checkpoint.Position; at.Compare(state.Position) > 0 && at.Compare(h.joined) <= 0 {
		state.Position, state.Progress = at, l.Checkpoint.Progress
		if state.Pending.Position.Compare(at) <= 0 {
			state.Pending = checkpoint.Pending{}
		}
	}
	return state
}

// SaveIn implements [checkpoint.Joiner]. What the transaction writes is not known
// to be so before it commits, and who commits it does not say: so nothing is
// taken note of but how far it may have got, and the next write of the row, or
// whoever reads it, finds out.
//
// It does not wait for other writes of the row to end: those may wait for the
// transaction, or for the connection that it has. The guard of each settles it.
func (h *held) SaveIn(ctx context.Context, tx any, state checkpoint.State) error {
	store, ok := h.s.store.(Transactional)
	if !ok {
		return checkpoint.ErrNoTransactions
	}
	ctx, done := h.during(ctx)
	defer done()
	row, err := h.base()
	for inside := false; err == nil; inside = true {
		switch {
		case StandingOf(row, h.s.me, h.term) == Lost:
			return fmt.Errorf("checkpoint of lease %s: %w", h.key, ErrLost)
		case row.Checkpoint.Position.Compare(state.Position) >= 0:
			if inside {
				return h.storedOutside(ctx, state.Position)
			}
			return checkpoint.ErrStored
		}
		next := row
		next.Checkpoint = state
		h.join(state.Position)
		var now Lease
		if now, err = h.swapIn(ctx, store, tx, row, next); !errors.Is(err, ErrConflict) {
			break
		}
		if now.Counter <= row.Counter && now.Key != "" {
			break // the transaction does not see what it is in conflict with
		}
		row, err = now, nil // as the transaction sees it, and others may never do
		row.Load = next.Load
	}
	if err != nil {
		return fmt.Errorf("checkpoint of lease %s: %w", h.key, err)
	}
	return nil
}

// storedOutside tells a checkpoint that was committed before, which is
// [checkpoint.ErrStored], from one that the transaction has written itself, which
// needs no other.
func (h *held) storedOutside(ctx context.Context, at stream.Position) error {
	ctx, cancel := h.s.call(ctx)
	defer cancel()
	rows, err := h.s.store.Read(ctx, h.key)
	switch {
	case err != nil:
		return fmt.Errorf("checkpoint of lease %s: %w", h.key, err)
	case len(rows) > 0 && rows[0].Checkpoint.Position.Compare(at) >= 0:
		return checkpoint.ErrStored
	}
	return nil
}

func (h *held) swapIn(ctx context.Context, store Transactional, tx any, old, next Lease) (Lease, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, h.s.cfg.FailoverTime, errSlow)
	defer cancel()
	return store.SwapIn(ctx, tx, old, next)
}

// join takes note that a transaction may store a checkpoint there.
func (h *held) join(at stream.Position) {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	if at.Compare(h.joined) > 0 {
		h.joined = at
	}
}

func (h *held) End(ctx context.Context, children []stream.Shard) error {
	ids := make([]string, len(children))
	for i, c := range children {
		ids[i] = c.ID
	}
	h.s.mu.Lock()
	h.children = children
	h.s.mu.Unlock()
	return h.write(ctx, "end", true, func(l Lease) (Lease, error) {
		return Ended(l, h.s.me, ids), nil
	})
}

func (h *held) Release(ctx context.Context, state checkpoint.State) error {
	return h.write(ctx, "release", true, func(l Lease) (Lease, error) {
		l, err := Checkpointed(l, h.orJoined(l, state))
		return Released(l, h.s.me), err
	})
}

// tellAtAttempt is when a person is told of a write that fails: when it has done
// so for some seconds, with the default FailoverTime.
const tellAtAttempt = 5

// write stores what change makes of the row, and tries again until it is
// known what became of it, the lease is lost, or ctx is done. A last write
// ends the hold.
func (h *held) write(ctx context.Context, what string, last bool, change func(Lease) (Lease, error)) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s of lease %s: %w", what, h.key, err)
		}
	}()
	select {
	case h.writing <- struct{}{}:
		defer func() { <-h.writing }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	ctx, done := h.during(ctx)
	defer done()
	sent := false
	pause := h.s.retry(h.dice)
	for attempt := 1; ; attempt++ {
		base, err := h.base()
		if err != nil {
			return h.unless(last && sent, err)
		}
		next, err := change(base)
		if err != nil {
			return err
		}
		if last {
			h.expect(func(row Lease) bool { return h.landed(base, next, row) })
		}
		sent = true
		row, known, err := h.s.swap(ctx, base, next)
		switch {
		case err == nil:
			return h.wrote(row, last)
		case known && h.landed(base, next, row):
			// An earlier attempt went through, or this one did and its answer was lost.
			return h.wrote(row, last)
		case known:
			h.learn(row) // and go on by what it says now
			if last || wait(ctx, pause.delay(), nil) {
				continue
			}
			// A holder who has just learned that it is to let go writes that instead.
			return context.Cause(ctx)
		case errors.Is(err, checkpoint.ErrTooLarge):
			return err
		case ctx.Err() != nil:
			return h.unless(last, context.Cause(ctx))
		}
		level := slog.LevelDebug
		if attempt == tellAtAttempt {
			level = slog.LevelWarn
		}
		h.s.log.Log(ctx, level, "cannot write lease, trying again", "stream", base.Stream, "shard", base.Shard, "what", what, "err", err)
		if !wait(ctx, pause.delay(), nil) {
			return h.unless(last, context.Cause(ctx))
		}
	}
}

// during returns a context that ends with the hold, too, and with its cause. done
// lets go of it.
func (h *held) during(ctx context.Context) (_ context.Context, done func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(h.ctx, func() { cancel(context.Cause(h.ctx)) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// unless returns the error with which a write ends whose answer never came: nil
// when it was a last one, sent before, that somebody saw go through.
func (h *held) unless(sentLast bool, err error) error {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	if sentLast && h.done {
		return nil
	}
	return err
}

// base returns the row that a write may start from, or why there may be none.
func (h *held) base() (Lease, error) {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	cause := context.Cause(h.ctx)
	switch {
	case errors.Is(cause, checkpoint.ErrLeaseLost):
		return Lease{}, cause
	case h.done || cause != nil:
		return Lease{}, fmt.Errorf("it was given up before: %w", checkpoint.ErrLeaseLost)
	case !time.Now().Before(h.s.right.expires()):
		// The fuse is about to burn; it must not be outrun.
		return Lease{}, ErrExpired
	case !h.drainBy.IsZero() && !time.Now().Before(h.drainBy):
		return Lease{}, ErrDrained
	}
	row := h.row
	row.Load = h.load
	return row, nil
}

// landed reports whether the row shows that next was written over base. What
// happened to the row afterwards does not matter: while the term lasts the
// holder alone writes checkpoints, and whoever has the lease after a last write
// goes on from that state.
func (h *held) landed(base, next, row Lease) bool {
	if row.Counter <= base.Counter || !sameState(row.Checkpoint, next.Checkpoint) {
		return false
	}
	gaveUp := StandingOf(next, h.s.me, base.Term) == Lost
	return gaveUp == (StandingOf(row, h.s.me, base.Term) == Lost)
}

func sameState(a, b checkpoint.State) bool {
	return a.Position == b.Position && string(a.Progress) == string(b.Progress) &&
		a.Pending.Position == b.Pending.Position && string(a.Pending.Data) == string(b.Pending.Data)
}

// expect tells observe how to know the last write of the hold when it sees it.
func (h *held) expect(final func(Lease) bool) {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	h.final = final
}

// wrote takes note of a write that went through.
func (h *held) wrote(row Lease, last bool) error {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	if last {
		h.done = true
		if row.Counter > h.row.Counter {
			h.row = row
		}
		return nil
	}
	h.observe(row)
	return nil
}

// learn takes note of the row as it is; a row that is gone is lost.
func (h *held) learn(row Lease) {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	if row.Key == "" {
		h.row = row
		h.lose()
		return
	}
	h.observe(row)
}

// observe compares the row, as somebody read it, with what is believed, and
// draws the consequences. The caller holds mu.
func (h *held) observe(row Lease) {
	if row.Counter <= h.row.Counter || h.done {
		return
	}
	if h.final != nil && h.final(row) {
		h.row, h.done = row, true
		return
	}
	switch h.grip.observe(row, h.s.me, h.s.right.drainBy()) {
	case Leaving:
		if h.letGo.IsZero() {
			h.letGo = h.s.right.letGo(time.Now(), h.drainBy, h.s.notice())
		}
		if row.Owner == "" || row.Owner == h.s.me {
			h.drain() // nobody has to be told
		}
		kick(h.s.fuseNow)
		if h.s.leaving {
			kick(h.s.partNow)
		}
	case Lost:
		h.lose()
	}
}

func (h *held) lose() {
	h.moved = true
	h.cancel(ErrLost)
}

// drain asks the HoldFunc to let go. The caller holds mu.
func (h *held) drain() {
	if !h.leaves {
		h.leaves = true
		close(h.leaving)
	}
}

// swap tries one swap. known says that row is the row as it is, though the
// swap was not seen to succeed: from a conflict, or read back after an error.
// It is zero when there is none any more.
func (s *session) swap(ctx context.Context, base, next Lease) (row Lease, known bool, err error) {
	swapping, cancel := s.call(ctx)
	row, err = s.store.Swap(swapping, base, next)
	cancel()
	switch {
	case err == nil:
		return row, true, nil
	case errors.Is(err, ErrConflict):
		return row, true, err
	}
	reading, cancel := s.call(ctx)
	defer cancel()
	rows, readErr := s.store.Read(reading, base.Key)
	if readErr != nil {
		return Lease{}, false, err
	}
	if len(rows) == 0 {
		return Lease{}, true, err
	}
	// The write may still be under way. The row as it is decides, and the
	// guard of the next swap settles which of the two comes through.
	return rows[0], rows[0].Counter != base.Counter, err
}
