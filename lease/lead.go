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
	watch := s.newWatch()
	dice := s.diceOf("lead " + s.me)
	for {
		row, ok := s.campaign(ctx, watch, dice)
		if !ok {
			return
		}
		if row.Version > 1 { // who led before left something to do, most likely
			s.hurry()
		}
		s.reign(ctx, row, watch, dice)
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
func (s *session) campaign(ctx context.Context, w *watch, dice *dice) (Member, bool) {
	var leader candidacy
	for {
		row, won := s.candidate(ctx, w, &leader)
		if won {
			return row, true
		}
		if w.fate(leaderKey) >= missing {
			s.mu.Lock()
			s.alert()
			s.mu.Unlock()
			_, _ = s.look(ctx, w)
		}
		delay := dice.about(s.cfg.FailoverTime / 2)
		if due := w.due(true); !due.IsZero() {
			// Not all followers at one moment.
			delay = min(delay, max(0, time.Until(due))+dice.upTo(s.cfg.FailoverTime/100))
		}
		if !s.vigil(ctx, delay, &leader, dice) {
			return Member{}, false
		}
	}
}

// candidacy is what a follower remembers between two looks at the leader's row.
type candidacy struct {
	worker string    // who leads
	ended  bool      // and is known to have ended
	free   time.Time // since when nobody leads
}

// candidate looks once, and takes the row when it is free, or its leader dead.
// Who made way leaves a free row to others for 2 FailoverTime since it first saw
// it free: they may not have tried yet. A dead leader is replaced by whoever comes
// first.
func (s *session) candidate(ctx context.Context, w *watch, c *candidacy) (Member, bool) {
	s.mu.Lock()
	eligible, cutOff := s.fresh() && !s.leaving, s.cutOff
	s.mu.Unlock()
	if !eligible {
		return Member{}, false
	}
	asked := time.Now()
	mine := Member{Incarnation: leaderKey, Worker: s.me, Beats: s.beatAt(asked), FailoverTime: tellable(s.cfg.FailoverTime)}
	row, err := s.swapMember(ctx, Member{}, mine)
	if err == nil {
		return row, true
	}
	if !errors.Is(err, ErrConflict) || row.Incarnation != leaderKey {
		return Member{}, false
	}
	w.countFrom(cutOff)
	w.observeLeader(asked, time.Now(), row)
	if row.Worker != c.worker {
		c.worker, c.ended = row.Worker, false
	}
	if row.Worker != "" && row.Worker != s.me {
		c.free = time.Time{}
		if !c.ended && !w.dead(leaderKey) {
			return Member{}, false
		}
	} else if c.free.IsZero() {
		c.free = time.Now()
	}
	if s.madeWay && !c.free.IsZero() && time.Since(c.free) < 2*s.cfg.FailoverTime {
		return Member{}, false
	}
	mine.Beats = s.beatAt(time.Now())
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
	answered, cutOff := s.fresh(), s.cutOff
	s.mu.Unlock()
	if !answered {
		w.forget()
		return members, nil
	}
	w.countFrom(cutOff)
	w.observe(asked, time.Now(), members...)
	kick(s.watchNow)
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
	defer s.meters.counts(l.tally)()
	var heart sync.WaitGroup
	heart.Go(func() {
		defer s.setLeads(false)
		defer depose()
		row = s.keepLeading(reigning, row)
	})
	heart.Go(func() { l.keepWatching(reigning) })
	heart.Go(func() { l.keepCalling(reigning) })
	heart.Go(func() { l.keepMoving(reigning, depose) })
	for failed := 0; failed < giveUpAfter; {
		began := time.Now()
		hurried := s.mustPlan() || s.isHurried()
		pass := l.pass
		if hurried {
			pass = l.hurriedPass
		}
		err := pass(reigning)
		l.steps.Add(1)
		if hurried || l.hurried {
			kick(s.planNow) // and then one that waits for the streams
		}
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
			if !hurried && l.sees() {
				s.madeWay = false
			}
		}
		if errors.Is(err, errMakeWay) {
			break
		}
		// However many ask for a pass, the next one does not follow at once, and
		// passes take no more than a tenth of the time, unless somebody has died.
		pause := min(max(s.cfg.PlanInterval/20, 9*time.Since(began)), s.cfg.PlanInterval)
		if !wait(reigning, dice.about(pause), s.fenceNow) ||
			!dice.gather(reigning, l.idle(dice, s.cfg.PlanInterval-pause), s.cfg.FailoverTime/1000, s.planNow) {
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
		if err := l.hurriedPass(last); err != nil {
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

// hurry asks for a pass at once that waits for no stream, since a member is dead, or
// stops; one that is under way waits for them no longer.
func (s *session) hurry() {
	kick(s.hurryNow)
	kick(s.fenceNow)
	kick(s.planNow)
}

// isHurried reports whether there is cause for haste that no pass has seen to yet.
func (s *session) isHurried() bool {
	select {
	case <-s.hurryNow:
		return true
	default:
		return false
	}
}

// idle returns how long to wait for the next pass, when nobody asks for one: about
// that long, or until balance is no longer put off.
func (l *leader) idle(dice *dice, most time.Duration) time.Duration {
	idle := dice.about(most)
	if due := l.calm.due; !due.IsZero() {
		idle = min(idle, max(0, time.Until(due))+dice.upTo(l.cfg.PlanInterval/20))
	}
	return idle
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
		next.Beats = max(row.Beats+1, s.beatAt(began))
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
// take: a leader who looked only now and then would take nobody for dead. It looks
// when a pass has not done so for a while, and exactly when a look at a silent
// member tells something.
func (l *leader) keepWatching(ctx context.Context) {
	dice := l.diceOf("watch " + l.me)
	last := time.Now()
	for pause := dice.about(l.cfg.FailoverTime * 3 / 10); ; {
		if seen := l.members.seenAt(); seen.After(last) {
			last = seen // by a pass
		}
		next := last.Add(pause)
		if due := l.members.due(false); due.After(last) && due.Before(next) {
			next = due
		}
		if left := time.Until(next); left > 0 {
			if !wait(ctx, left, l.watchNow) {
				return
			}
			continue
		}
		last, pause = time.Now(), dice.about(l.cfg.FailoverTime*3/10)
		if members, err := l.look(ctx, l.members); err == nil { // the passes tell of errors
			if l.warn(ctx, members) {
				l.hurry()
			}
		}
	}
}

// warn tells those who may soon get leases of members that are missing: in a
// store that notifies nobody they would else look too late. It does so once for
// each, and reports whether one is dead, or stops, that was not so when it was last
// called.
func (l *leader) warn(ctx context.Context, members []Member) (news bool) {
	var living []Member
	missed := false
	l.mu.Lock()
	fates, stopping := make(map[string]fate, len(members)), map[string]bool{}
	for _, m := range members {
		if m.Fenced || m.Incarnation == l.me {
			continue
		}
		is, was := l.members.fate(m.Incarnation), l.fates[m.Incarnation]
		fates[m.Incarnation] = is
		missed = missed || is >= missing && was < missing
		news = news || is == dead && was < dead || m.Draining && !l.stopping[m.Incarnation]
		if m.Draining {
			stopping[m.Incarnation] = true
		}
		if is == alive {
			living = append(living, m)
		}
	}
	l.fates, l.stopping = fates, stopping
	if missed {
		l.alert()
	}
	l.mu.Unlock()
	if missed {
		l.Coordinator.parallel(len(living), func(i int) { l.bump(ctx, living[i]) })
	}
	return news
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
