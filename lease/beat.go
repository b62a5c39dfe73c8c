package lease

import (
	"context"
	"errors"
	"time"
)

// join creates the member row. It returns false when ctx ends before that, or
// when the fleet may have fenced, and ended, a row of which no answer told: then
// another incarnation has to try, since no row is used again.
func (s *session) join(ctx context.Context) bool {
	row := Member{
		Incarnation: s.me, Worker: s.cfg.Worker, MaxLeases: s.cfg.MaxLeases,
		Code: s.cfg.Code, Zone: s.cfg.Zone, Host: s.cfg.Host, Streams: s.serves(),
		FailoverTime: tellable(s.cfg.FailoverTime), HandoffTimeout: tellable(s.cfg.HandoffTimeout),
	}
	s.born = time.Now()
	for pause := s.retry(s.diceOf("join " + s.me)); ctx.Err() == nil && time.Since(s.born) < s.right.failover; {
		sent := time.Now()
		row.Beats = s.beatAt(sent)
		joined, err := s.joinOnce(ctx, row)
		if err == nil {
			s.joining.over(ctx, s.log)
			s.member = joined
			s.right.joined(sent, joined.Revision)
			return true
		}
		s.joining.met(ctx, s.log, err)
		if errors.Is(err, errOut) {
			return false
		}
		wait(ctx, pause.delay(), nil)
	}
	return false
}

// joinOnce tries to create the row. One that is already there was created by
// an earlier attempt whose answer was lost, since nobody else has the nonce;
// it counts from a beat that is answered.
func (s *session) joinOnce(ctx context.Context, row Member) (Member, error) {
	ctx, cancel := s.call(ctx)
	defer cancel()
	joined, err := s.store.SwapMember(ctx, Member{}, row)
	if errors.Is(err, ErrConflict) && joined.Fenced {
		return Member{}, errOut
	}
	if errors.Is(err, ErrConflict) {
		beaten := joined
		beaten.Beats = max(joined.Beats+1, row.Beats)
		joined, err = s.store.SwapMember(ctx, joined, beaten)
	}
	return joined, err
}

// errOut says that the fleet has fenced the worker.
var errOut = errors.New("the fleet took this worker for dead")

// beat proves three times in FailoverTime that the worker lives, until ctx is
// done or the worker is out.
func (s *session) beat(ctx context.Context) {
	dice := s.diceOf("beat " + s.me)
	pause := s.retry(dice)
	pause.most = s.cfg.FailoverTime / 10 // the right to process runs out meanwhile
	beats := trouble{what: "beat"}
	defer s.tellOfLapse(ctx)
	if !wait(ctx, dice.about(s.cfg.FailoverTime/3), s.beatNow) {
		return
	}
	for {
		if !s.afterLapse(ctx) {
			return
		}
		err := s.beatOnce(ctx)
		delay := dice.about(s.cfg.FailoverTime / 3)
		switch {
		case err == nil:
			pause.reset()
			beats.over(ctx, s.log)
		case errors.Is(err, errOut):
			s.log.WarnContext(ctx, "out of the fleet, coming back as a new incarnation", "err", err)
			return
		case ctx.Err() != nil:
			return
		default:
			beats.met(ctx, s.log, err)
			delay = pause.delay()
		}
		if !wait(ctx, delay, s.beatNow) {
			return
		}
	}
}

// afterLapse waits, when the right to process has expired, until all old
// callbacks have returned, and reports whether the worker may beat again. One that
// never gets there is silent from now on, and out: others take over, and its next
// incarnation comes without the callbacks that did not return.
func (s *session) afterLapse(ctx context.Context) bool {
	for {
		s.tellOfLapse(ctx)
		s.mu.Lock()
		ready := !s.lapsed || len(s.slots) == 0
		s.mu.Unlock()
		if ready {
			return true
		}
		late := time.NewTimer(s.patience())
		select {
		case <-ctx.Done():
			late.Stop()
			return false
		case <-s.vacated:
			late.Stop()
		case <-late.C:
			s.expel(ErrExpired)
			return false
		}
	}
}

// tellOfLapse says that leases were stopped since it was last called. That is
// told by the goroutine that beats, before whatever it does next is told.
func (s *session) tellOfLapse(ctx context.Context) {
	s.mu.Lock()
	stopped := s.stopped
	s.stopped = 0
	s.mu.Unlock()
	if stopped > 0 {
		s.log.WarnContext(ctx, "no beat was answered in time, stopping all shards", "leases", stopped)
	}
}

