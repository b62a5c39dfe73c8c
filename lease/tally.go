package lease

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

// tally is how the shards of a fleet stand, as its leader has last seen them:
// counted for a metric, and told to a person, once, where some have not been
// processed for long though nobody wants it so.
type tally struct {
	patience time.Duration
	since    map[idling]time.Time // shards that are free, or on the move
	told     map[group]bool
	counted  atomic.Pointer[map[group]int64]
}

// group is a state of shards, and one word for why they are in it.
type group struct {
	state ShardState
	cause string
}

// idling is a shard that is in a state.
type idling struct {
	key string
	group
}

// newTally returns one that tells of what has been so for that long: longer than
// whatever ends by itself.
func newTally(patience time.Duration) *tally {
	return &tally{patience: patience, since: map[idling]time.Time{}, told: map[group]bool{}}
}

// groups are those that are counted, be there none in them.
var groups = []group{
	{ShardHeld, ""}, {ShardBlocked, ""}, {ShardWaiting, ""}, {ShardFinished, ""},
	{ShardFree, "no_worker"}, {ShardFree, "draining"}, {ShardFree, "stuck"}, {ShardFree, "unserved"}, {ShardFree, "no_room"},
	{ShardFree, "not_begun"}, {ShardFree, "unassigned"},
	{ShardMoving, "handoff"}, {ShardMoving, "untaken"}, {ShardPaused, "pause"}, {ShardPaused, "seek"},
}

// last returns the numbers of the last count; nil before the first.
func (t *tally) last() map[group]int64 {
	if counted := t.counted.Load(); counted != nil {
		return *counted
	}
	return nil
}

// account counts the shards as they are after a pass. It puts what was written into
// leases.
func (l *leader) account(ctx context.Context, members []Member, leases []Lease, written []change) {
	at := make(map[string]Lease, len(written))
	for _, c := range written {
		at[c.old.Key] = c.next
	}
	for i := range leases {
		if row, has := at[leases[i].Key]; has {
			leases[i] = row
		}
	}
	stale := map[string]bool{}
	more := 0
	for _, m := range members {
		stale[m.Incarnation] = l.stale(m)
		if _, others := m.Blocked.Longest(); !m.Fenced {
			more += others
		}
	}
	l.tally.count(ctx, l.log, newTeller(&picture{leases: leases, members: members, orders: l.wants.orders}, true, stale), more)
}

// count counts the shards of a fleet. Its members are blocked on some more than they
// name.
func (t *tally) count(ctx context.Context, log *slog.Logger, of *teller, more int) {
	counts := make(map[group]int64, len(groups))
	for _, g := range groups {
		counts[g] = 0
	}
	now, since, last := time.Now(), map[idling]time.Time{}, map[group]lasting{}
	for i := range of.leases {
		s := of.shard(i)
		g := group{s.State, s.Cause}
		counts[g]++
		if s.State != ShardFree && s.State != ShardMoving {
			continue
		}
		is := idling{s.Lease.Key, g}
		first, known := t.since[is]
		if !known {
			first = now
		}
		since[is] = first
		if now.Sub(first) >= t.patience {
			n := last[g].shards
			last[g] = lasting{n + 1, s}
		}
	}
	more = min(more, int(counts[group{ShardHeld, ""}]))
	counts[group{ShardHeld, ""}] -= int64(more)
	counts[group{ShardBlocked, ""}] += int64(more)
	t.since = since
	t.counted.Store(&counts)
	t.tell(ctx, log, last)
}

// lasting is how many shards have been in a state for long, and one of them.
type lasting struct {
	shards  int
	example ShardStatus
}

// tell tells of what lasts, once while it does, and when it is over.
func (t *tally) tell(ctx context.Context, log *slog.Logger, last map[group]lasting) {
	for _, g := range groups {
		is, has := last[g]
		switch {
		case has && !t.told[g]:
			t.told[g] = true
			log.WarnContext(ctx, "shards are not processed", "shards", is.shards, "state", g.state, "cause", g.cause,
				"for_example", is.example.String(), "stream", is.example.Lease.Stream, "for_longer_than", t.patience)
		case !has && t.told[g]:
			delete(t.told, g)
			log.InfoContext(ctx, "no shards are without a worker for this cause any more", "state", g.state, "cause", g.cause)
		}
	}
}
