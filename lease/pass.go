package lease

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace/millrace/stream"
)

// leader is what a leader remembers between its passes. It belongs to one
// goroutine.
//
//	list shards ─► read leases ─► create, retire ─► read members, fence ─► plan ─► swap ─► bump
//	   (Sync)                                            (watch)          (Plan)
//
// The members are read after the leases: then an owner that is not among them
// can never come again, and its leases are free.
type leader struct {
	*session
	members  *watch
	handoffs *handoffs
	calm     *calm
	listers  []*lister
	calls    sync.WaitGroup  // of listings that are under way
	fates    map[string]fate // of the members, as they were last told; guarded by the session's mu
	stopping map[string]bool // members that were seen to stop; guarded by it, too
	hurried  bool            // the pass waits for streams no longer
	steps    atomic.Int64    // what the passes have got done, well or badly: it stands still when one hangs
	// unseen are the rows that nobody is given yet, by key: the ID of their stream.
	// They were created on the last listing of that stream, or were new when the
	// stream could not be listed.
	unseen map[string]string
	// departed are the rows of this pass whose shards have left their stream.
	departed []Lease
	wants    *obedience // what people want, as the last pass read it
	tally    *tally
}

func (s *session) newLeader(members *watch) *leader {
	return &leader{
		listers:  newListers(s.Coordinator),
		session:  s,
		members:  members,
		handoffs: newHandoffs(s.cfg.HandoffTimeout),
		calm:     newCalm(s.cfg.PlanInterval / 2),
		unseen:   map[string]string{},
		wants:    newObedience(),
		tally:    newTally(s.cfg.HandoffTimeout + s.cfg.FailoverTime),
	}
}

// pass does once what a leader has to do. Everything it writes is guarded, so
// that what it does not know costs a conflict and waits for the next pass.
func (l *leader) pass(ctx context.Context) error {
	l.departed, l.hurried = l.departed[:0], false
	leases, created, err := l.survey(ctx)
	if err == nil && created {
		// Nobody is given a row that was created on what was seen before: the
		// creation may have come so late that its shard was finished and retired
		// meanwhile. A second look finds that out, now or when the stream answers.
		leases, _, err = l.survey(ctx)
	}
	if err != nil {
		return err
	}
	members, err := l.look(ctx, l.members)
	if err != nil {
		return fmt.Errorf("read members: %w", err)
	}
	l.warn(ctx, members)
	members = l.fence(ctx, members)
	leaving := l.isLeaving()
	if leaving {
		l.resignFrom(members)
	}
	l.bury(ctx, members, leases)
	l.giveUpOnDeparted(ctx, members)
	l.handoffs.keep(leases)
	if err := l.obey(ctx, members); err != nil {
		return err
	}

	moves := slices.DeleteFunc(l.decide(members, leases), func(c change) bool {
		_, unseen := l.unseen[c.old.Key]
		return unseen || unpinned(c.old)
	})
	written, err := l.apply(ctx, moves)
	l.bumpAll(ctx, members, written, leases)
	if err != nil {
		return err
	}
	l.account(ctx, members, leases, written)
	if leaving {
		l.hasPlanned()
	}
	if l.outdone(members) {
		return errOutdone
	}
	if l.blind(members) {
		return errBlind
	}
	return context.Cause(ctx)
}

// hurriedPass is a pass that does not wait for streams.
func (l *leader) hurriedPass(ctx context.Context) error {
	listers := l.listers
	l.listers = nil
	defer func() { l.listers = listers }()
	return l.pass(ctx)
}

// resignFrom makes the leader plan for itself as for any other member that stops,
// though its row may not say so yet.
func (l *leader) resignFrom(members []Member) {
	for i := range members {
		if members[i].Incarnation == l.me {
			members[i].Draining = true
		}
	}
}

// untouched reports whether nobody ever had the lease, as far as its row tells.
func untouched(l Lease) bool {
	return l.Owner == "" && l.CheckpointOwner == "" && l.Term == 0 && !l.Begun()
}

