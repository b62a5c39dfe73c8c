package lease

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/millrace/millrace/stream"
)

// occupy claims the slot of a lease and serves it on a goroutine of its own,
// unless somebody deals with it already, a callback of an earlier incarnation
// does not return from it, or nothing may be begun. A row from
// before a term that the worker had is passed over: its take would be taken for
// the one that went through then, and the term begin a second time. The caller
// holds mu.
func (s *session) occupy(ctx context.Context, row Lease) {
	if s.slots[row.Key] != nil || s.leaving || !s.fresh() || row.Counter < s.past[row.Key] {
		return
	}
	if s.stuck.has(row.Key) {
		s.waiting[row.Key] = "for a callback of an earlier term to return"
		return
	}
	h := &held{
		s: s, key: row.Key, load: row.Load,
		grip:    grip{row: row, takes: row.Counter + 1},
		dice:    s.diceOf(row.Key + " " + s.me),
		leaving: make(chan struct{}),
		writing: make(chan struct{}, 1),
	}
	h.ctx, h.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	s.slots[row.Key] = h
	s.holds.Go(func() { s.serve(ctx, h) })
}

// serve takes a lease, runs its callbacks, and gives it up again.
func (s *session) serve(ctx context.Context, h *held) {
	defer s.vacate(h)
	defer h.cancel(nil)
	if !s.take(ctx, h) {
		return
	}
	if !s.begin(h) {
		// It was never held, so what is left of it can go at once.
		s.giveUp(ctx, h.Lease())
		return
	}
	row := h.Lease()
	log := s.log.With("stream", row.Stream, "shard", row.Shard, "term", h.term)
	log.InfoContext(ctx, "lease taken")
	s.meters.taken(1)
	err := s.hold(h.ctx, h)
	s.meters.taken(-1)
	s.finish(ctx, h, err)
}

// take writes the new term, and reports whether it went through. While its
// answer is unknown the lease counts as held.
func (s *session) take(ctx context.Context, h *held) bool {
	select {
	case s.writes <- struct{}{}:
		defer func() { <-s.writes }()
	case <-h.ctx.Done():
		return false
	}
	base := h.Lease()
	if reason := s.mustWait(ctx, base); reason != "" {
		s.mu.Lock()
		s.waiting[h.key] = reason
		s.mu.Unlock()
		return false
	}
	for pause := s.retry(h.dice); s.mayTake(h); wait(h.ctx, pause.delay(), nil) {
		row, known, err := s.swap(ctx, base, Taken(base, s.me))
		if err == nil || known && StandingOf(row, s.me, base.Counter+1) != Lost {
			s.mu.Lock()
			h.observe(row)
			s.mu.Unlock()
			return true
		}
		if known {
			kick(s.pollNow) // somebody wrote first
			return false
		}
	}
	return false
}

// mayTake reports whether a take may be sent, or sent again.
func (s *session) mayTake(h *held) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fresh() && !s.leaving && !h.moved && h.ctx.Err() == nil
}

// begin starts the term, if the lease is still the worker's own: the answer to
// the take may have been overtaken by a re-read that showed it moved, by a
// stop, or by the end of the right to process.
func (s *session) begin(h *held) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.moved || s.leaving || !s.fresh() || h.ctx.Err() != nil {
		return false
	}
	h.term = h.takes
	h.since = time.Now()
	delete(s.waiting, h.key)
	return true
}

// mustWait returns why a lease may not be begun yet: a parent that is not
// finished. Rows are created after those of their parents, and retired after
// those of their children have begun, so a parent without a row is no reason.
func (s *session) mustWait(ctx context.Context, l Lease) string {
	if len(l.Parents) == 0 || l.Begun() {
		return ""
	}
	keys := make([]string, len(l.Parents))
	for i, p := range l.Parents {
		keys[i] = Key(l.StreamID, p)
	}
	ctx, cancel := s.call(ctx)
	defer cancel()
	parents, err := s.store.Read(ctx, keys...)
	if err != nil {
		return "for its parents to be read: " + err.Error()
	}
	for _, p := range parents {
		if !p.Finished() {
			return "for parent " + p.Shard
		}
	}
	return ""
}

