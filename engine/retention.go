package engine

import (
	"context"
	"fmt"
	"time"
)

// SetRetention changes how long records can be read. A shorter one hides older
// records at once; a longer one does not bring back what had left before.
func (s *Stream) SetRetention(ctx context.Context, d time.Duration) error {
	return s.change(ctx, "set the retention", func(set *settings) error {
		if err := checkRetention("retention", d, s.e.cfg); err != nil {
			return err
		}
		set.floor = s.cutoff()
		set.retention = d
		return nil
	})
}

// sweepEvery is how often expired records are looked for. Readers do not
// depend on it: what has left retention is invisible at once.
func (e *Engine) sweepEvery() time.Duration {
	return min(max(e.cfg.MinRetention/4, 100*time.Millisecond), 10*time.Second)
}

// runSweeper gives the room of expired records another use.
func (e *Engine) runSweeper() {
	ticker := time.NewTicker(e.sweepEvery())
	defer ticker.Stop()
	failing := false
	for {
		select {
		case <-ticker.C:
		case <-e.done:
			return
		}
		err := e.sweep()
		switch {
		case err != nil && !failing:
			e.logger.Error("cannot reclaim the room of expired records; trying again", "err", err)
		case err == nil && failing:
			e.logger.Info("the room of expired records can be reclaimed again")
		}
		failing = err != nil
	}
}

// sweep drops expired blocks, retires closed shards whose time is over, and
// recycles the files in which nothing is left.
func (e *Engine) sweep() error {
	retire := e.expire()
	if !retire && e.log.Spare().Equal(e.log.Files()) {
		return nil
	}
	end, err := e.begin(context.Background())
	if err != nil {
		return nil // closed
	}
	defer end()
	for _, s := range e.snapshot() {
		if err := s.retireShards(); err != nil {
			return err
		}
	}
	stay := e.log.Spare()
	if stay.Equal(e.log.Files()) {
		return nil
	}
	if err := e.save(context.Background(), &change{files: &stay}); err != nil {
		return err
	}
	return e.log.Release(stay)
}

// expire drops the blocks that have left retention, and reports whether closed
// shards have, too.
func (e *Engine) expire() (retire bool) {
	for _, s := range e.snapshot() {
		cutoff := s.cutoff()
		for _, m := range s.topology.Load().all {
			e.log.Expire(m.log, cutoff)
			retire = retire || m.closed != 0 && m.closed < cutoff
		}
	}
	return retire
}

// snapshot returns the streams of this moment.
func (e *Engine) snapshot() []*Stream {
	e.mu.RLock()
	defer e.mu.RUnlock()
	all := make([]*Stream, 0, len(e.streams))
	for _, s := range e.streams {
		all = append(all, s)
	}
	return all
}

// retireShards takes away the closed shards whose last record, were it put in
// the moment of closing, has left retention. The caller has the control.
func (s *Stream) retireShards() error {
	t, cutoff := s.topology.Load(), s.cutoff()
	var stay, leave []member
	for _, m := range t.all {
		if m.closed != 0 && m.closed < cutoff {
			leave = append(leave, m)
		} else {
			stay = append(stay, m)
		}
	}
	if len(leave) == 0 {
		return nil
	}
	next := newTopology(t.next, stay)
	if err := s.e.save(context.Background(), &change{stream: s, topology: next}); err != nil {
		return fmt.Errorf("retire closed shards of stream %s: %w", s.name, err)
	}
	s.topology.Store(next)
	for _, m := range leave {
		s.e.log.Expire(m.log, cutoff) // what is left of it no longer needs its file
		s.e.log.Forget(m.log)
	}
	return nil
}
