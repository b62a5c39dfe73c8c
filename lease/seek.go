package lease

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/millrace/millrace/checkpoint"
)

// seeking is a seek under way.
//
//	note: nobody is to have the scope ─► holders let go ─► swap of each row ─► the note is removed
//	                                     (the leader asks, forces, fences;
//	                                      where nobody leads, this fences)
//
// Every step may be the last one of its process: what is written so far does no
// harm, and doing it again finds it.
type seeking struct {
	*Operator
	change  *Change
	note    Note           // under which the scope is held
	left    map[string]int // the leases that are not yet where they go: their places among those wanted
	onward  bool           // what has got further by the time it is written stays there
	members *watch
	trouble
}

// reposition makes the leases of a change go on from the states that they have in
// After. When it returns, change tells what was done. Where they only go onward, one
// that has got further meanwhile stays where it is: LATEST is asked for before the
// holders let go.
func (o *Operator) reposition(ctx context.Context, c *Change, onward bool) error {
	s := &seeking{
		Operator: o, change: c, left: map[string]int{}, onward: onward,
		members: newWatch(o.cfg.FailoverTime, 3*o.cfg.FailoverTime/4),
		trouble: trouble{what: "seeking"},
	}
	wanted := c.Leases
	for i, l := range wanted {
		s.left[l.Before.Key] = i
	}
	c.Leases = nil
	err := s.hold(ctx)
	if err == nil {
		err = s.carryOut(ctx, wanted)
	}
	if err == nil {
		err = s.release(ctx)
	}
	slices.SortFunc(c.Leases, func(a, b LeaseChange) int { return cmp.Compare(a.Before.Key, b.Before.Key) })
	if err != nil && s.note != (Note{}) {
		c.Notes = append(c.Notes, NoteChange{After: s.note})
		return fmt.Errorf("%d of %d shards are where they should be, and the others stay paused until this is done again, or %v is resumed: %w",
			len(c.Leases), len(wanted), c.Action.Scope, err)
	}
	return err
}