// unpinned reports whether a row says LATEST that nobody has held. Whoever is given
// it, and crashes before its first checkpoint, leaves a gap.
func unpinned(l Lease) bool { return l.Checkpoint.Position == stream.Latest && l.Term == 0 }

// errMakeWay says that somebody else should lead: a leader looks after the shards
// of its own streams alone, as far as it can see them.
var (
	errMakeWay = errors.New("making way for another worker")
	errOutdone = fmt.Errorf("%w, who serves the same streams and more", errMakeWay)
	errBlind   = fmt.Errorf("%w, who may reach a stream that does not answer here", errMakeWay)
)

// outdone reports whether another member serves all streams that the leader
// serves, and more: one that a rollout added, or one that was deleted and created
// again under the leader's hands.
func (l *leader) outdone(members []Member) bool {
	at := slices.IndexFunc(members, func(m Member) bool { return m.Incarnation == l.me })
	return at >= 0 && l.another(members, func(m Member) bool { return m.Streams.beyond(members[at].Streams) })
}

// blind reports whether the leader has been unable to list a stream for long, and
// another member serves it, too, or one that the leader does not know: the stream
// may never have told the leader who it is, or have been created again since. That
// one may be as blind: so a leader stays for as long as a handoff may take that it
// has to end by force, and twice as long, up to 64 times, each time that it has
// led in vain for that stream, of which it takes note.
func (l *leader) blind(members []Member) (blind bool) {
	l.mu.Lock()
	streams, own := slices.Clone(l.streams), l.serves()
	l.mu.Unlock()
	for i, of := range l.listers {
		patience := (l.cfg.HandoffTimeout + l.cfg.FailoverTime) << min(l.inVain[i], 6)
		if of.since.IsZero() || time.Since(of.since) <= patience {
			continue
		}
		if l.another(members, func(m Member) bool { return m.Streams.Has(streams[i]) || !own.covers(m.Streams) }) {
			l.inVain[i]++
			blind = true
		}
	}
	return blind
}

// another reports whether there is a live member, apart from the leader, of that kind.
func (l *leader) another(members []Member, kind func(Member) bool) bool {
	return slices.ContainsFunc(members, func(m Member) bool {
		return m.Incarnation != l.me && !m.Fenced && !m.Draining && !l.stale(m) && kind(m)
	})
}

// sees reports whether all streams have answered.
func (l *leader) sees() bool {
	return !slices.ContainsFunc(l.listers, func(of *lister) bool { return of.late || !of.since.IsZero() })
}

// stale reports whether a member has been silent for a while.
func (l *leader) stale(m Member) bool {
	return l.members.stale(m.Incarnation)
}

// survey brings the rows in line with the shards. It returns the rows that it
// read and that are still there, and whether it created others.
func (l *leader) survey(ctx context.Context) (leases []Lease, created bool, err error) {
	listings := l.list(ctx)
	if heir, ok := l.store.(Inheritor); ok {
		for _, listing := range listings {
			heir.Inherit(listing.id)
		}
	}
	leases, err = l.leases(ctx)
	if err != nil {
		return nil, false, err
	}
	for _, listing := range listings {
		var some bool
		leases, some = l.sync(ctx, listing, leases)
		created = created || some
	}
	if len(listings) < len(l.cfg.Streams) {
		l.passOver(listings, leases)
	}
	return leases, created, nil
}

// passOver takes note of the rows that nobody ever had and whose stream was not
// listed in this pass: nobody is given them, since they may have come so late that
// their shard was finished and retired before, which only a listing shows. Which
// streams those are that were not listed is not known for sure: one may have been
// created again.
func (l *leader) passOver(listings []listing, leases []Lease) {
	listed := make(map[string]bool, len(listings))
	for _, listing := range listings {
		listed[listing.id.ID()] = true
	}
	for _, fresh := range leases {
		if !listed[fresh.StreamID] && untouched(fresh) {
			l.unseen[fresh.Key] = fresh.StreamID
		}
	}
}

