package lease

import (
	"context"
	"maps"
	"slices"
	"time"
)

// A lease that moves between two workers who live is without a holder for a
// moment only: the former owner goes on until its successor has been told, and
// the successor, once told, looks at the row often.
//
//	leader            hands it off, tells both
//	former owner ─────────┼─ learns of it ──── notice ────► lets go
//	successor             └───── learns of it ── looks ─ looks ─ looks ─► takes it
//
// So does a worker that stops. It says Draining, goes on, and has its leases
// handed off by the leader; what nobody is named for in time it lets go all the
// same. All of this only saves time. Who may hold a lease until when is told by
// its row, and by right.
const (
	// glance is how often a successor looks at rows that are to be its own, or a
	// fortieth of FailoverTime when that is less. Each look is one read of all of
	// them, and rarer in proportion where they are more than a hundred.
	glance = 250 * time.Millisecond
	// glanceRows is how many rows are looked at that often.
	glanceRows = 100
)

// notice is for how long a former owner goes on who has learned of a handoff:
// until its successor has learned of it, too, from a notification, where those
// come, or from its next beat. The caller holds mu.
func (s *session) notice() time.Duration {
	if s.hears {
		return s.cfg.FailoverTime * 3 / 20 // one that gathers them does so for a tenth
	}
	return s.cfg.FailoverTime * 2 / 5 // beats come after 11/30 at the latest
}

// handOver keeps the holds of a worker that stops until the leader has handed them
// off: each of them is asked to let go when its notice is over. Those that will be
// handed off to nobody are asked at once, when that is known, or else after three
// fifths of FailoverTime, in which a leader looks at the members twice; and all of
// them, when there is nobody else who may take any. It returns for how long some
// of them may go on before they are asked.
func (s *session) handOver(ctx context.Context) (longest time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.FailoverTime*3/5)
	defer cancel()
	dice := s.diceOf("hand over " + s.me)
	others := newWatch(s.cfg.FailoverTime, s.cfg.FailoverTime)
	for {
		began := time.Now()
		kick(s.beatNow) // it tells, and is told
		alone, late := !s.heirs(ctx, others), ctx.Err() != nil
		if kept, notice := s.part(alone, late); kept == 0 {
			return 0
		} else if late {
			return notice
		}
		pause := dice.about(s.cfg.FailoverTime/20) + 2*time.Since(began) // a store that is slow is asked less
		dice.gather(ctx, pause, s.cfg.FailoverTime/1000, s.partNow)
	}
}

// heirs reports whether there is somebody else to whom leases may be given. Who has
// not beaten for as long as the others are watched, and would have, is nobody. Not
// to know it is to hope.
func (s *session) heirs(ctx context.Context, others *watch) bool {
	asked := time.Now()
	ctx, cancel := s.call(ctx)
	defer cancel()
	members, err := s.store.Members(ctx)
	if err != nil {
		return true
	}
	others.observe(asked, time.Now(), members...)
	return slices.ContainsFunc(members, func(m Member) bool {
		return mayInherit(m, s.me) && others.fate(m.Incarnation) == alive
	})
}

// mayInherit reports whether a member may be given the leases of another one, as
// far as its row tells.
func mayInherit(m Member, from string) bool {
	return m.Incarnation != from && m.Incarnation != leaderKey && !m.Fenced && !m.Draining
}

// part asks holds to let go: all of them, or those that are not handed off when
// nothing more will be. It returns how many go on, and for how long at most.
func (s *session) part(all, late bool) (kept int, notice time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.inOrder() {
		if all || (late || s.planned) && h.letGo.IsZero() {
			h.drain()
		}
		if h.term != 0 && !h.leaves && !h.done && h.ctx.Err() == nil {
			kept++
		}
	}
	return kept, s.notice()
}

// hasPlanned takes note of a pass in which this worker, as the leader, has
// planned for itself as for one that stops.
func (s *session) hasPlanned() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.planned = true
	kick(s.partNow)
}

// setHears takes note of whether notifications come.
func (s *session) setHears(hears bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hears = hears
}

// mustPlan reports whether the worker stops, and has yet to plan for that.
func (s *session) mustPlan() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leaving && !s.planned
}

func (s *session) isLeaving() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leaving
}

// succeed looks at the rows that wait for their former owners to let go, as long
// as there are any, until ctx is done.
func (s *session) succeed(ctx context.Context) {
	dice := s.diceOf("succeed " + s.me)
	var took time.Duration // by the last look: a store that is slow is asked less
	for {
		keys, since := s.comingRows()
		if len(keys) == 0 {
			select {
			case <-s.succeedNow:
				continue
			case <-ctx.Done():
				return
			}
		}
		due := time.Now().Add(dice.about(s.glanceAfter(len(keys), time.Since(since))) + 2*took)
		if !wait(ctx, time.Until(due), s.succeedNow) {
			return
		}
		if began := time.Now(); !began.Before(due) {
			s.succeedTo(ctx, keys)
			took = time.Since(began)
		}
	}
}

// glanceAfter returns when to look again at that many rows, none of which has been
// known for less than that time: a callback that takes long is not worth many looks.
func (s *session) glanceAfter(rows int, known time.Duration) time.Duration {
	if known > s.cfg.FailoverTime {
		return s.cfg.FailoverTime / 6
	}
	often := min(glance, s.cfg.FailoverTime/40)
	return often * time.Duration(max(rows, glanceRows)) / glanceRows
}

// comingRows returns the keys of the rows that wait for their former owners, in
// order, and when the last of them came to be known.
func (s *session) comingRows() (keys []string, since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.coming)), s.comingAt
}

// foresee takes note of a row that waits for its former owner, and reports whether
// that is news. The caller holds mu.
func (s *session) foresee(row Lease) (news bool) {
	s.waiting[row.Key] = "for " + row.CheckpointOwner + " to let go"
	if s.coming[row.Key] || s.leaving {
		return false
	}
	s.coming[row.Key], s.comingAt = true, time.Now()
	return true
}

// succeedTo reads rows, and takes those whose former owners have let go. What
// cannot be read now is read at the next look.
func (s *session) succeedTo(ctx context.Context, keys []string) {
	asking, asked := s.call(ctx)
	defer asked()
	rows, err := s.readable(asking, keys)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range keys {
		delete(s.coming, key)
	}
	for _, row := range rows {
		switch {
		case row.Owner != s.me || row.Finished() || s.leaving:
		case row.CheckpointOwner == "":
			s.occupy(ctx, row)
		case row.CheckpointOwner != s.me && s.slots[row.Key] == nil:
			s.coming[row.Key] = true
		}
	}
}
