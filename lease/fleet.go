package lease

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Fleet is how a fleet stands, as its store tells it.
type Fleet struct {
	// Leader is the incarnation that leads; empty when none does.
	Leader string
	// Members are all rows of workers, by incarnation, Shards all leases, by key.
	Members []MemberStatus
	Shards  []ShardStatus
	// Orders are the pauses, drains and seeks that are in force, and Deeds what
	// operators did of late, the latest last. Unreadable is what could not be
	// understood of the notes in which both stand.
	Orders     []Order
	Deeds      []Deed
	Unreadable error
}

// MemberState is whether a worker lives.
type MemberState string

const (
	// MemberUnknown was seen once, or not for long enough to tell.
	MemberUnknown MemberState = "unknown"
	// MemberLive has beaten while it was watched.
	MemberLive MemberState = "live"
	// MemberSilent has not beaten for more than half of FailoverTime, its own or
	// that of who looks, whichever is longer.
	MemberSilent MemberState = "silent"
	// MemberFenced is out of the fleet.
	MemberFenced MemberState = "fenced"
)

// MemberStatus is how one start of a worker stands.
type MemberStatus struct {
	// Member is its row: what it carries, its code, where it runs.
	Member Member
	State  MemberState
	// Silence is for how long it was seen not to beat.
	Silence time.Duration
	// Leads says that it leads the fleet.
	Leads bool
	// Draining says that it gives away what it holds: it stops, or by Order.
	Draining bool
	// Order is why it drains; zero where nobody asked for it.
	Order Order
	// Leases is how many unfinished shards it owns, or still holds.
	Leases int
	// MoreBlocked is how many of its shards are blocked besides those that are told.
	MoreBlocked int
}

// String tells it on one line: "w-2#5f3a: live, leads, 12 shards".
func (m MemberStatus) String() string {
	parts := []string{string(m.State)}
	if m.State == MemberSilent {
		parts[0] += " for " + m.Silence.Round(time.Second).String()
	}
	add := func(when bool, text string) {
		if when {
			parts = append(parts, text)
		}
	}
	add(m.Leads, "leads")
	add(m.Draining && m.Order.Kind == "", "draining")
	add(m.Order.Kind != "", m.Order.String())
	add(true, fmt.Sprintf("%d shards", m.Leases))
	add(m.MoreBlocked > 0, fmt.Sprintf("%d more shards blocked", m.MoreBlocked))
	add(m.Member.Code != "", "code "+m.Member.Code)
	add(m.Member.Host != "", "on "+m.Member.Host)
	return m.Member.Incarnation + ": " + strings.Join(parts, ", ")
}

// ShardState is one word for how a shard stands.
type ShardState string

const (
	// ShardHeld is processed by its owner.
	ShardHeld ShardState = "held"
	// ShardBlocked is held, and fails again and again, or its callback has not
	// returned for long.
	ShardBlocked ShardState = "blocked"
	// ShardWaiting waits for parents that are not finished.
	ShardWaiting ShardState = "waiting"
	// ShardFree has no owner that lives.
	ShardFree ShardState = "free"
	// ShardMoving is being handed from one worker to another, or was given to one
	// that has not taken it yet.
	ShardMoving ShardState = "moving"
	// ShardPaused is nobody's because somebody wants it so.
	ShardPaused ShardState = "paused"
	// ShardFinished was processed to its end.
	ShardFinished ShardState = "finished"
)

// ShardStatus is how one shard stands, and why it is not processed when it is not.
type ShardStatus struct {
	// Lease is the row: who owns it, since which term, how far it is.
	Lease Lease
	State ShardState
	// Reason says why it is not processed: "for parent shardId-1, held by w-2#5f3a".
	// Empty when it is held or finished.
	Reason string
	// Cause is one word for why it is free: no_worker, draining, stuck, unserved,
	// no_room, no_leader, not_begun or unassigned; or of what kind a move (handoff, untaken) or
	// an order (pause, seek) is. Empty for all others.
	Cause string
	// Parents are those that it waits for.
	Parents []string
	// From and To are the workers of a handoff, either of them empty for nobody,
	// and For is for how long it was seen under way.
	From, To string
	For      time.Duration
	// Order is the one by which it is paused.
	Order Order
	// Blocked tells why it does not get on, as its holder's last beat told it. A
	// member's row names some of its shards only: see MemberStatus.MoreBlocked. Those
	// that it does not name, though there are more, are PerhapsBlocked.
	Blocked        Blocked
	PerhapsBlocked bool
}