// parallel is that of the coordinator. Each call of f is a step.
func (l *leader) parallel(n int, f func(i int)) {
	l.Coordinator.parallel(n, func(i int) {
		f(i)
		l.steps.Add(1)
	})
}

// leases reads all rows. However many they are, and however slow the store is,
// it goes on for as long as some come: to begin again would be slower still.
func (l *leader) leases(ctx context.Context) ([]Lease, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	patience := 3 * l.cfg.FailoverTime
	late := time.AfterFunc(patience, func() { cancel(errSlow) })
	defer late.Stop()
	var leases []Lease
	for row, err := range l.store.Leases(ctx) {
		if err != nil {
			return nil, fmt.Errorf("read leases: %w", err)
		}
		leases = append(leases, row)
		if len(leases)%rowsAStep == 0 {
			late.Reset(patience)
			l.steps.Add(1)
		}
	}
	return leases, nil
}

// rowsAStep is how many rows count as a step of a pass.
const rowsAStep = 100

// sync carries out what Sync says about one stream. It returns the leases
// without those that it retired, and whether it created any.
func (l *leader) sync(ctx context.Context, from listing, leases []Lease) (left []Lease, created bool) {
	todo := Sync(from.id, from.shards, leases, l.cfg.Initial)
	log := l.log.With("stream", from.id.Name)
	before := maps.Clone(l.unseen)
	maps.DeleteFunc(l.unseen, func(_, id string) bool { return id == from.id.ID() })
	for _, generation := range todo.Create {
		fresh := 0
		for i := range generation {
			key := generation[i].Key
			l.unseen[key] = from.id.ID()
			if _, again := before[key]; !again {
				fresh++
			} else if from.doubts.lastingNews("hidden " + key) {
				log.ErrorContext(ctx, "a lease was created again and again and is still not there, so that its shard is not processed: "+
					"mend or delete the row that lies in its place and cannot be read", "lease", key)
			}
		}
		if err := l.create(ctx, generation); err != nil {
			log.WarnContext(ctx, "cannot create leases, trying again in the next pass", "err", err)
			break // the next generation must not be there before this one
		}
		if fresh > 0 {
			log.InfoContext(ctx, "leases created", "leases", fresh)
			created = true
		}
	}
	l.retire(ctx, todo.Retire)
	l.pin(ctx, from.stream, todo.Pin, leases)
	for _, hole := range todo.Holes {
		if from.doubts.lastingNews("hole in " + from.id.ID() + " " + hole.String()) {
			log.ErrorContext(ctx, "no lease covers a part of the hash space, so that its records are not processed: "+
				"if lease rows were deleted, restore them, or delete the finished ones of that range too, to begin it anew", "hash_range", hole.String())
		}
	}
	for _, row := range todo.Gone {
		if from.doubts.lasting("gone " + row.Key) {
			l.departed = append(l.departed, row)
		}
	}
	from.doubts.turn()
	retired := make(map[string]bool, len(todo.Retire))
	for i := range todo.Retire {
		retired[todo.Retire[i].Key] = true
	}
	return slices.DeleteFunc(leases, func(row Lease) bool { return retired[row.Key] }), created
}

// giveUpOnDeparted finishes the leases of shards that are no longer there, so that
// their children need not wait for ever. Those that a worker has are left to it:
// it may be busy with records that it read before, which are not lost, and whose
// keys the children must not go on with; and it learns from its reader what has
// become of the shard.
func (l *leader) giveUpOnDeparted(ctx context.Context, members []Member) {
	in := living(members)
	for _, row := range l.departed {
		if in[row.Owner] || in[row.CheckpointOwner] {
			continue
		}
		if _, _, err := l.swap(ctx, row, Ended(row, row.Owner, row.Children)); err == nil {
			l.meters.trimmed()
			l.log.ErrorContext(ctx, "shard left the stream before it was processed: its records are lost",
				"stream", row.Stream, "shard", row.Shard, "checkpoint", row.Checkpoint.Position)
		}
		l.steps.Add(1)
	}
}

