package lease

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

// stuck are the holds of former incarnations whose callbacks go on though their
// contexts are cancelled. They can store nothing any more, and the fleet gives
// their leases to others; but in this process nobody takes a lease again before
// its callback has returned. All methods may be called at the same time.
//
//	contexts cancelled ── FailoverTime ──► abandon ──► the next incarnation, without these keys
//	                                          └─ tell, again and again, until they return
type stuck struct {
	mu    sync.Mutex       // guards what follows; nothing else is taken under it
	holds map[string]*held // by key

	left sync.WaitGroup // the goroutines that are left of former incarnations
}

// add takes over a hold; free lets go of it, when its callback has returned.
func (s *stuck) add(h *held) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.holds == nil {
		s.holds = map[string]*held{}
	}
	s.holds[h.key] = h
}

// free reports whether the hold was stuck.
func (s *stuck) free(h *held) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.holds[h.key] == h
	if was {
		delete(s.holds, h.key)
	}
	return was
}

func (s *stuck) has(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.holds[key] != nil
}

// abandon ends an incarnation without the callbacks that have not returned: they
// become the coordinator's. It falls silent, since its beats would say that it
// can let go of what it has, and is fenced like any that is dead.
func (s *session) abandon(returned <-chan struct{}) {
	s.mu.Lock()
	left := s.inOrder()
	for _, h := range left {
		s.stuck.add(h)
	}
	s.mu.Unlock()
	if len(left) == 0 {
		return // the last one has just returned
	}
	s.stuck.left.Go(func() { s.tellOfStuck(left, returned) })
}

// loudest is how many stuck callbacks are told of by name at one time.
const loudest = 5

// tellOfStuck tells of callbacks that do not return, at once and then more and more
// rarely, until all have.
func (s *session) tellOfStuck(left []*held, returned <-chan struct{}) {
	ctx := context.Background()
	began := time.Now()
	for {
		still := slices.DeleteFunc(slices.Clone(left), func(h *held) bool { return !s.stuck.has(h.key) })
		for _, h := range still[:min(len(still), loudest)] {
			s.log.LogAttrs(ctx, slog.LevelError, "a callback does not return though its context is cancelled: "+
				"this process takes its shard again only when it has", append(h.tell(), slog.Int("stuck", len(still)))...)
		}
		again := time.NewTimer(reminder(time.Since(began)))
		select {
		case <-again.C:
		case <-returned:
			again.Stop()
			s.log.InfoContext(ctx, "the callbacks that did not return have returned", "leases", len(left), "after", time.Since(began))
			return
		}
	}
}

// tell says what a log should of a callback that does not return.
func (h *held) tell() []slog.Attr {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	b := h.standstill()
	return []slog.Attr{
		slog.String("stream", h.row.Stream), slog.String("shard", h.row.Shard), slog.Int64("term", h.term),
		slog.String("callback", b.What), slog.Time("since", b.Since), slog.String("blocked", b.String()),
		slog.Any("cause", context.Cause(h.ctx)),
	}
}

// standstill returns what the hold is blocked on; what has not said so is its
// HoldFunc, since the term began. The caller holds the session's mu.
func (h *held) standstill() Blocked {
	b := h.blocked
	b.Key, b.Stuck = h.key, true
	b.What = cmp.Or(b.What, "the HoldFunc")
	if b.Since.IsZero() {
		b.Since = h.since
	}
	return b
}

// blocked returns what a member row should say of them.
func (s *stuck) blocked() (all []Blocked) {
	for _, l := range s.status() {
		all = append(all, l.Blocked)
	}
	return all
}

func (s *stuck) status() (all []LeaseStatus) {
	s.mu.Lock()
	holds := slices.Collect(maps.Values(s.holds))
	s.mu.Unlock()
	for _, h := range holds {
		h.s.mu.Lock()
		all = append(all, LeaseStatus{Lease: h.row, State: "stuck", Since: h.since, Blocked: h.standstill()})
		h.s.mu.Unlock()
	}
	return all
}
