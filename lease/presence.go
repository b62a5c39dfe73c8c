package lease

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// In a store with [Presence] the end of a worker's process is known before its
// silence tells it:
//
//	member    attend ── join ── beat ── beat ── ✗ the process ends
//	                                            │
//	leader    rollCall ── rollCall ── rollCall ─┴─► ended: fence it now
//	followers vigil, over the leader alone          ended: take its row now
//
// Silence is counted all the same: of a process that is stopped, or a machine
// that lost its power, no server hears anything.
const (
	// rollCall is how often it is asked who has ended, or an eighth of
	// FailoverTime when that is less.
	rollCall = 250 * time.Millisecond
	// haste is how long such a worker gathers notifications.
	haste = 100 * time.Millisecond
)

// attend makes the worker present, in a store that knows presence, for as long
// as life lasts. It returns false when ctx is done before that. A worker that
// loses its presence holds nothing any more, from the moment at which it learns
// of that.
func (s *session) attend(ctx, life context.Context, loops *sync.WaitGroup) bool {
	presence, ok := s.store.(Presence)
	if !ok {
		return true
	}
	for pause := s.retry(s.diceOf("attend " + s.me)); ctx.Err() == nil; wait(ctx, pause.delay(), nil) {
		attending, leave := context.WithCancelCause(life)
		there, over := make(chan struct{}), make(chan error, 1)
		loops.Go(func() { over <- presence.Attend(attending, s.me, s.right.failover, func() { close(there) }) })
		slow := time.AfterFunc(s.cfg.FailoverTime/3, func() { leave(errSlow) })
		var err error
		select {
		case <-there:
			if !slow.Stop() {
				err = <-over
				break
			}
			s.presence = presence
			loops.Go(func() {
				defer leave(nil)
				if err := <-over; life.Err() == nil {
					s.absent(err)
				}
			})
			return true
		case err = <-over:
		}
		slow.Stop()
		leave(nil)
		if errors.Is(err, errors.ErrUnsupported) {
			return true
		}
		s.joining.met(ctx, s.log, err)
	}
	return false
}

// absent ends everything: the fleet may give the leases to others now.
func (s *session) absent(err error) {
	s.mu.Lock()
	s.isAbsent = true
	s.mu.Unlock()
	s.expel(ErrAbsent)
	s.log.Warn("the presence of this worker has ended, and others may take its leases: coming back as a new incarnation", "err", err)
}

// whoEnded returns which of these incarnations are known to have ended. Not to
// know it is no error: their silence will tell.
func (s *session) whoEnded(ctx context.Context, incarnations ...string) []string {
	if s.presence == nil || len(incarnations) == 0 {
		return nil
	}
	ctx, cancel := s.call(ctx)
	defer cancel()
	ended, err := s.presence.Ended(ctx, s.me, incarnations...)
	if err != nil {
		s.log.DebugContext(ctx, "cannot ask who has ended", "err", err)
		return nil
	}
	return ended
}

// vigil waits for d, or until the process of the leader has ended. It returns
// false when ctx is done.
func (s *session) vigil(ctx context.Context, d time.Duration, leader *candidacy, dice *dice) bool {
	if s.presence == nil || leader.worker == "" || leader.worker == s.me || leader.ended {
		return wait(ctx, d, nil)
	}
	for over := time.Now().Add(d); ; {
		left := time.Until(over)
		if !wait(ctx, min(left, dice.about(s.rollCall())), nil) {
			return false
		}
		leader.ended = len(s.whoEnded(ctx, leader.worker)) > 0
		if leader.ended || !time.Now().Before(over) {
			return true
		}
	}
}

func (s *session) rollCall() time.Duration { return min(rollCall, s.cfg.FailoverTime/8) }

// keepCalling has members fenced that have ended, until ctx is done.
func (l *leader) keepCalling(ctx context.Context) {
	if l.presence == nil {
		return
	}
	dice := l.diceOf("roll call " + l.me)
	var known []string
	for wait(ctx, dice.about(l.rollCall()), nil) {
		ended := l.whoEnded(ctx, l.members.others(l.me)...)
		switch {
		case slices.ContainsFunc(ended, func(name string) bool { return !slices.Contains(known, name) }):
			l.hurry()
		case len(ended) > 0: // a pass before this one could not fence it
			kick(l.fenceNow)
			kick(l.planNow)
		}
		known = ended
	}
}