// living tells, by incarnation, which members are not fenced.
func living(members []Member) map[string]bool {
	in := make(map[string]bool, len(members))
	for _, m := range members {
		in[m.Incarnation] = !m.Fenced
	}
	return in
}

// create creates rows as of this moment. A store that does not answer holds up
// the other streams for as long as it may take to list shards.
func (l *leader) create(ctx context.Context, rows []Lease) error {
	ctx, cancel := context.WithTimeoutCause(ctx, l.cfg.FailoverTime, errSlowStream)
	defer cancel()
	for i := range rows {
		rows[i].Counter = now()
	}
	return l.store.Create(ctx, rows...)
}

// pin writes where rows begin that say LATEST, and puts them into leases as
// written.
func (l *leader) pin(ctx context.Context, from stream.Stream, rows, leases []Lease) {
	ctx, cancel := context.WithTimeoutCause(ctx, l.cfg.FailoverTime, errSlowStream)
	defer cancel()
	pinned, problems := make([]Lease, len(rows)), make([]error, len(rows))
	l.parallel(len(rows), func(i int) {
		next := rows[i]
		if next.Checkpoint.Position, problems[i] = from.Pin(ctx, next.Shard); problems[i] == nil {
			pinned[i], _, problems[i] = l.swap(ctx, rows[i], next)
		}
	})
	at := make(map[string]int, len(leases))
	for i := range leases {
		at[leases[i].Key] = i
	}
	for i, row := range rows {
		if problems[i] == nil {
			leases[at[row.Key]] = pinned[i]
			l.log.InfoContext(ctx, "latest position pinned", "stream", row.Stream, "shard", row.Shard, "at", pinned[i].Checkpoint.Position)
		}
	}
	if err := cmp.Or(problems...); err != nil {
		l.log.WarnContext(ctx, "cannot pin the latest position, trying again in the next pass", "stream", rows[0].Stream, "err", err)
	}
}

// retire deletes rows that have done their duty.
func (l *leader) retire(ctx context.Context, rows []Lease) {
	l.parallel(len(rows), func(i int) {
		ctx, cancel := l.call(ctx)
		defer cancel()
		if err := l.store.Delete(ctx, rows[i]); err == nil {
			l.log.InfoContext(ctx, "lease retired", "stream", rows[i].Stream, "shard", rows[i].Shard)
		}
	})
}

// fence marks members as out that have ended, or whose beats have stood still for
// FailoverTime, theirs or the leader's. The swap is guarded by the Version that was observed: a late beat makes it fail,
// and the worker lives. It returns the members as they are then.
func (l *leader) fence(ctx context.Context, members []Member) []Member {
	ended := l.whoEnded(ctx, l.members.others(l.me)...)
	l.parallel(len(members), func(i int) {
		m := members[i]
		hasEnded := slices.Contains(ended, m.Incarnation)
		if m.Fenced || m.Incarnation == l.me || !hasEnded && !l.members.dead(m.Incarnation) {
			return
		}
		next := m
		next.Fenced = true
		row, err := l.swapMember(ctx, m, next)
		if err == nil {
			l.log.WarnContext(ctx, "worker is silent, giving its leases to others", "member", m.Incarnation, "has_ended", hasEnded)
			members[i] = row
		} else if errors.Is(err, ErrConflict) && row.Fenced {
			members[i] = row
		}
	})
	return members
}

// bury ends the rows of fenced members that nothing refers to any more.
func (l *leader) bury(ctx context.Context, members []Member, leases []Lease) {
	named := make(map[string]bool, len(members))
	for i := range leases {
		if !leases[i].Finished() {
			named[leases[i].Owner], named[leases[i].CheckpointOwner] = true, true
		}
	}
	l.parallel(len(members), func(i int) {
		if m := members[i]; m.Fenced && !named[m.Incarnation] {
			_, _ = l.swapMember(ctx, m, Member{}) // the next pass sees what became of it
		}
	})
}