// carryOut looks again and again until every lease is where it goes.
func (s *seeking) carryOut(ctx context.Context, wanted []LeaseChange) error {
	for {
		err := s.step(ctx, wanted)
		switch {
		case len(s.left) == 0:
			return nil
		case errors.Is(err, ErrMovedOn) || errors.Is(err, checkpoint.ErrTooLarge):
			return err
		case err != nil:
			s.met(ctx, s.log, err)
		}
		if !wait(ctx, s.cfg.FailoverTime/20, nil) {
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

// hold writes the note, unless it stands there already: a seek that was broken
// off is gone on with.
func (s *seeking) hold(ctx context.Context) error {
	order := Order{Action: s.change.Action, Actor: s.change.Actor, Since: s.change.At}
	order.Kind = ActionSeek
	next := order.note()
	for {
		calling, cancel := s.call(ctx)
		row, err := s.store.SwapNote(calling, Note{}, next)
		cancel()
		if errors.Is(err, ErrConflict) {
			other, unreadable := orderIn(row)
			if unreadable != nil || other.To != order.To {
				return notPossible("it is being %v: do that again, or resume %v", other, order.Scope)
			}
			err = nil
		}
		if err == nil {
			s.note = row
			return nil
		}
		s.met(ctx, s.log, err)
		if !wait(ctx, s.cfg.FailoverTime/50, nil) {
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

// release removes the note. One that is gone already was removed by somebody who
// did the same, or gave up what is done by now.
func (s *seeking) release(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.FailoverTime)
	defer cancel()
	_, err := s.swapNote(ctx, s.note, Note{})
	if err == nil || errors.Is(err, ErrMovedOn) {
		s.note = Note{}
		return nil
	}
	return err
}

// step looks once, and writes the rows that nobody holds any more.
func (s *seeking) step(ctx context.Context, wanted []LeaseChange) error {
	calling, cancel := s.call(ctx)
	rows, err := s.store.Read(calling, slices.Sorted(maps.Keys(s.left))...)
	cancel()
	if err != nil {
		return fmt.Errorf("read leases: %w", err)
	}
	in, err := s.alive(ctx)
	if err != nil {
		return err
	}
	if err := s.stillHeld(ctx); err != nil {
		return err
	}
	done, problems := make([]bool, len(rows)), make([]error, len(rows))
	parallel(len(rows), func(i int) { done[i], problems[i] = s.put(ctx, rows[i], &wanted[s.left[rows[i].Key]], in) })
	there := make(map[string]bool, len(rows))
	for i, row := range rows {
		there[row.Key] = true
		switch {
		case row.Finished():
			s.skip(row.Key, "it was finished meanwhile")
		case done[i]:
			s.change.Leases = append(s.change.Leases, wanted[s.left[row.Key]])
			delete(s.left, row.Key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(s.left)) {
		if !there[key] {
			s.skip(key, "its row is gone")
		}
	}
	return errors.Join(problems...)
}

func (s *seeking) skip(key, reason string) {
	delete(s.left, key)
	s.change.Skipped = append(s.change.Skipped, Skipped{key, reason})
}

// stillHeld makes sure that nobody has resumed the scope meanwhile.
func (s *seeking) stillHeld(ctx context.Context) error {
	calling, cancel := s.call(ctx)
	defer cancel()
	notes, err := s.store.Notes(calling)
	if err != nil {
		return fmt.Errorf("read notes: %w", err)
	}
	if !slices.Contains(notes, s.note) {
		s.note = Note{}
		return movedOn("somebody has resumed %v, or done the same", s.change.Action.Scope)
	}
	return nil
}

// put writes one row, if nobody holds it, and reports whether it is where it goes.
// Its error says that the store refuses, or does not answer.
func (s *seeking) put(ctx context.Context, row Lease, c *LeaseChange, in map[string]bool) (done bool, err error) {
	to := c.After.Checkpoint
	if s.onward && row.Checkpoint.Position.Compare(to.Position) > 0 {
		to = row.Checkpoint
	}
	next, verdict := soughtFrom(row, to, in)
	switch verdict {
	case seekDone:
		if row.Counter != c.After.Counter { // else an answer was lost, and Before is what it was
			c.Before = row
		}
		c.After = row
		return true, nil
	case seekWrites:
		c.Before, c.After.Counter = row, row.Counter+1
		written, err := s.swap(ctx, row, next)
		switch {
		case err == nil:
			c.After = written
			return true, nil
		case errors.Is(err, ErrConflict):
			return false, nil
		}
		return false, fmt.Errorf("write lease %s: %w", row.Key, err)
	default:
		return false, nil
	}
}

type seekVerdict int

const (
	seekWaits    seekVerdict = iota // somebody holds the shard, or may
	seekWrites                      // nobody does
	seekDone                        // it is there already
	seekFinished                    // the shard has ended
)

// soughtFrom returns what becomes of the row of a lease that is to go on from a
// state. in says which members are not fenced; it was read after the row.
func soughtFrom(row Lease, to checkpoint.State, in map[string]bool) (Lease, seekVerdict) {
	switch {
	case row.Finished():
		return row, seekFinished
	case in[row.Owner] || in[row.CheckpointOwner]:
		return row, seekWaits
	case row.Owner == "" && row.CheckpointOwner == "" && row.Term == 0 && sameState(row.Checkpoint, to):
		return row, seekDone
	}
	next := Sought(row, to.Position)
	next.Checkpoint, next.Owner, next.CheckpointOwner = to, "", ""
	return next, seekWrites
}

// alive returns the members that are not fenced. Where nobody leads who could do
// it, those are fenced that were silent for FailoverTime, theirs or the operator's, while they
// were watched: guarded by the Version that was observed, as a leader does it.
func (s *seeking) alive(ctx context.Context) (in map[string]bool, err error) {
	asked := time.Now()
	calling, cancel := s.call(ctx)
	rows, err := s.store.Members(calling)
	cancel()
	if err != nil {
		return nil, fmt.Errorf("read members: %w", err)
	}
	now, led := time.Now(), false
	var members []Member
	for _, m := range rows {
		if m.Incarnation == leaderKey {
			s.members.observeLeader(asked, now, m)
			led = m.Worker != "" && !s.members.dead(leaderKey)
		} else {
			members = append(members, m)
		}
	}
	s.members.observe(asked, now, members...)
	in = make(map[string]bool, len(members))
	for _, m := range members {
		in[m.Incarnation] = !m.Fenced
		if led || !in[m.Incarnation] || !s.members.dead(m.Incarnation) {
			continue
		}
		next := m
		next.Fenced = true
		calling, cancel := s.call(ctx)
		row, err := s.store.SwapMember(calling, m, next)
		cancel()
		if err == nil || errors.Is(err, ErrConflict) && row.Fenced {
			s.log.WarnContext(ctx, "worker is silent, and nobody leads: taking its leases from it", "member", m.Incarnation)
			in[m.Incarnation] = false
		}
	}
	return in, nil
}
