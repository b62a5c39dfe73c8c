package lease

import (
	"fmt"
	"slices"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/stream"
)

// The transitions of a row are functions from the row to the row that is to be
// swapped in. None of them decides whether it is allowed: that is what
// [Standing] and the leader's pass are for. [Store.Swap] sets the Counter.

// Assigned gives a lease that nobody holds to a worker, or to nobody. Whoever
// still has the right to checkpoint keeps it, and with it the term; that of an
// owner who is out is over.
func Assigned(l Lease, owner string) Lease {
	l.Owner = owner
	if l.CheckpointOwner == "" {
		l.Term = 0
	}
	return l
}

// HandedOff moves a lease from its live owner to another worker, who waits
// until the former one has let go, or to nobody. CheckpointOwner, once set, is only ever
// cleared: a second move changes the Owner alone.
func HandedOff(l Lease, owner string) Lease {
	if l.CheckpointOwner == "" {
		l.CheckpointOwner = l.Owner
	}
	l.Owner = owner
	return l
}

// Forced ends a handoff without its former owner, who is fenced, gone, or was
// asked long enough ago to have stopped by its own clock.
func Forced(l Lease) Lease {
	l.CheckpointOwner = ""
	l.Term = 0
	return l
}

// MovedTo gives a lease to another worker, or to nobody: a live owner is asked to
// let go, unless it was told to already. in says which members are not fenced.
func MovedTo(l Lease, owner string, in map[string]bool) Lease {
	if in[l.Owner] {
		return HandedOff(l, owner)
	}
	return Assigned(l, owner)
}

// Sought makes a lease that nobody holds go on from another position. What was
// prepared, or done beyond the former one, is of no use there. A former holder
// stores nothing any more, as it has no term.
func Sought(l Lease, to stream.Position) Lease {
	l.Checkpoint = checkpoint.State{Position: to}
	l.Term = 0
	return l
}

// Taken begins a term: the owner, or whoever claims a lease of nobody, starts
// to hold it. The Term is the Counter that the swap will write, so that the
// row tells afterwards whether this very take, and no other, was the one that
// went through.
func Taken(l Lease, by string) Lease {
	l.Owner = by
	l.Term = l.Counter + 1
	return l
}

// Checkpointed stores how far the shard has been processed. A checkpoint never
// goes back: [checkpoint.ErrOutOfRange].
func Checkpointed(l Lease, s checkpoint.State) (Lease, error) {
	if s.Position.Compare(l.Checkpoint.Position) < 0 {
		return l, fmt.Errorf("checkpoint of %s at %v, before the stored one at %v: %w",
			l.Key, s.Position, l.Checkpoint.Position, checkpoint.ErrOutOfRange)
	}
	l.Checkpoint = s
	return l, nil
}

// Ended stores that the shard was processed to its end, and its children. It
// ends every handoff, too: an ended lease has nothing to hand over. The Owner
// stays as a note on where its children are best placed.
func Ended(l Lease, by string, children []string) Lease {
	l.Owner, l.CheckpointOwner = by, ""
	l.Checkpoint = checkpoint.State{Position: stream.ShardEnd}
	l.Children = slices.Clone(children)
	l.Load = Load{}
	return l
}

// Released gives up what that worker has in a lease: the handoff that waits
// for it, else its ownership, and with it the term: a row that comes back to
// the same worker later must not look as if its former term went on. A lease of
// others stays as it is.
func Released(l Lease, by string) Lease {
	switch {
	case l.CheckpointOwner == by:
		l.CheckpointOwner = ""
		if l.Owner == by {
			l.Owner = "" // moved away, and back before it had stopped
		}
		l.Term = 0
	case l.CheckpointOwner == "" && l.Owner == by:
		l.Owner = ""
		l.Term = 0
	}
	return l
}

// Finished reports whether the shard was processed to its end.
func (l *Lease) Finished() bool { return l.Checkpoint.Position == stream.ShardEnd }

// Begun reports whether anything of the shard was processed, or its beginning
// pinned: its checkpoint is beyond a place where only a first term starts.
func (l *Lease) Begun() bool { return l.Checkpoint.Position.Compare(stream.Latest) > 0 }

// A Standing is what a row says about a term that a worker believes it holds.
type Standing int

const (
	// Lost: somebody else holds the shard or may take it, or the term is over.
	Lost Standing = iota
	// Held: the shard is the worker's own.
	Held
	// Leaving: the worker still holds the shard and may still checkpoint, but
	// it is to let go.
	Leaving
)

// StandingOf reads from a row what became of the given term of a worker.
func StandingOf(l Lease, worker string, term int64) Standing {
	switch {
	case worker == "" || l.Term != term || l.Finished():
		return Lost
	case l.CheckpointOwner == worker:
		return Leaving
	case l.CheckpointOwner == "" && l.Owner == worker:
		return Held
	default:
		return Lost
	}
}
