package worker

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/stream"
)

// progress is how far the work on a shard is behind. Its methods may be called at
// the same time; the zero value is ready.
type progress struct {
	mu     sync.Mutex    // guards what follows
	behind time.Duration // so far it was
	at     time.Time     // at this moment
	grows  bool          // and there is something to do
}

// began takes note that a batch is given whose first record is so far behind, did
// that it is done, with what is still to come.
func (p *progress) began(behind time.Duration) { p.set(behind, true) }
func (p *progress) did(behind time.Duration)   { p.set(behind, behind > 0) }

func (p *progress) set(behind time.Duration, grows bool) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.behind, p.at, p.grows = behind, now, grows
}

// lag returns how far it is behind now. blocked is since when the shard has been
// failing; zero when it is not.
func (p *progress) lag(now, blocked time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	since := p.at
	if !p.grows {
		since = blocked
	}
	if since.IsZero() {
		return p.behind
	}
	return p.behind + now.Sub(since)
}

// lag returns how far the work on the shard is behind.
func (c *consumer) lag() time.Duration {
	blocked := c.tel.standstill.longest("", c.cfg.FailoverTime)
	return c.progress.lag(time.Now(), blocked.Since)
}

// Status is what a worker is doing at a moment.
type Status struct {
	// Status is its part in the fleet: whether it leads, what it waits for.
	lease.Status
	// Shards are those in its hands, by key.
	Shards []ShardStatus
}

// ShardStatus is how far a worker has got with a shard.
type ShardStatus struct {
	// Key is that of the lease, Stream and Shard say which shard it is of, Term is
	// the fencing token.
	Key, Stream, Shard string
	Term               int64
	// Position is the last one with everything at or before it done. The checkpoint
	// follows it.
	Position stream.Position
	// Behind is how far the work on the shard is behind the newest record there: for
	// as long as nothing is done though there is something to do, it grows.
	Behind time.Duration
	// Blocked tells why the shard does not get on; zero when it does. A callback that
	// has run for longer than FailoverTime is told of, too.
	Blocked lease.Blocked
}

// Status returns what the worker is doing now. It may be called at any time and
// asks nobody.
func (w *Worker) Status() Status {
	s := Status{Status: w.coordinator.Status()}
	for _, c := range w.atWork() {
		s.Shards = append(s.Shards, c.status())
	}
	slices.SortFunc(s.Shards, func(a, b ShardStatus) int { return cmp.Compare(a.Key, b.Key) })
	return s
}

// enter and leave keep who is working on a shard.
func (w *Worker) enter(c *consumer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.consumers[c] = struct{}{}
}

func (w *Worker) leave(c *consumer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.consumers, c)
}

func (c *consumer) status() ShardStatus {
	row := c.hold.Lease()
	return ShardStatus{
		Key: row.Key, Stream: row.Stream, Shard: row.Shard, Term: c.shard.Term,
		Position: c.tracker.Position(), Behind: c.lag(), Blocked: c.tel.standstill.longest(row.Key, c.cfg.FailoverTime),
	}
}

// standstill is what makes a shard wait: its processor, its reader, or both. The
// lease is told of what waits the longest. Its methods may be called at the same
// time; the zero value is ready.
type standstill struct {
	mu    sync.Mutex       // guards what follows
	all   []*lease.Blocked // the oldest first
	call  lease.Blocked    // the callback that is running, zero for none
	hangs bool             // it has been for long, and the lease was told
	tell  func(lease.Blocked)
}

// enter takes note that a callback begins, leave that it has returned.
func (s *standstill) enter(what string, l lot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.call = lease.Blocked{What: what, Record: l.first, Last: l.last, Records: l.records, Since: time.Now()}
}

func (s *standstill) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.call = lease.Blocked{}
	if s.hangs {
		s.hangs = false
		s.told()
	}
}

// look tells the lease of a callback that has been running for that long.
func (s *standstill) look(long time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.hangs && s.running(long) {
		s.hangs = true
		s.told()
	}
}

// running reports whether a callback has been running for that long. The caller
// holds mu.
func (s *standstill) running(long time.Duration) bool {
	return !s.call.IsZero() && time.Since(s.call.Since) >= long
}

// begin takes note of a first failure.
func (s *standstill) begin(what string, l lot, err error) *lease.Blocked {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := &lease.Blocked{What: what, Record: l.first, Last: l.last, Records: l.records, Since: time.Now(), Attempts: 1, Err: err.Error()}
	s.all = append(s.all, b)
	s.told()
	return b
}

// again takes note of a further failure.
func (s *standstill) again(b *lease.Blocked, l lot, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b.Record, b.Last, b.Records = l.first, l.last, l.records
	b.Attempts, b.Err = b.Attempts+1, err.Error()
	s.told()
}

// end takes note that it went well, or is given up.
func (s *standstill) end(b *lease.Blocked) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = slices.DeleteFunc(s.all, func(other *lease.Blocked) bool { return other == b })
	s.told()
}

// told tells the lease. The caller holds mu.
func (s *standstill) told() {
	if s.tell != nil {
		s.tell(s.first(s.hangs))
	}
}

// longest returns what has waited the longest: a callback is told of when it has
// been running for that long.
func (s *standstill) longest(key string, long time.Duration) lease.Blocked {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.first(s.running(long))
	if !b.IsZero() {
		b.Key = key
	}
	return b
}

// first returns what has failed for the longest, or else the callback that hangs,
// if it does: what fails says more. The caller holds mu.
func (s *standstill) first(hangs bool) (b lease.Blocked) {
	switch {
	case len(s.all) > 0:
		b = *s.all[0]
	case hangs:
		b = s.call
	}
	return b
}

// keepLooking tells the leases of callbacks that run for long, until ctx is done:
// one ticker for all shards.
func (w *Worker) keepLooking(ctx context.Context) {
	again := time.NewTicker(w.cfg.FailoverTime / 2)
	defer again.Stop()
	for {
		select {
		case <-again.C:
		case <-ctx.Done():
			return
		}
		for _, c := range w.atWork() {
			c.tel.standstill.look(w.cfg.FailoverTime)
		}
	}
}

// atWork returns who is working on a shard.
func (w *Worker) atWork() []*consumer {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(maps.Keys(w.consumers))
}