// beatOnce writes one beat. It tries again at once when the row was bumped.
func (s *session) beatOnce(ctx context.Context) error {
	for {
		sent := time.Now()
		old, next := s.nextBeat(sent)
		row, err := s.swapMember(ctx, old, next)
		s.tellOfLapse(ctx) // the right may have expired meanwhile, and be back now
		switch {
		case err == nil:
			s.beaten(sent, row)
			return nil
		case !errors.Is(err, ErrConflict):
			return err
		case row == Member{} || row.Fenced:
			s.fencedOut()
			return errOut
		}
		s.mu.Lock()
		s.member = row
		s.mu.Unlock()
	}
}

// beatAt returns what the beats are of a row that is sent at that moment: the
// milliseconds, rounded up, since the incarnation was born, and one.
func (s *session) beatAt(sent time.Time) int64 {
	return 1 + int64((sent.Sub(s.born)+time.Millisecond-1)/time.Millisecond)
}

func (s *session) nextBeat(sent time.Time) (old, next Member) {
	blocked := s.stuck.blocked()
	s.mu.Lock()
	defer s.mu.Unlock()
	next = s.member
	next.Beats = max(next.Beats+1, s.beatAt(sent))
	next.FailoverTime, next.HandoffTimeout = tellable(s.cfg.FailoverTime), tellable(s.cfg.HandoffTimeout)
	next.Draining = s.leaving
	next.Streams = s.serves()
	next.Load = Load{}
	for _, h := range s.slots {
		next.Load.BytesPerSecond += h.load.BytesPerSecond
		next.Load.RecordsPerSecond += h.load.RecordsPerSecond
		if b := h.blocked; !b.IsZero() {
			b.Stuck = h.ctx.Err() != nil
			blocked = append(blocked, b)
		}
	}
	next.Blocked = NewBlockedSet(blocked...)
	return s.member, next
}

func (s *session) swapMember(ctx context.Context, old, next Member) (Member, error) {
	ctx, cancel := s.call(ctx)
	defer cancel()
	return s.store.SwapMember(ctx, old, next)
}

// beaten takes note of an acknowledged beat.
func (s *session) beaten(sent time.Time, row Member) {
	if s.beatenLocked(sent, row) {
		s.log.Info("back after the right to process had expired")
	}
}

// beatenLocked reports whether the right to process is back.
func (s *session) beatenLocked(sent time.Time, row Member) (back bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.member = row
	if sent.Sub(s.right.sent) > 2*s.cfg.FailoverTime/3 {
		s.cutOff = time.Now() // a beat or more were not answered
	}
	s.right.beaten(sent, row.Revision)
	if s.lapsed && len(s.slots) == 0 {
		s.lapsed, back = false, true
		kick(s.pollNow)
	}
	if s.right.stale() {
		s.alert()
		kick(s.fuseNow) // it may burn earlier now
	}
	return back
}

// alert makes the worker look for leases often for a while: a leader bumps it not
// only after a change, but also when one may come soon. The caller holds mu.
func (s *session) alert() {
	s.alerted = time.Now()
	kick(s.pollNow)
}

// fencedOut ends everything: the fleet gives the leases to others.
func (s *session) fencedOut() {
	if s.expel(ErrExpired) {
		s.meters.fenced()
	}
}

// expel ends all holds, with that cause, and for good. It reports whether that
// was not so before.
func (s *session) expel(cause error) (first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isOut {
		return false
	}
	s.isOut = true
	close(s.out)
	if !s.lapsed { // else that was done when the right expired
		s.cancelHolds(cause)
	}
	return true
}

// fuse cancels holds when their time is over, by the worker's own clock. It logs
// nothing: a logger may wait, for a disk that is full or a pipe that nobody reads,
// and on this goroutine depends that two workers never process one shard.
func (s *session) fuse(ctx context.Context) {
	for wait(ctx, s.burn(), s.fuseNow) {
	}
}

// burn cancels what is due, and returns when to look again.
func (s *session) burn() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	expires := s.right.expires()
	if !now.Before(expires) && !s.lapsed {
		s.lapsed = true
		s.stopped += len(s.slots)
		s.cancelHolds(ErrExpired)
	}
	next := expires.Sub(now)
	if s.lapsed {
		next = s.cfg.FailoverTime / 10
	}
	for _, h := range s.inOrder() {
		if h.drainBy.IsZero() {
			continue
		}
		if left := h.drainBy.Sub(now); left > 0 {
			next = min(next, left)
		} else {
			h.cancel(ErrDrained)
		}
		if left := h.letGo.Sub(now); left > 0 && !h.leaves {
			next = min(next, left)
		} else {
			h.drain()
		}
	}
	return max(next, 0)
}
