package lease

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/stream"
)

// An ActionKind is what an [Operator] can do to a running fleet.
type ActionKind string

const (
	// ActionPause stops the processing of a scope, as cleanly as a handoff, until
	// it is resumed. Children of a paused shard are not begun either.
	ActionPause ActionKind = "pause"
	// ActionResume ends the pause of exactly that scope, and a seek of it that was
	// broken off.
	ActionResume ActionKind = "resume"
	// ActionDrain makes a worker, by its name, give its shards to others as far as
	// they have room, and take no more but what nobody else can. It holds for later
	// starts of that name, too, until it is undone, or there was no worker of that
	// name for an hour.
	ActionDrain ActionKind = "drain"
	// ActionUndrain ends that.
	ActionUndrain ActionKind = "undrain"
	// ActionSeek makes a scope go on from another position. Shards that are finished
	// are left out, and with them what lies before a reshard: their records would
	// come after those of their children. Who wants to process a stream again from
	// before a reshard does so under another application. A seek to Latest takes no
	// shard back.
	ActionSeek ActionKind = "seek"
	// ActionMove gives one shard to a worker, by its name or incarnation. Where it
	// does not fit into what is balanced the leader may move it on.
	ActionMove ActionKind = "move"
)

// Action is one thing that an [Operator] can do, as a value.
type Action struct {
	Kind ActionKind `json:"kind"`
	// Scope is what is paused, resumed or sought, and the shard that is moved.
	Scope Scope `json:"scope,omitzero"`
	// Worker is who is drained, or gets the shard.
	Worker string `json:"worker,omitempty"`
	// To is where a seek goes: TrimHorizon, Latest or AtTime, and for a single
	// shard also At or After. It is no place that the stream has yet to reach: no time
	// after now, and no sequence number beyond the end of its shard, as far as
	// [OperatorConfig] gives the stream that knows it.
	To stream.Position `json:"to,omitzero"`
	// Reason is for people: it is kept, and shown in the fleet's status. It has
	// 10,000 bytes at most.
	Reason string `json:"reason,omitempty"`
}

func (a Action) String() string {
	switch a.Kind {
	case ActionDrain, ActionUndrain:
		return string(a.Kind) + " " + a.Worker
	case ActionSeek:
		return fmt.Sprintf("seek %v to %v", a.Scope, a.To)
	case ActionMove:
		return fmt.Sprintf("move %v to %s", a.Scope, a.Worker)
	default:
		return fmt.Sprintf("%s %v", a.Kind, a.Scope)
	}
}

// longestReason leaves room for the rest of a [Note], whatever has to be escaped.
const longestReason = 10_000

// validate names what is wrong with an action that is to be done now, and the fix.
func (a Action) validate(now time.Time) error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("lease: Action."+format, args...)
	}
	switch {
	case a.Scope.Stream == "" && a.Scope.Shard != "":
		return bad("Scope has the shard %s and no stream: shards of several streams may be called alike, so name the stream, too", a.Scope.Shard)
	case len(a.Reason) > longestReason:
		return bad("Reason has %d bytes: say it in %d at most", len(a.Reason), longestReason)
	case (a.Kind == ActionDrain || a.Kind == ActionUndrain) && a.Worker == "":
		return bad("Worker is empty: name the worker to %s", a.Kind)
	case (a.Kind == ActionDrain || a.Kind == ActionUndrain) && a.Scope != Scope{}:
		return bad("Scope is %v: a worker gives away all that it has, so leave it out", a.Scope)
	case (a.Kind == ActionPause || a.Kind == ActionResume || a.Kind == ActionSeek) && a.Worker != "":
		return bad("Worker is %s: a %s is of a scope, whoever has it, so leave it out; a drain takes away what a worker has", a.Worker, a.Kind)
	case a.Kind == ActionMove && (a.Worker == "" || a.Scope.Shard == ""):
		return bad("Worker is %q, Scope.Shard %q: name the shard to move, and the worker that gets it", a.Worker, a.Scope.Shard)
	}
	switch a.Kind {
	case ActionPause, ActionResume, ActionDrain, ActionUndrain, ActionMove:
		return nil
	case ActionSeek:
	default:
		return bad("Kind is %q: use one of the Action constants", a.Kind)
	}
	at, isTime := a.To.Time()
	_, _, numbered := a.To.Sequence()
	switch {
	case isTime && at.After(now):
		return bad("To is %v, %v after now, so that all records until then would be skipped: mind the time zone, or use stream.Latest", a.To, at.Sub(now).Round(time.Millisecond))
	case a.To == stream.TrimHorizon || a.To == stream.Latest || isTime:
	case numbered && a.Scope.Shard == "":
		return bad("To is %v: a sequence number is that of one shard, so name the shard, or use stream.AtTime", a.To)
	case !numbered:
		return bad("To is %q: use stream.TrimHorizon, stream.Latest, stream.AtTime, or for one shard stream.At or stream.After", a.To)
	}
	return nil
}

// Order is an action that lasts until it is taken back, as it stands in a
// [Note]: a pause, a drain, or a seek that is under way.
type Order struct {
	Action
	// Actor is who gave it, and Since when, by that one's clock.
	Actor string    `json:"actor"`
	Since time.Time `json:"since"`
}

// String tells on one line why something is not processed: "paused by ada since
// 2026-11-23T04:05:06Z: bad deploy".
func (o Order) String() string {
	what := map[ActionKind]string{ActionPause: "paused", ActionDrain: "drained", ActionSeek: fmt.Sprintf("sought to %v", o.To)}[o.Kind]
	text := fmt.Sprintf("%s by %s since %s", what, o.Actor, o.Since.UTC().Format(time.RFC3339))
	if reason := strings.Join(strings.Fields(o.Reason), " "); reason != "" {
		text += ": " + reason
	}
	return text
}

