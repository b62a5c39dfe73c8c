package lease

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/stream"
)

// Change is what an [Action] would change, or has changed. It has a JSON form, and
// the change of an action that was done is the record by which
// [Operator.Undo] takes it back.
type Change struct {
	Action Action `json:"action"`
	// Actor is who acts, and At when, by that one's clock.
	Actor string    `json:"actor"`
	At    time.Time `json:"at"`
	// Notes are written by the action itself.
	Notes []NoteChange `json:"notes,omitempty"`
	// Leases are the rows that a seek or a move writes; and those that the leader
	// will write because of a pause or a drain, as they are to be next: a drain does
	// not say who gets them, and skips those that nobody else has room for.
	Leases []LeaseChange `json:"leases,omitempty"`
	// Skipped are leases in the scope that are left as they are, and why.
	Skipped []Skipped `json:"skipped,omitempty"`
}

// NoteChange is a note before and after a change; zero for none.
type NoteChange struct {
	Before Note `json:"before,omitzero"`
	After  Note `json:"after,omitzero"`
}

// LeaseChange is a row before and after a change.
type LeaseChange struct {
	Before Lease `json:"before"`
	After  Lease `json:"after"`
}

// Skipped is a lease that is left as it is.
type Skipped struct {
	Key    string `json:"key"`
	Reason string `json:"reason"`
}

// String tells the change of one row on one line.
func (c LeaseChange) String() string {
	b, a := c.Before, c.After
	var parts []string
	if b.Checkpoint.Position != a.Checkpoint.Position {
		parts = append(parts, fmt.Sprintf("from %v to %v", b.Checkpoint.Position, a.Checkpoint.Position))
	}
	if b.Owner != a.Owner {
		parts = append(parts, fmt.Sprintf("from %s to %s", orNobody(b.Owner), orNobody(a.Owner)))
	}
	if parts == nil {
		parts = []string{"as it is"}
	}
	return b.Shard + ": " + strings.Join(parts, ", ")
}

func orNobody(incarnation string) string {
	if incarnation == "" {
		return "nobody"
	}
	return incarnation
}

var (
	// ErrNotPossible says that an action does not fit the fleet as it is. Nothing
	// was written.
	ErrNotPossible = errors.New("not possible as the fleet is")
	// ErrMovedOn says that the fleet has changed under an action, so that it is not
	// carried out, or since one, so that this is not taken back.
	ErrMovedOn = errors.New("the fleet has moved on")
)

func notPossible(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, ErrNotPossible)...)
}

func movedOn(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, ErrMovedOn)...)
}

// propose returns what an action changes. The leases of a seek go to a.To; an
// operator puts a concrete position in the place of LATEST.
func (p *picture) propose(a Action, actor string, at time.Time) (Change, error) {
	c := Change{Action: a, Actor: actor, At: at}
	order := Order{Action: a, Actor: actor, Since: at}
	var err error
	switch a.Kind {
	case ActionPause:
		p.pause(&c, order)
	case ActionDrain:
		err = p.drain(&c, order)
	case ActionResume:
		pause, seek := a, a
		pause.Kind, seek.Kind = ActionPause, ActionSeek
		err = p.lift(&c, pause, seek)
	case ActionUndrain:
		drain := a
		drain.Kind = ActionDrain
		err = p.lift(&c, drain)
	case ActionSeek:
		err = p.seek(&c)
	case ActionMove:
		err = p.move(&c)
	}
	if err != nil {
		return Change{}, fmt.Errorf("lease: %v: %w", a, err)
	}
	return c, nil
}

// pause changes nothing where the scope is paused already.
func (p *picture) pause(c *Change, order Order) {
	if p.note(order.name()) != (Note{}) {
		return
	}
	c.Notes = []NoteChange{{After: order.note()}}
	before, after := p.orders.paused(p.leases), p.orders.with(order).paused(p.leases)
	for _, l := range p.leases {
		_, was := before[l.Key]
		if _, is := after[l.Key]; is && !was && l.Owner != "" {
			c.Leases = append(c.Leases, LeaseChange{l, MovedTo(l, "", p.in())})
		}
	}
}