// change is one row and what is to become of it.
type change struct{ old, next Lease }

// decide returns what to write: handoffs that are over without their former
// owner, and the moves of the plan.
func (l *leader) decide(members []Member, leases []Lease) []change {
	view := l.view(members, leases)
	in := living(members)
	from := make(map[string]Member, len(members))
	for _, m := range members {
		from[m.Incarnation] = m
	}
	changes := map[string]change{}
	for i, row := range leases {
		if row.CheckpointOwner == "" || row.Finished() {
			continue
		}
		if !in[row.CheckpointOwner] || l.handoffs.due(row, from[row.CheckpointOwner], time.Now()) {
			view.Leases[i] = Forced(view.Leases[i])
			changes[row.Key] = change{row, Forced(row)}
			l.log.Warn("handoff is over without the former owner", "stream", row.Stream, "shard", row.Shard, "member", row.CheckpointOwner)
		}
	}
	owners := map[string]string{}
	for _, m := range Plan(view) {
		owners[m.Lease.Key] = m.To
	}
	for _, row := range leases {
		owner, moves := owners[row.Key]
		if !moves {
			continue
		}
		c, has := changes[row.Key]
		if !has {
			c = change{row, row}
		}
		c.next = MovedTo(c.next, owner, in)
		changes[row.Key] = c
	}
	all := make([]change, 0, len(changes))
	for _, c := range changes {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b change) int { return cmp.Compare(a.old.Key, b.old.Key) })
	return all
}

// view returns what to plan from: the rows, with loads that are calm, and what
// people want.
func (l *leader) view(members []Member, leases []Lease) View {
	drained := l.wants.drained(members)
	paused := map[string]bool{}
	for key := range l.wants.paused(leases) {
		paused[key] = true
	}
	stale, open := map[string]bool{}, map[string]bool{}
	for _, m := range members {
		if m.Fenced {
			continue
		}
		stale[m.Incarnation] = l.stale(m)
		if !m.Draining && !drained[m.Incarnation] && !stale[m.Incarnation] {
			open[m.Incarnation] = true
		}
	}
	steady, unknown, settled := l.calm.look(time.Now(), leases, open)
	return View{
		Leases: steady, Unknown: unknown, Members: members, Stale: stale, Drained: drained,
		Paused: paused, Unsettled: !settled, Threshold: l.cfg.BalanceThreshold,
	}
}

// apply writes the changes, and returns those that went through, as written. Its
// error says that none did, since the store refuses or does not answer.
func (l *leader) apply(ctx context.Context, changes []change) (written []change, err error) {
	var mu sync.Mutex // guards written and err
	l.parallel(len(changes), func(i int) {
		row, failed := l.write(ctx, changes[i].old, changes[i].next)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case failed == nil:
			written = append(written, change{changes[i].old, row})
		case !errors.Is(failed, ErrConflict):
			err = cmp.Or(err, fmt.Errorf("write leases: %w", failed))
		}
	})
	slices.SortFunc(written, func(a, b change) int { return cmp.Compare(a.old.Key, b.old.Key) })
	l.heed(written)
	if len(written) > 0 {
		err = nil
	}
	return written, err
}

// heed lets the leader, as a worker, know at once what it has written of its own
// leases. The others are told by a bump.
func (l *leader) heed(written []change) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range written {
		if h := l.slots[c.next.Key]; h != nil {
			h.observe(c.next)
		}
		if c.next.Owner == l.me {
			kick(l.pollNow)
		}
	}
}

// write swaps one row. Whether a write without an answer took place shows in the
// next pass.
func (l *leader) write(ctx context.Context, old, next Lease) (Lease, error) {
	return rewrite(old, next, func(old, next Lease) (Lease, error) {
		calling, cancel := l.call(ctx)
		defer cancel()
		return l.store.Swap(calling, old, next)
	})
}