// finish gives up a lease whose callbacks have returned.
func (s *session) finish(ctx context.Context, h *held, err error) {
	cause := context.Cause(h.ctx)
	row := h.Lease()
	log := s.log.With("stream", row.Stream, "shard", row.Shard, "term", h.term)
	s.mu.Lock()
	done, leaves := h.done, h.leaves
	h.done = true // whatever a callback left running stores nothing any more
	s.mu.Unlock()
	switch {
	case done && row.Finished():
		log.InfoContext(ctx, "shard finished")
		s.meters.gaveUp("finished")
		s.adopt(ctx, row, h.children)
	case done:
		log.InfoContext(ctx, "lease released", "to", orNobody(row.Owner))
		s.meters.gaveUp("released")
	case errors.Is(cause, ErrLost) || errors.Is(cause, ErrExpired) || errors.Is(cause, ErrAbsent):
		log.WarnContext(ctx, "lease lost", "err", cause)
		s.meters.lost(cause)
		kick(s.pollNow)
		return
	default:
		reason := "released"
		if errors.Is(cause, ErrDrained) {
			reason = "drained"
		}
		if err != nil {
			log.ErrorContext(ctx, "shard was given up", "err", err)
		}
		if !leaves {
			// What failed will fail again at once; whoever is next needs no hurry.
			if err != nil {
				h.SetBlocked(Blocked{What: "processing the shard", Since: time.Now(), Attempts: 1, Err: fmt.Sprint(err)})
			}
			s.linger(h)
		}
		if s.giveUp(ctx, row) {
			log.InfoContext(ctx, "lease released")
		}
		s.meters.gaveUp(reason)
	}
	if leaves || row.Finished() {
		kick(s.planNow)
	}
}

// linger keeps a lease for a while whose callbacks returned unasked.
func (s *session) linger(h *held) {
	timer := time.NewTimer(h.dice.about(s.cfg.PlanInterval))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-h.leaving:
	case <-h.ctx.Done():
	}
}

// giveUp releases what the worker has in a lease that it does not hold, or no
// longer, and does so as the row is, not as it was. It reports whether the row
// says so; it gives up trying after FailoverTime: the next poll finds the lease again.
func (s *session) giveUp(ctx context.Context, row Lease) bool {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.FailoverTime)
	defer cancel()
	for pause := s.retry(s.diceOf("give up " + row.Key)); ctx.Err() == nil; {
		next := Released(row, s.me)
		if row.Finished() || next.Owner == row.Owner && next.CheckpointOwner == row.CheckpointOwner {
			return true
		}
		current, known, err := s.swap(ctx, row, next)
		if err == nil {
			return true
		}
		if known {
			row = current
			continue
		}
		wait(ctx, pause.delay(), nil)
	}
	return false
}

// vacate gives the slot free.
func (s *session) vacate(h *held) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.slots, h.key)
	delete(s.past, h.key)
	if StandingOf(h.row, s.me, h.term) != Lost {
		s.past[h.key] = h.term
	}
	kick(s.vacated)
	if s.stuck.free(h) {
		next := s.session.Load()
		kick(next.beatNow)
		kick(next.pollNow)
	}
	if s.leaving {
		kick(s.partNow)
	}
	if len(s.slots) == 0 {
		kick(s.idleNow)
	}
}

// adopt begins the children of a shard that this worker has ended, at once and
// without the leader: it creates their rows, and claims those that nobody has.
// A child of which another parent has no row yet, or has not ended, is left to
// the leader, who sees all shards; and so is one whose parents are retired by
// the time its row is there, or have a row that came too late itself: others may
// have finished it, so that this row is one too many. What is paused is begun by
// nobody.
func (s *session) adopt(life context.Context, parent Lease, children []stream.Shard) {
	ctx, cancel := context.WithTimeout(life, s.cfg.FailoverTime)
	defer cancel()
	var keys []string
	for _, c := range children {
		for _, p := range c.Parents {
			keys = append(keys, Key(parent.StreamID, p))
		}
	}
	parents, err := s.byShard(ctx, keys)
	if err != nil {
		return // the leader will do it
	}
	var rows []Lease
	var claims []string
	for _, c := range children {
		if slices.ContainsFunc(c.Parents, func(p string) bool { l := parents[p]; return !l.Finished() }) {
			continue
		}
		row := NewLease(parent.Stream, parent.StreamID, c, stream.TrimHorizon)
		row.Counter = now()
		rows, claims = append(rows, row), append(claims, row.Key)
	}
	if len(rows) == 0 || s.store.Create(ctx, rows...) != nil {
		return
	}
	rows, err = s.store.Read(ctx, claims...)
	if err != nil {
		return
	}
	parents, err = s.byShard(ctx, keys)
	if err != nil {
		return
	}
	rows = slices.DeleteFunc(rows, func(row Lease) bool {
		return slices.ContainsFunc(row.Parents, func(p string) bool { l := parents[p]; return !l.Finished() })
	})
	orders, err := s.standing(ctx)
	if err != nil {
		return
	}
	paused := orders.paused(slices.AppendSeq(slices.Clone(rows), maps.Values(parents)))
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, row := range rows {
		full := s.cfg.MaxLeases > 0 && len(s.slots) >= s.cfg.MaxLeases
		_, held := paused[row.Key]
		if row.Owner == "" && row.CheckpointOwner == "" && !row.Finished() && !full && !held {
			s.occupy(life, row)
		}
	}
}

// byShard reads rows of one stream, and returns those that are there.
func (s *session) byShard(ctx context.Context, keys []string) (map[string]Lease, error) {
	rows, err := s.store.Read(ctx, keys...)
	if err != nil {
		return nil, err
	}
	found := make(map[string]Lease, len(rows))
	for _, row := range rows {
		found[row.Shard] = row
	}
	return found, nil
}
