package lease

import (
	"context"
	"errors"
	"slices"
	"time"
)

// poll keeps the worker's view of its rows true until ctx is done: at once
// when a beat carried a new revision, and from time to time without being
// told, since whoever changed the rows may have died before telling.
func (s *session) poll(ctx context.Context) {
	dice := s.diceOf("poll " + s.me)
	pause := s.retry(dice)
	reads := trouble{what: "reading the worker's leases"}
	for {
		err := s.pollOnce(ctx)
		delay := dice.about(s.cfg.PlanInterval)
		if err == nil {
			reads.over(ctx, s.log)
		}
		switch {
		case err != nil && ctx.Err() == nil:
			reads.met(ctx, s.log, err)
			delay = pause.delay()
		default:
			pause.reset()
		}
		if err == nil && s.isAlert() {
			delay = min(delay, dice.about(s.cfg.FailoverTime/20))
		}
		if !dice.gather(ctx, delay, s.cfg.FailoverTime/1000, s.pollNow) {
			return
		}
	}
}

// isAlert reports whether leases may soon be the worker's: for three quarters of
// FailoverTime after it was told so, since it may be told when a member that has
// been silent for half of it has half of it left.
func (s *session) isAlert() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Since(s.alerted) < s.cfg.FailoverTime*3/4
}

// pollOnce re-reads what a bump announced, and takes what is the worker's own.
func (s *session) pollOnce(ctx context.Context) error {
	if err := s.reread(ctx); err != nil {
		return err
	}
	calling, cancel := s.call(ctx)
	owned, err := s.store.Owned(calling, s.me)
	cancel()
	if err != nil {
		return err
	}
	stray := s.sort(ctx, owned)
	s.parallel(len(stray), func(i int) { s.giveUp(ctx, stray[i]) })
	s.tellLoads(ctx)
	return s.readMissing(ctx, owned)
}

// reread reads the rows of everything that is held or may be, strongly
// consistent, when a revision was seen that is not yet applied. What is applied
// by it is the revision seen before the read began.
func (s *session) reread(ctx context.Context) error {
	s.mu.Lock()
	if !s.right.stale() {
		s.mu.Unlock()
		return nil
	}
	reading := s.right.read()
	keys := s.occupied()
	s.mu.Unlock()
	if err := s.readAgain(ctx, keys); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.right.apply(reading)
	if s.right.stale() {
		kick(s.pollNow)
	}
	kick(s.fuseNow)
	return nil
}

// occupied returns the keys of all slots, in order: leases that are held, and
// those whose take is pending. The caller holds mu.
func (s *session) occupied() []string {
	keys := make([]string, 0, len(s.slots))
	for key := range s.slots {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// readAgain reads rows and draws the consequences.
func (s *session) readAgain(ctx context.Context, keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	ctx, cancel := s.call(ctx)
	defer cancel()
	rows, err := s.readable(ctx, keys)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	there := make(map[string]bool, len(rows))
	for _, row := range rows {
		there[row.Key] = true
		if h := s.slots[row.Key]; h != nil {
			h.observe(row)
		}
	}
	for _, key := range keys {
		if h := s.slots[key]; h != nil && !there[key] && !h.done {
			h.lose() // deleted, or nobody can tell what it says
		}
	}
	return nil
}

// readable reads rows. One that cannot be understood is told of and left out, so
// that it does not stand for all others.
func (s *session) readable(ctx context.Context, keys []string) ([]Lease, error) {
	rows, err := s.store.Read(ctx, keys...)
	if !errors.Is(err, ErrUnreadable) {
		return rows, err
	}
	if len(keys) == 1 {
		s.log.ErrorContext(ctx, "the row of a lease cannot be understood, so that its shard is not processed: mend it", "lease", keys[0], "err", err)
		return nil, nil
	}
	half := len(keys) / 2
	some, err := s.readable(ctx, keys[:half])
	if err != nil {
		return nil, err
	}
	others, err := s.readable(ctx, keys[half:])
	return append(some, others...), err
}

// sort looks at what Owned says, which may lag: it begins what is the worker's
// to take, and returns what is the worker's to give up though it holds nothing
// of it: leases that were moved on before they were taken.
func (s *session) sort(ctx context.Context, owned []Lease) (stray []Lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.waiting)
	news := false
	for _, row := range owned {
		h := s.slots[row.Key]
		switch {
		case h != nil:
			h.observe(row)
		case row.Finished():
		case row.CheckpointOwner == s.me || row.CheckpointOwner == "" && s.leaving:
			stray = append(stray, row)
		case row.CheckpointOwner != "":
			news = s.foresee(row) || news
		default:
			s.occupy(ctx, row)
		}
	}
	if news {
		kick(s.succeedNow) // once: how often it wakes must not depend on who runs first
	}
	return stray
}

// tellLoads stores the loads that have fallen without a checkpoint to go along
// with. However many they are, they take no more of a poll's time than one call
// of the store may: what cannot be stored now is told by the next poll. What is
// about to be given up goes with its load in its last write.
func (s *session) tellLoads(ctx context.Context) {
	s.mu.Lock()
	var fallen []*held
	for _, h := range s.inOrder() {
		if h.term != 0 && !h.done && !h.leaves && h.load.below(h.row.Load) {
			fallen = append(fallen, h)
		}
	}
	s.mu.Unlock()
	ctx, cancel := s.call(ctx)
	defer cancel()
	s.parallel(len(fallen), func(i int) {
		_ = fallen[i].write(ctx, "load", false, func(l Lease) (Lease, error) { return l, nil })
	})
}

// readMissing reads the rows that are held and that Owned did not name: it
// lags, or they are lost.
func (s *session) readMissing(ctx context.Context, owned []Lease) error {
	named := make(map[string]bool, len(owned))
	for _, row := range owned {
		named[row.Key] = true
	}
	s.mu.Lock()
	keys := slices.DeleteFunc(s.occupied(), func(key string) bool { return named[key] })
	s.mu.Unlock()
	return s.readAgain(ctx, keys)
}

// listen lets a store that can wake others do so. Where many write, one look
// serves for all that was written in a while.
func (s *session) listen(ctx context.Context) {
	notifier, ok := s.store.(Notifier)
	if !ok {
		return
	}
	dice := s.diceOf("listen " + s.me)
	window := s.cfg.FailoverTime / 10
	if s.presence != nil {
		window = min(window, haste) // who asks for a fast failover pays for it by reading more
	}
	wake := func() {
		s.setHears(true)
		wait(ctx, dice.upTo(window), nil)
		kick(s.pollNow)
		kick(s.planNow)
	}
	calls := trouble{what: "listening for notifications"}
	for pause := s.retry(dice); ctx.Err() == nil; wait(ctx, pause.delay(), nil) {
		began := time.Now()
		err := notifier.Changes(ctx, wake)
		s.setHears(false)
		if err != nil && ctx.Err() == nil && !errors.Is(err, context.Canceled) {
			calls.met(ctx, s.log, err)
		}
		if time.Since(began) > s.cfg.FailoverTime {
			pause.reset()
		}
	}
}