// name returns that of the note in which such an order stands: there is one of
// each kind for each scope or worker.
func (a Action) name() string {
	switch {
	case a.Kind == ActionDrain:
		return "drain/" + url.PathEscape(a.Worker)
	case a.Scope.Stream == "":
		return string(a.Kind)
	case a.Scope.Shard == "":
		return string(a.Kind) + "/" + url.PathEscape(a.Scope.Stream)
	default:
		return string(a.Kind) + "/" + url.PathEscape(a.Scope.Stream) + "/" + url.PathEscape(a.Scope.Shard)
	}
}

// note returns the note of a new order.
func (o Order) note() Note {
	text, err := json.Marshal(o)
	if err != nil {
		panic(err) // its fields always have a JSON form
	}
	return Note{Name: o.name(), Version: now(), Value: string(text)}
}

// orderIn reads an order from its note.
func orderIn(n Note) (o Order, err error) {
	if err := json.Unmarshal([]byte(n.Value), &o); err != nil {
		return Order{}, fmt.Errorf("note %q: %w", n.Name, err)
	}
	if o.name() != n.Name {
		return Order{}, fmt.Errorf("note %q has the value of a note %q", n.Name, o.name())
	}
	return o, nil
}

// orders are those that the notes of a fleet hold.
type orders struct {
	holds  map[Scope]Order  // what nobody is to process
	drains map[string]Order // workers, by name, that are to give away what they have
}

// ordersIn reads notes. What cannot be understood is an error, and passed over: a
// newer program may have left it.
func ordersIn(notes []Note) (o orders, err error) {
	notes = slices.SortedFunc(slices.Values(notes), func(a, b Note) int { return cmp.Compare(a.Name, b.Name) })
	for _, n := range notes {
		if n.Name == deedsNote {
			continue
		}
		order, bad := orderIn(n)
		switch {
		case bad != nil:
			err = errors.Join(err, bad)
		case order.Kind == ActionDrain || order.Kind == ActionPause || order.Kind == ActionSeek:
			o.add(order)
		default:
			err = errors.Join(err, fmt.Errorf("note %q asks for something unknown", n.Name))
		}
	}
	return o, err
}

func (o *orders) add(order Order) {
	if order.Kind == ActionDrain {
		if o.drains == nil {
			o.drains = map[string]Order{}
		}
		o.drains[order.Worker] = order
		return
	}
	if o.holds == nil {
		o.holds = map[Scope]Order{}
	}
	if _, has := o.holds[order.Scope]; !has { // a pause goes before a seek
		o.holds[order.Scope] = order
	}
}

// with returns the orders and one more.
func (o orders) with(order Order) orders {
	o.holds, o.drains = maps.Clone(o.holds), maps.Clone(o.drains)
	o.add(order)
	return o
}

// drained returns which of the members, by incarnation, are to be drained.
func (o orders) drained(members []Member) map[string]bool {
	drained := map[string]bool{}
	for _, m := range members {
		if _, has := o.drains[m.Worker]; has {
			drained[m.Incarnation] = true
		}
	}
	return drained
}

// paused returns which of the leases that are not finished nobody is to have, by
// key, and by which order. An order on a shard holds for the shards that come
// after it, too, as far as the rows tell which they are: the shard may have ended
// before it could be stopped.
func (o orders) paused(leases []Lease) map[string]Order {
	if len(o.holds) == 0 {
		return nil
	}
	line := lineage{orders: o, rows: make(map[shardKey]*Lease, len(leases)), known: map[shardKey]*Order{}}
	for i := range leases {
		line.rows[shardKey{leases[i].StreamID, leases[i].Shard}] = &leases[i]
	}
	paused := map[string]Order{}
	for i := range leases {
		l := &leases[i]
		if l.Finished() {
			continue
		}
		if order := line.holds(l); order != nil {
			paused[l.Key] = *order
		}
	}
	return paused
}

// lineage finds orders on shards from which a shard has come.
type lineage struct {
	orders
	rows  map[shardKey]*Lease
	known map[shardKey]*Order
}

// holds returns the widest order that holds for a shard, nil when there is none.
func (l *lineage) holds(row *Lease) *Order {
	for _, scope := range []Scope{{}, {Stream: row.Stream}} {
		if order, has := l.orders.holds[scope]; has {
			return &order
		}
	}
	return l.inherited(row.Stream, shardKey{row.StreamID, row.Shard}, row)
}

// inherited returns the order on a shard, or on one before it. row is nil when
// it is not known.
func (l *lineage) inherited(name string, shard shardKey, row *Lease) *Order {
	if order, has := l.orders.holds[Scope{name, shard.shard}]; has {
		return &order
	}
	if order, known := l.known[shard]; known || row == nil {
		return order
	}
	l.known[shard] = nil // for a circle, which no stream has
	for _, p := range row.Parents {
		parent := shardKey{shard.streamID, p}
		if order := l.inherited(name, parent, l.rows[parent]); order != nil {
			l.known[shard] = order
			break
		}
	}
	return l.known[shard]
}

// standing reads what is ordered. Orders that cannot be understood are passed over.
func (s *session) standing(ctx context.Context) (orders, error) {
	notes, err := s.notes(ctx)
	if err != nil {
		return orders{}, err
	}
	o, _ := ordersIn(notes)
	return o, nil
}

func (s *session) notes(ctx context.Context) ([]Note, error) {
	ctx, cancel := s.call(ctx)
	defer cancel()
	notes, err := s.store.Notes(ctx)
	if err != nil {
		return nil, fmt.Errorf("read notes: %w", err)
	}
	return notes, nil
}
