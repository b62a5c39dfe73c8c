package lease

import (
	"context"
	"errors"
	"sync"
	"time"
)

// lead campaigns for the leadership and exercises it, again and again, until
// ctx is done.
func (s *session) lead(ctx context.Context) {
	// A follower looks at the leader's row alone. It begins to watch the others
	// when the leader gets silent, so that it knows them when it takes over.
	members := s.newWatch()
	dice := s.diceOf("lead " + s.me)
	for {
		row, ok := s.campaign(ctx, members, dice)
		if !ok {
			return
		}
		s.reign(ctx, row, members, dice)
		if !wait(ctx, dice.about(s.cfg.FailoverTime), nil) {
			return
		}
	}
}

// newWatch returns a watch for an observer that looks twice in FailoverTime,
// and as often as it plans.
func (s *session) newWatch() *watch {
	return newWatch(s.cfg.FailoverTime, max(3*s.cfg.FailoverTime/4, 3*s.cfg.PlanInterval/2))
}

// campaign waits until nobody leads, and takes the leader's row. The row is
// looked at by trying to create it: that gives one row, not all members.
func (s *session) campaign(ctx context.Context, members *watch, dice *dice) (Member, bool) {
	leader := s.newWatch()
	var free time.Time
	for {
		row, won := s.candidate(ctx, leader, &free)
		if won {
			return row, true
		}
		if leader.silence(leaderKey) > s.cfg.FailoverTime/2 {
			s.look(ctx, members)
		}
		if !wait(ctx, dice.about(s.cfg.FailoverTime/2), nil) {
			return Member{}, false
		}
	}
}

// candidate looks once, and takes the row when it is free, or its leader dead.
// Who made way leaves a free row to others for 2 FailoverTime since it first saw
// it free, which is kept in free: they may not have tried yet. A dead leader is
// replaced by whoever comes first.
func (s *session) candidate(ctx context.Context, leader *watch, free *time.Time) (Member, bool) {
	s.mu.Lock()
	eligible := s.fresh() && !s.leaving
	s.mu.Unlock()
	if !eligible {
		return Member{}, false
	}
	mine := Member{Incarnation: leaderKey, Worker: s.me, Beats: 1}
	asked := time.Now()
	row, err := s.swapMember(ctx, Member{}, mine)
	if err == nil {
		return row, true
	}
	if !errors.Is(err, ErrConflict) || row.Incarnation != leaderKey {
		return Member{}, false
	}
	leader.observe(asked, time.Now(), row)
	if row.Worker != "" && row.Worker != s.me {
		*free = time.Time{}
		if !leader.dead(leaderKey) {
			return Member{}, false
		}
	} else if free.IsZero() {
		*free = time.Now()
	}
	if s.madeWay && !free.IsZero() && time.Since(*free) < 2*s.cfg.FailoverTime {
		return Member{}, false
	}
	mine.Beats = row.Beats + 1
	row, err = s.swapMember(ctx, row, mine)
	return row, err == nil
}

// look observes the members. Errors are no observation. Nor does a worker
// observe anything whose own beats are not answered: what keeps it from writing,
// a full disk for example, may keep all others from it, too. When that is over
// it begins anew, since not all are back at the same moment.
func (s *session) look(ctx context.Context, w *watch) ([]Member, error) {
	asked := time.Now()
	ctx, cancel := s.call(ctx)
	defer cancel()
	rows, err := s.store.Members(ctx)
	if err != nil {
		return nil, err
	}
	members := rows[:0:0]
	for _, m := range rows {
		if m.Incarnation != leaderKey {
			members = append(members, m)
		}
	}
	s.mu.Lock()
	alive, cutOff := s.fresh(), s.cutOff
	s.mu.Unlock()
	if !alive || w.before(cutOff) {
		w.forget()
	}
	if alive {
		w.observe(asked, time.Now(), members...)
	}
	return members, nil
}

// giveUpAfter is how many passes may fail in a row before a leader lets
// somebody else try: one who can beat and cannot do anything else must not
// block the fleet.
const giveUpAfter = 3