// rewrite changes who may hold a lease. A row that has moved on only by a
// checkpoint is tried once more: who may hold it is as it was.
func rewrite(old, next Lease, swap func(old, next Lease) (Lease, error)) (row Lease, err error) {
	for range 2 {
		row, err = swap(old, next)
		if !errors.Is(err, ErrConflict) || row.Owner != old.Owner || row.CheckpointOwner != old.CheckpointOwner ||
			row.Term != old.Term || row.Finished() {
			return row, err
		}
		owner, checkpointOwner, term := next.Owner, next.CheckpointOwner, next.Term
		old, next = row, row
		next.Owner, next.CheckpointOwner, next.Term = owner, checkpointOwner, term
	}
	return row, err
}

// bumpAll announces to live members what has been written of theirs, never
// before it is written. Besides, whoever is asked to let go by a handoff that
// this leader has not announced yet is told again: only from its own
// acknowledged bump on may the leader count the time.
func (l *leader) bumpAll(ctx context.Context, members []Member, written []change, leases []Lease) {
	touched := map[string]bool{}     // members to bump
	handoffs := map[string][]Lease{} // what the bump of a member announces
	announce := func(row Lease) {
		if row.CheckpointOwner != "" && !row.Finished() && !l.handoffs.pending(row) {
			touched[row.CheckpointOwner] = true
			handoffs[row.CheckpointOwner] = append(handoffs[row.CheckpointOwner], row)
		}
	}
	replaced := make(map[string]bool, len(written))
	for _, c := range written {
		replaced[c.old.Key] = true
		touched[c.old.Owner], touched[c.next.Owner] = true, true
		announce(c.next)
	}
	for _, row := range leases {
		if !replaced[row.Key] {
			announce(row)
		}
	}
	var mu sync.Mutex // guards l.handoffs
	l.parallel(len(members), func(i int) {
		m := members[i]
		if !touched[m.Incarnation] || m.Fenced || !l.bump(ctx, m) {
			return
		}
		acknowledged := time.Now()
		mu.Lock()
		defer mu.Unlock()
		for _, row := range handoffs[m.Incarnation] {
			l.handoffs.acknowledged(row, acknowledged)
		}
	})
}

// bump moves a member's Revision, and reports whether that was acknowledged.
func (l *leader) bump(ctx context.Context, m Member) bool {
	return bump(m, func(old, next Member) (Member, error) { return l.swapMember(ctx, old, next) })
}

func bump(m Member, swap func(old, next Member) (Member, error)) bool {
	for {
		next := m
		next.Revision++
		row, err := swap(m, next)
		if err == nil {
			return true
		}
		if !errors.Is(err, ErrConflict) || row == (Member{}) || row.Fenced {
			return false
		}
		m = row // it has beaten meanwhile
	}
}

// doubts tells what is so for a while from what only looks so: two reads at
// different moments need not agree. Each listing of a stream is a turn; passes
// for which the stream was too slow are none.
type doubts struct {
	patience time.Duration
	since    map[string]time.Time
	seen     map[string]bool // since the last turn
	told     map[string]bool // what was news once, and is still so
}

func newDoubts(patience time.Duration) *doubts {
	return &doubts{patience: patience, since: map[string]time.Time{}, seen: map[string]bool{}, told: map[string]bool{}}
}

// lasting takes note of something, and reports, once in a while, whether it
// has been so in every turn for long enough.
func (d *doubts) lasting(what string) bool {
	d.seen[what] = true
	first, known := d.since[what]
	if known && time.Since(first) < d.patience {
		return false
	}
	d.since[what] = time.Now()
	return known
}

// lastingNews is lasting for what a person is told: true only once while it
// lasts.
func (d *doubts) lastingNews(what string) bool {
	if !d.lasting(what) || d.told[what] {
		return false
	}
	d.told[what] = true
	return true
}

// turn forgets what was not seen since the last turn.
func (d *doubts) turn() {
	for what := range d.since {
		if !d.seen[what] {
			delete(d.since, what)
			delete(d.told, what)
		}
	}
	clear(d.seen)
}
