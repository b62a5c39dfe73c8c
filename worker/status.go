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
	// Behind is how far the last batch was behind the newest record of its shard.
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
		Position: c.tracker.Position(), Behind: time.Duration(c.behind.Load()), Blocked: c.tel.standstill.longest(row.Key, c.cfg.FailoverTime),
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
func (s *standstill) enter(what string, record stream.Sequence) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.call = lease.Blocked{What: what, Record: record, Since: time.Now()}
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

// begin takes note of a first failure, and reports whether all went well before.
func (s *standstill) begin(what string, record stream.Sequence, err error) (b *lease.Blocked, first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b = &lease.Blocked{What: what, Record: record, Since: time.Now(), Attempts: 1, Err: err.Error()}
	s.all = append(s.all, b)
	s.told()
	return b, len(s.all) == 1
}

// again takes note of a further failure.
func (s *standstill) again(b *lease.Blocked, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b.Attempts, b.Err = b.Attempts+1, err.Error()
	s.told()
}

// end takes note that it went well, or is given up, and reports whether all does.
func (s *standstill) end(b *lease.Blocked) (last bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = slices.DeleteFunc(s.all, func(other *lease.Blocked) bool { return other == b })
	s.told()
	return len(s.all) == 0
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