func (p *picture) drain(c *Change, order Order) error {
	incarnations := map[string]bool{}
	for _, m := range p.members {
		if m.Worker == order.Worker && !m.Fenced {
			incarnations[m.Incarnation] = true
		}
	}
	switch {
	case p.note(order.name()) != (Note{}):
		return nil
	case len(incarnations) == 0:
		return notPossible("there is no worker of that name")
	}
	c.Notes = []NoteChange{{After: order.note()}}
	leave := map[string]bool{}
	for _, m := range Plan(View{Leases: p.leases, Members: p.members, Drained: p.orders.with(order).drained(p.members), Unsettled: true}) {
		leave[m.Lease.Key] = true
	}
	for _, l := range p.leases {
		switch {
		case !incarnations[l.Owner] || l.Finished():
		case leave[l.Key]:
			c.Leases = append(c.Leases, LeaseChange{l, MovedTo(l, "", p.in())})
		default:
			c.Skipped = append(c.Skipped, Skipped{l.Key, "nobody else takes it: it stays with " + l.Owner})
		}
	}
	return nil
}

// lift removes the notes of these orders, at least one.
func (p *picture) lift(c *Change, of ...Action) error {
	left := slices.Clone(p.notes)
	for _, a := range of {
		if n := p.note(a.name()); n != (Note{}) {
			c.Notes = append(c.Notes, NoteChange{Before: n})
			left = slices.DeleteFunc(left, func(other Note) bool { return other == n })
		}
	}
	if c.Notes == nil {
		return notPossible("nobody has asked for a %s of that", of[0].Kind)
	}
	orders, _ := ordersIn(left)
	still := orders.paused(p.leases)
	for _, l := range p.leases {
		if order, is := still[l.Key]; is && c.Action.Kind == ActionResume && c.Action.Scope.Has(l) {
			c.Skipped = append(c.Skipped, Skipped{l.Key, "still " + order.String()})
		}
	}
	return nil
}

// seek finds the leases that go on from another position. One that has none of the
// scope's, or a single shard that cannot, is an error.
func (p *picture) seek(c *Change) error {
	at := map[shardKey]*Lease{}
	begun := map[shardKey]string{} // shards of which a child has begun
	for i := range p.leases {
		l := &p.leases[i]
		at[shardKey{l.StreamID, l.Shard}] = l
		for _, parent := range l.Parents {
			if l.Begun() || l.Term != 0 {
				begun[shardKey{l.StreamID, parent}] = l.Shard
			}
		}
	}
	for _, l := range p.leases {
		if !c.Action.Scope.Has(l) {
			continue
		}
		if reason := unfit(l, c.Action.To, at, begun); reason != "" {
			if c.Action.Scope.Shard != "" {
				return notPossible("%s", reason)
			}
			c.Skipped = append(c.Skipped, Skipped{l.Key, reason})
			continue
		}
		after := Sought(l, c.Action.To)
		after.Owner, after.CheckpointOwner = "", ""
		c.Leases = append(c.Leases, LeaseChange{l, after})
	}
	if c.Leases == nil {
		return notPossible("there is no lease in that scope that can be sought")
	}
	return nil
}

// unfit says why a lease cannot go on from that position; empty when it can.
//
// A finished shard is not sought: its children may begin at any moment, and its
// records would come after theirs. And a shard that waits for its parents goes
// only to a position that leaves it waiting.
func unfit(l Lease, to stream.Position, at map[shardKey]*Lease, begun map[shardKey]string) string {
	if l.Finished() {
		return "it is finished, so that its records would come after those of its children: seek those, or process the stream again under another application"
	}
	if child := begun[shardKey{l.StreamID, l.Shard}]; child != "" {
		return "its child " + child + " has begun, so that its records would come after those"
	}
	sought := Sought(l, to)
	for _, parent := range l.Parents {
		p := at[shardKey{l.StreamID, parent}]
		if p != nil && !p.Finished() && !l.Begun() && (sought.Begun() || to == stream.Latest) {
			return "it waits for its parent " + parent + ", and must not begin before that has finished: seek the parent, or this one to stream.TrimHorizon or stream.AtTime"
		}
	}
	return ""
}