// String tells it on one line: "shardId-3: waiting for parent shardId-1, held by
// w-2#5f3a".
func (s ShardStatus) String() string {
	text := fmt.Sprintf("%s: %s", s.Lease.Shard, s.State)
	switch s.State {
	case ShardHeld:
		if s.PerhapsBlocked {
			text += ", perhaps blocked,"
		}
		text += fmt.Sprintf(" by %s since term %d, at %v", s.Lease.Owner, s.Lease.Term, s.Lease.Checkpoint.Position)
	case ShardPaused:
		text = fmt.Sprintf("%s: %v", s.Lease.Shard, s.Order)
		if s.From != "" {
			text += ", still held by " + s.From
		}
	case ShardBlocked:
		text = fmt.Sprintf("%s: %v, held by %s", s.Lease.Shard, s.Blocked, s.Lease.Owner)
	case ShardFree:
		text += ", " + s.Reason
	case ShardFinished:
	default:
		text += " " + s.Reason
	}
	return text
}

// LogValue implements [slog.LogValuer].
func (s ShardStatus) LogValue() slog.Value {
	attrs := []slog.Attr{
		slog.String("stream", s.Lease.Stream), slog.String("shard", s.Lease.Shard), slog.String("state", string(s.State)),
		slog.String("owner", s.Lease.Owner), slog.Int64("term", s.Lease.Term), slog.String("checkpoint", s.Lease.Checkpoint.Position.String()),
	}
	if s.Reason != "" {
		attrs = append(attrs, slog.String("reason", s.Reason))
	}
	return slog.GroupValue(attrs...)
}

// Observer looks at a fleet from outside, as often as it is asked. Whether a
// worker lives can be told from the second look on, if that comes within
// FailoverTime: no clocks are compared, so somebody has to see the beats move. Its
// methods may be called at the same time.
type Observer struct {
	store    Store
	failover time.Duration

	mu    sync.Mutex // guards what follows; nothing waits while holding it
	last  time.Time  // of the last look
	beats map[string]beating
	moves map[handoff]time.Time // when a handoff was first seen
}

// beating is what was seen of a member's beats.
type beating struct {
	beats int64
	since time.Time // when the counter was first seen with this value
	moved bool      // it was seen to move
}

// NewObserver returns an observer of a fleet with that FailoverTime; 0 is the
// default of 10 s. Members whose rows tell a longer one are given that.
func NewObserver(store Store, failover time.Duration) *Observer {
	return &Observer{store: store, failover: cmp.Or(failover, 10*time.Second)}
}