// reign makes passes until the leadership is lost, given up, or ctx is done. A
// worker that stops makes a last pass, which gives its leases to others.
func (s *session) reign(ctx context.Context, row Member, members *watch, dice *dice) {
	s.log.InfoContext(ctx, "leading the fleet")
	s.setLeads(true)
	reigning, depose := context.WithCancel(ctx)
	defer depose()
	l := s.newLeader(members)
	var heart sync.WaitGroup
	heart.Go(func() {
		defer s.setLeads(false)
		defer depose()
		row = s.keepLeading(reigning, row)
	})
	heart.Go(func() { s.keepWatching(reigning, members) })
	heart.Go(func() { l.keepMoving(reigning, depose) })
	for failed := 0; failed < giveUpAfter; {
		began := time.Now()
		err := l.pass(reigning)
		l.steps.Add(1)
		switch {
		case reigning.Err() != nil:
		case errors.Is(err, errMakeWay):
			s.madeWay = true
			s.log.InfoContext(ctx, "leading no more", "err", err)
		case err != nil:
			failed++
			s.passes.met(ctx, s.log, err)
		default:
			failed = 0
			s.passes.over(ctx, s.log)
			if l.sees() {
				s.madeWay = false
			}
		}
		if errors.Is(err, errMakeWay) {
			break
		}
		// However many ask for a pass, the next one does not follow at once, and
		// passes take no more than a tenth of the time.
		pause := min(max(s.cfg.PlanInterval/20, 9*time.Since(began)), s.cfg.PlanInterval)
		if !wait(reigning, dice.about(pause), nil) ||
			!dice.gather(reigning, dice.about(s.cfg.PlanInterval-pause), s.cfg.FailoverTime/1000, s.planNow) {
			break
		}
	}
	deposed := reigning.Err() != nil && ctx.Err() == nil
	depose()
	heart.Wait()
	l.calls.Wait()
	if deposed {
		return
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.FailoverTime)
	defer cancel()
	if ctx.Err() != nil {
		l.listers = nil // there is no time to wait for streams
		if err := l.pass(last); err != nil {
			s.log.DebugContext(ctx, "leader's last pass failed", "err", err)
		}
	}
	row.Worker = "" // kept, not ended: a Version never comes again
	old := row
	old.Worker = s.me
	if _, err := s.swapMember(last, old, row); err != nil {
		s.log.DebugContext(ctx, "cannot resign from leading", "err", err)
	}
}

// keepLeading moves the beats of the leader's row until ctx is done or the row
// has another leader, or has not been reached for too long. It returns the row
// as last known.
func (s *session) keepLeading(ctx context.Context, row Member) Member {
	dice := s.diceOf("leader " + s.me)
	pause := s.retry(dice)
	sent := time.Now()
	delay := dice.about(s.cfg.FailoverTime / 3)
	for wait(ctx, delay, nil) {
		began := time.Now()
		next := row
		next.Beats++
		current, err := s.swapMember(ctx, row, next)
		delay = dice.about(s.cfg.FailoverTime / 3)
		switch {
		case err == nil:
			row, sent = current, began
			pause.reset()
		case errors.Is(err, ErrConflict):
			if current.Worker != s.me {
				return row
			}
			row, delay = current, 0 // an earlier beat whose answer was lost
		case time.Since(sent) > s.cfg.FailoverTime:
			return row
		default:
			delay = pause.delay()
		}
	}
	return row
}

// keepWatching observes the members until ctx is done, however long the passes
// take: a leader who looked only now and then would take nobody for dead.
func (s *session) keepWatching(ctx context.Context, members *watch) {
	dice := s.diceOf("watch " + s.me)
	for wait(ctx, dice.about(s.cfg.FailoverTime/2), nil) {
		_, _ = s.look(ctx, members) // the passes tell of errors
	}
}

// keepMoving deposes the leader when nothing of its passes moves any more, and
// waits for that until ctx is done. Each step of a pass ends by a context of its
// own, so what hangs is a store or a stream that does not heed it, or a logger,
// as on a full disk. That pass is waited for, by the goroutine that leads, while
// the beats of the leader's row have ended, and another worker takes it over.
func (l *leader) keepMoving(ctx context.Context, depose func()) {
	// The longest way from one step to the next: a pause, the listings, and all
	// leases read. A busy machine gets some more.
	longest := 4*l.cfg.FailoverTime + 2*l.cfg.PlanInterval
	for seen := l.steps.Load(); wait(ctx, longest, nil); {
		if steps := l.steps.Load(); steps != seen {
			seen = steps
			continue
		}
		depose()
		l.log.WarnContext(ctx, "leading no more: a pass hangs", "no_step_for", longest)
		return
	}
}

func (s *session) setLeads(leads bool) {
	s.mu.Lock()
	s.leads = leads
	s.mu.Unlock()
	s.meters.leads(leads)
}