// move finds who gets the lease, and whether it may.
func (p *picture) move(c *Change) error {
	var found []Lease
	for _, l := range p.leases {
		if c.Action.Scope.Has(l) && !l.Finished() {
			found = append(found, l)
		}
	}
	switch len(found) {
	case 0:
		return notPossible("there is no such shard, or it is finished")
	case 1:
	default:
		return notPossible("there are %d shards of that name, of several incarnations of the stream", len(found))
	}
	l, paused := found[0], p.orders.paused(p.leases)
	planner := newPlanner(View{Leases: p.leases, Members: p.members, Drained: p.orders.drained(p.members)})
	order, isPaused := paused[l.Key]
	to, err := planner.target(c.Action.Worker)
	switch i := slices.IndexFunc(p.leases, func(row Lease) bool { return row.Key == l.Key }); {
	case err != nil:
		return err
	case isPaused:
		return notPossible("it is %v", order)
	case planner.waiting(&l):
		return notPossible("it waits for a parent")
	case untouched(l) || unpinned(l):
		return notPossible("it has yet to begin: the leader gives it away when its stream has told of it")
	case to.member.Incarnation == l.Owner:
		return nil
	case !planner.suits(i, to):
		return notPossible("%s does not serve its stream, and others do, or a callback of an earlier term is stuck there", to.member.Incarnation)
	case to.full():
		return notPossible("%s has as many shards as it takes", to.member.Incarnation)
	}
	c.Leases = []LeaseChange{{l, MovedTo(l, to.member.Incarnation, p.in())}}
	return nil
}

// target returns the member of that name, or incarnation, that may be given
// leases.
func (p *planner) target(worker string) (*bin, error) {
	var found []*bin
	for _, b := range p.open {
		if b.member.Worker == worker || b.member.Incarnation == worker {
			found = append(found, b)
		}
	}
	switch {
	case len(found) == 0:
		return nil, notPossible("there is no worker %s that takes shards", worker)
	case len(found) > 1:
		return nil, notPossible("there are %d starts of the worker %s: give one of their incarnations, as the fleet's status tells them", len(found), worker)
	}
	return found[0], nil
}

// unsought returns the state to which the lease of a seek goes back. What was
// processed since does not matter: the former state covers nothing that was not
// done when it was stored.
func (c LeaseChange) unsought(now Lease) (checkpoint.State, error) {
	left, at := c.After.Checkpoint.Position, now.Checkpoint.Position
	switch {
	case now.Key == "":
		return checkpoint.State{}, movedOn("the row is gone")
	case now.Finished():
		return checkpoint.State{}, movedOn("the shard is finished")
	case sameState(now.Checkpoint, c.Before.Checkpoint):
	case at != left && (at.Compare(left) < 0 || !now.Begun()):
		return checkpoint.State{}, movedOn("somebody has sought it to %v since", at)
	}
	return c.Before.Checkpoint, nil
}

// unmoved returns the row that takes back a move.
func (c LeaseChange) unmoved(now Lease, in map[string]bool) (Lease, error) {
	switch {
	case now.Key == "":
		return Lease{}, movedOn("the row is gone")
	case now.Finished():
		return Lease{}, movedOn("the shard is finished")
	case now.Owner == c.Before.Owner:
		return now, nil
	case now.Owner != c.After.Owner:
		return Lease{}, movedOn("it belongs to %s by now", orNobody(now.Owner))
	case c.Before.Owner != "" && !in[c.Before.Owner]:
		return Lease{}, movedOn("its former owner %s is gone", c.Before.Owner)
	}
	return MovedTo(now, c.Before.Owner, in), nil
}

// reverse returns the swap that takes back the change of a note, both zero when
// there is nothing to do.
func (c NoteChange) reverse(current Note) (old, next Note, err error) {
	switch {
	case current.Name == c.Before.Name && current.Value == c.Before.Value:
		return Note{}, Note{}, nil
	case current != c.After && current == Note{}:
		return Note{}, Note{}, movedOn("the note %q is gone", c.After.Name)
	case current != c.After:
		return Note{}, Note{}, movedOn("the note %q is another one by now", current.Name)
	}
	next = c.Before
	if current == (Note{}) {
		next.Version = now()
	}
	return current, next, nil
}