// Look reads the fleet's rows once: all leases, all members, all notes.
func (o *Observer) Look(ctx context.Context) (Fleet, error) {
	asked := time.Now()
	p, err := pictureOf(ctx, o.store, o.failover)
	if err != nil {
		return Fleet{}, fmt.Errorf("lease: status of the fleet: %w", err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.observe(asked, time.Now(), p)
	o.follow(p)
	return o.fleet(p), nil
}

// FleetStatus tells how the fleet of a store stands. It looks for as long as it
// takes to see who lives, FailoverTime at most (0 is the default of 10 s; that of a
// member, where that is longer): a third of it where all do. All leases are read
// twice meanwhile. Who asks again and again keeps an [Observer] instead.
func FleetStatus(ctx context.Context, store Store, failover time.Duration) (Fleet, error) {
	o := NewObserver(store, failover)
	began := time.Now()
	fleet, err := o.Look(ctx)
	unknown, patience := false, time.Duration(0)
	for _, m := range fleet.Members {
		if m.State == MemberUnknown {
			unknown, patience = true, max(patience, m.Member.failover(o.failover))
		}
	}
	if err != nil || !unknown {
		return fleet, err
	}
	for unknown && err == nil && time.Since(began) <= patience {
		if !wait(ctx, o.failover/10, nil) {
			err = context.Cause(ctx)
		} else {
			unknown, err = o.glance(ctx)
		}
	}
	if err != nil {
		return Fleet{}, fmt.Errorf("lease: status of the fleet: %w", err)
	}
	return o.Look(ctx)
}

// glance reads the members alone, and reports whether it is unknown of any of them
// whether it lives.
func (o *Observer) glance(ctx context.Context) (unknown bool, err error) {
	asked := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, o.failover, errSlow)
	defer cancel()
	var p picture
	if err := p.readMembers(ctx, o.store); err != nil {
		return false, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.observe(asked, time.Now(), &p)
	return slices.ContainsFunc(p.members, func(m Member) bool {
		state, _ := o.state(m)
		return state == MemberUnknown
	}), nil
}

// observe takes note of the members' beats. After a gap that is too long to tell
// anything by it begins anew. The caller holds mu.
func (o *Observer) observe(asked, now time.Time, p *picture) {
	gap := asked.Sub(o.last)
	o.last = now
	beats := make(map[string]beating, len(p.members)+1)
	for _, m := range append(p.members[:len(p.members):len(p.members)], p.leader) {
		b, known := o.beats[m.Incarnation]
		known = known && gap <= m.failover(o.failover)
		if !known || b.beats != m.Beats {
			b = beating{beats: m.Beats, since: now, moved: known}
		}
		beats[m.Incarnation] = b
	}
	o.beats = beats
}

// follow takes note of the handoffs that are under way, and of the leases that are
// given and not taken. The caller holds mu.
func (o *Observer) follow(p *picture) {
	moves := map[handoff]time.Time{}
	for _, l := range p.leases {
		if l.Finished() || l.CheckpointOwner == "" && (l.Owner == "" || l.Term != 0) {
			continue
		}
		since, known := o.moves[handoffOf(l)]
		if !known {
			since = o.last
		}
		moves[handoffOf(l)] = since
	}
	o.moves = moves
}

// state returns whether a member lives. The caller holds mu.
func (o *Observer) state(m Member) (MemberState, time.Duration) {
	b := o.beats[m.Incarnation]
	silence := o.last.Sub(b.since)
	switch {
	case m.Fenced:
		return MemberFenced, silence
	case silence > m.failover(o.failover)*6/10:
		return MemberSilent, silence
	case b.moved:
		return MemberLive, silence
	default:
		return MemberUnknown, silence
	}
}

// fleet draws the conclusions. The caller holds mu.
func (o *Observer) fleet(p *picture) Fleet {
	f := Fleet{Unreadable: p.unreadable, Deeds: p.deeds, Orders: slices.SortedFunc(maps.Values(p.orders.holds), byScope)}
	f.Orders = slices.AppendSeq(f.Orders, maps.Values(p.orders.drains))
	slices.SortFunc(f.Orders, byScope)
	if state, _ := o.state(p.leader); state != MemberSilent && p.in()[p.leader.Worker] {
		f.Leader = p.leader.Worker
	}
	leases := map[string]int{}
	for _, l := range p.leases {
		if !l.Finished() {
			leases[cmp.Or(l.CheckpointOwner, l.Owner)]++
		}
	}
	stale := map[string]bool{}
	for _, m := range p.members {
		_, more := m.Blocked.Longest()
		state, silence := o.state(m)
		stale[m.Incarnation] = state == MemberSilent
		order, drained := p.orders.drains[m.Worker]
		f.Members = append(f.Members, MemberStatus{
			Member: m, State: state, Silence: silence, Leads: m.Incarnation == f.Leader,
			Draining: m.Draining || drained, Order: order, Leases: leases[m.Incarnation], MoreBlocked: more,
		})
	}
	slices.SortFunc(f.Members, func(a, b MemberStatus) int { return cmp.Compare(a.Member.Incarnation, b.Member.Incarnation) })
	teller := newTeller(p, f.Leader != "", stale)
	for i, l := range p.leases {
		s := teller.shard(i)
		if since, moving := o.moves[handoffOf(l)]; moving {
			s.For = o.last.Sub(since)
		}
		f.Shards = append(f.Shards, s)
	}
	return f
}

func byScope(a, b Order) int { return cmp.Compare(a.name(), b.name()) }
