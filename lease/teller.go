package lease

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// teller tells why shards are not processed.
type teller struct {
	*picture
	planner *planner
	paused  map[string]Order
	led     bool
	stale   map[string]bool
	blocked map[blocking]Blocked
	more    map[string]bool // members whose rows name only some of what is blocked
}

// blocking names what is blocked, and with whom.
type blocking struct{ key, incarnation string }

// newTeller returns one for a fleet. led says whether somebody leads it, stale which
// members have been silent for a while.
func newTeller(p *picture, led bool, stale map[string]bool) *teller {
	t := &teller{
		picture: p, led: led, stale: stale, paused: p.orders.paused(p.leases),
		planner: newPlanner(View{Leases: p.leases, Members: p.members, Drained: p.orders.drained(p.members), Stale: stale}),
		blocked: map[blocking]Blocked{}, more: map[string]bool{},
	}
	for _, m := range p.members {
		longest, more := m.Blocked.Longest()
		for _, b := range longest {
			t.blocked[blocking{b.Key, m.Incarnation}] = b
		}
		t.more[m.Incarnation] = more > 0
	}
	return t
}

// shard tells how the i-th lease stands.
func (t *teller) shard(i int) ShardStatus {
	l := t.leases[i]
	s := ShardStatus{Lease: l, From: l.CheckpointOwner, To: l.Owner}
	order, paused := t.paused[l.Key]
	waits := t.parents(l)
	switch {
	case l.Finished():
		s.State = ShardFinished
	case paused:
		s.State, s.Cause, s.Order, s.Reason = ShardPaused, string(order.Kind), order, order.String()
		if s.From, s.To = cmp.Or(l.CheckpointOwner, l.Owner), ""; t.planner.bins[s.From] == nil {
			s.From = "" // it is out, and holds nothing
		}
	case len(waits) > 0:
		s.State = ShardWaiting
		var reasons []string
		for _, p := range waits {
			s.Parents = append(s.Parents, p.Shard)
			reasons = append(reasons, fmt.Sprintf("for parent %s, %s", p.Shard, t.holder(p)))
		}
		s.Reason = strings.Join(reasons, "; ")
	case l.CheckpointOwner != "":
		s.State, s.Cause = ShardMoving, "handoff"
		s.Reason = fmt.Sprintf("from %s to %s", t.called(l.CheckpointOwner), orNobody(t.called(l.Owner)))
	case t.planner.bins[l.Owner] == nil || t.stale[l.Owner]:
		s.State = ShardFree
		s.Cause, s.Reason = t.whyFree(i)
	case l.Term == 0:
		s.State, s.Cause = ShardMoving, "untaken"
		s.Reason = fmt.Sprintf("to %s, who has not taken it yet", l.Owner)
	default:
		s.State = ShardHeld
		if s.Blocked = t.blocked[blocking{l.Key, l.Owner}]; !s.Blocked.IsZero() {
			s.State, s.Reason = ShardBlocked, s.Blocked.String()
		}
		s.PerhapsBlocked = s.State == ShardHeld && t.more[l.Owner]
	}
	if s.State != ShardMoving && s.State != ShardPaused {
		s.From, s.To = "", ""
	}
	return s
}

// parents returns those that a shard waits for.
func (t *teller) parents(l Lease) (waits []Lease) {
	if l.Finished() || l.Begun() {
		return nil
	}
	for _, parent := range l.Parents {
		if i, has := t.planner.lease(l.StreamID, parent); has && !t.leases[i].Finished() {
			waits = append(waits, t.leases[i])
		}
	}
	return waits
}

// holder tells who has a shard.
func (t *teller) holder(l Lease) string {
	order, paused := t.paused[l.Key]
	switch holder := cmp.Or(l.CheckpointOwner, l.Owner); {
	case paused:
		return order.String()
	case len(t.parents(l)) > 0:
		return "which waits itself"
	case holder == "":
		return "which nobody holds"
	default:
		return "held by " + t.called(holder)
	}
}

// called returns the name of a member, with what is wrong about it.
func (t *teller) called(incarnation string) string {
	switch {
	case incarnation == "":
		return ""
	case t.planner.bins[incarnation] == nil:
		return incarnation + " (gone)"
	case t.stale[incarnation]:
		return incarnation + " (silent)"
	default:
		return incarnation
	}
}

// whyFree tells why nobody that lives has the i-th lease, in one word and in a
// sentence.
func (t *teller) whyFree(i int) (cause, reason string) {
	if owner := t.leases[i].Owner; owner != "" {
		reason = "its owner is " + t.called(owner) + "; "
	}
	suits, room, stuck := false, false, false
	look := func(b *bin) (enough bool) {
		fits := t.planner.suits(i, b)
		suits, room, stuck = suits || fits, room || fits && !b.full(), stuck || b.stuck[t.leases[i].Key]
		return room
	}
	_ = slices.ContainsFunc(t.planner.open, look) || slices.ContainsFunc(t.planner.reserve, look)
	switch {
	case !slices.ContainsFunc(t.members, func(m Member) bool { return !m.Fenced && !t.stale[m.Incarnation] }):
		return "no_worker", reason + "no worker lives"
	case len(t.planner.open)+len(t.planner.reserve) == 0:
		return "draining", reason + "all workers are draining"
	case !suits && stuck:
		return "stuck", reason + "a callback of an earlier term is stuck with it in each worker that could take it"
	case !suits:
		return "unserved", reason + "no worker that takes shards serves its stream"
	case !room:
		return "no_room", reason + "all workers that serve its stream have as many shards as they take"
	case !t.led:
		return "no_leader", reason + "nobody leads the fleet"
	case untouched(t.leases[i]) || unpinned(t.leases[i]):
		return "not_begun", reason + "it has yet to begin, and the leader gives it away when its stream has told of it"
	default:
		return "unassigned", reason + "the leader has not given it to anybody yet"
	}
}
