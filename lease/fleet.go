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
	// Orders are the pauses, drains and seeks that are in force, and Unreadable what
	// could not be understood of the notes in which they stand.
	Orders     []Order
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
	// Parents are those that it waits for.
	Parents []string
	// From and To are the workers of a handoff, either of them empty for nobody,
	// and For is for how long it was seen under way.
	From, To string
	For      time.Duration
	// Order is the one by which it is paused.
	Order Order
	// Blocked tells why it does not get on, as its holder's last beat told it. A
	// member's row names some of its shards only: see MemberStatus.MoreBlocked.
	Blocked Blocked
}

// String tells it on one line: "shardId-3: waiting for parent shardId-1, held by
// w-2#5f3a".
func (s ShardStatus) String() string {
	text := fmt.Sprintf("%s: %s", s.Lease.Shard, s.State)
	switch s.State {
	case ShardHeld:
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
	f := Fleet{Unreadable: p.unreadable, Orders: slices.SortedFunc(maps.Values(p.orders.holds), byScope)}
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
	stale, blocked := map[string]bool{}, map[string]Blocked{}
	for _, m := range p.members {
		longest, more := m.Blocked.Longest()
		for _, b := range longest {
			blocked[b.Key+" "+m.Incarnation] = b
		}
		state, silence := o.state(m)
		stale[m.Incarnation] = state == MemberSilent
		order, drained := p.orders.drains[m.Worker]
		f.Members = append(f.Members, MemberStatus{
			Member: m, State: state, Silence: silence, Leads: m.Incarnation == f.Leader,
			Draining: m.Draining || drained, Order: order, Leases: leases[m.Incarnation], MoreBlocked: more,
		})
	}
	slices.SortFunc(f.Members, func(a, b MemberStatus) int { return cmp.Compare(a.Member.Incarnation, b.Member.Incarnation) })
	teller := teller{
		picture: p, planner: newPlanner(View{Leases: p.leases, Members: p.orders.drained(p.members), Stale: stale}),
		paused: p.orders.paused(p.leases), led: f.Leader != "", stale: stale, blocked: blocked,
	}
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

// teller tells why shards are not processed.
type teller struct {
	*picture
	planner *planner
	paused  map[string]Order
	led     bool
	stale   map[string]bool
	blocked map[string]Blocked // by key and incarnation
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
		s.State, s.Order, s.Reason = ShardPaused, order, order.String()
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
		s.State = ShardMoving
		s.Reason = fmt.Sprintf("from %s to %s", t.called(l.CheckpointOwner), orNobody(t.called(l.Owner)))
	case t.planner.bins[l.Owner] == nil || t.stale[l.Owner]:
		s.State, s.Reason = ShardFree, t.whyFree(i)
	case l.Term == 0:
		s.State, s.Reason = ShardMoving, fmt.Sprintf("to %s, who has not taken it yet", l.Owner)
	default:
		s.State = ShardHeld
		if s.Blocked = t.blocked[l.Key+" "+l.Owner]; !s.Blocked.IsZero() {
			s.State, s.Reason = ShardBlocked, s.Blocked.String()
		}
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

// whyFree tells why nobody that lives has the i-th lease.
func (t *teller) whyFree(i int) string {
	reason := ""
	if owner := t.leases[i].Owner; owner != "" {
		reason = "its owner is " + t.called(owner) + "; "
	}
	suit := func(b *bin) bool { return t.planner.suits(i, b) }
	open := t.planner.open
	switch suiting := slices.DeleteFunc(slices.Clone(open), func(b *bin) bool { return !suit(b) }); {
	case !slices.ContainsFunc(t.members, func(m Member) bool { return !m.Fenced && !t.stale[m.Incarnation] }):
		reason += "no worker lives"
	case len(open) == 0:
		reason += "all workers are draining"
	case len(suiting) == 0 && slices.ContainsFunc(open, func(b *bin) bool { return b.stuck[t.leases[i].Key] }):
		reason += "a callback of an earlier term is stuck with it in each worker that could take it"
	case len(suiting) == 0:
		reason += "no worker that takes shards serves its stream"
	case !slices.ContainsFunc(suiting, func(b *bin) bool { return !b.full() }):
		reason += "all workers that serve its stream have as many shards as they take"
	case !t.led:
		reason += "nobody leads the fleet"
	case untouched(t.leases[i]) || unpinned(t.leases[i]):
		reason += "it has yet to begin, and the leader gives it away when its stream has told of it"
	default:
		reason += "the leader has not given it to anybody yet"
	}
	return reason
}
