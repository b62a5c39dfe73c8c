package lease

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

// session is one incarnation of a worker, from its join to its end.
//
//	beat ──► right to process ──► fuse ──► cancels the holds
//	  │ a new revision
//	  ▼
//	poll ──► re-reads rows, takes leases ──► serve: take, hold, release (one goroutine each)
//	succeed ──► looks at those that others are about to let go
//	lead ──► campaigns; passes while it leads
//
// A key of slots is the claim to be the only one in this process who deals
// with that lease: from before the take until after the callbacks returned and
// the release was tried.
type session struct {
	*Coordinator
	me   string    // the incarnation
	born time.Time // when it first tried to join; its beats count from there
	hold HoldFunc
	log  *slog.Logger

	presence Presence // where the worker is present; nil when the store keeps none

	out                                         chan struct{} // closed when the member row is fenced or gone, or the presence lost
	beatNow, pollNow, planNow, fuseNow, vacated chan struct{} // kicks; each has room for one
	fenceNow, watchNow                          chan struct{} // two more: a member is dead, or stops, or this one does; the members were looked at
	hurryNow                                    chan struct{} // and one: the same, and no pass is to wait for a stream before it has seen to that
	partNow, succeedNow                         chan struct{} // and two: a worker that stops hears of its handoffs; a lease is coming
	idleNow                                     chan struct{} // and one: there is nothing to do
	writes                                      chan struct{} // tokens that bound the takes and releases at one time
	holds                                       sync.WaitGroup
	passes                                      trouble // the leading goroutine's
	madeWay                                     bool    // the same: it made way, and has not led and seen all its streams since
	// inVain is the same goroutine's: how often it made way for want of a stream
	// since it listed it, by the place of the stream in Config.Streams.
	inVain map[int]int

	// mu guards everything below. Nothing waits while holding it.
	mu      sync.Mutex
	member  Member // the own row as last known
	right   right
	cutOff  time.Time // until when the own beats were not answered, the last time that this was so
	alerted time.Time // when something last told that leases may soon be the worker's
	lapsed  bool      // the right expired, and the old callbacks have not all returned
	stopped int       // leases that were stopped by that, and not told of yet
	ending  time.Time // when the contexts of all holds were last cancelled
	leaving bool      // the worker stops: it takes nothing more
	planned bool      // and has planned for itself as for one that stops
	isOut   bool
	// isAbsent says that it is out because its presence was lost: then the row
	// is its own to end.
	isAbsent bool
	leads    bool
	hears    bool // notifications come
	slots    map[string]*held
	waiting  map[string]string // leases that are the worker's and not yet held: why
	past     map[string]int64  // terms that ended, though the row may still show them
	coming   map[string]bool   // leases that are the worker's once their former owners let go
	comingAt time.Time         // when the last of them came to be known
	streams  []string          // the IDs of Config.Streams as they answered; "" for none
}

// concurrency bounds the writes of one kind that a worker or leader has under
// way at one time.
const concurrency = 16

func newSession(c *Coordinator, hold HoldFunc) *session {
	me := c.cfg.Worker + separator + c.dice.nonce()
	signal := func() chan struct{} { return make(chan struct{}, 1) }
	return &session{
		Coordinator: c,
		me:          me,
		hold:        hold,
		log:         c.log.With("incarnation", me),
		out:         make(chan struct{}),
		beatNow:     signal(), pollNow: signal(), planNow: signal(), fuseNow: signal(), vacated: signal(), fenceNow: signal(), watchNow: signal(),
		partNow: signal(), succeedNow: signal(), idleNow: signal(), hurryNow: signal(),
		writes:  make(chan struct{}, concurrency),
		right:   newRight(c.cfg.FailoverTime, c.cfg.HandoffTimeout),
		slots:   map[string]*held{},
		waiting: map[string]string{},
		past:    map[string]int64{},
		coming:  map[string]bool{},
		inVain:  map[int]int{},
		streams: make([]string, len(c.cfg.Streams)),
		passes:  trouble{what: "leader's pass"},
	}
}

// run lives the session: until ctx is done and everything is handed over, or
// until the fleet has fenced the worker and its old callbacks have returned, or
// have been given up.
func (s *session) run(ctx context.Context) {
	s.ask(ctx) // a stream that hangs is not waited for
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	var loops, beats, lead sync.WaitGroup
	defer loops.Wait()
	defer end()
	if !s.attend(ctx, life, &loops) || !s.join(ctx) {
		return
	}
	s.log.InfoContext(ctx, "joined the fleet")
	beating, silence := context.WithCancel(life)
	leading, resign := context.WithCancel(life)
	defer silence()
	defer resign()
	beats.Go(func() { s.beat(beating) })
	loops.Go(func() { s.fuse(life) })
	loops.Go(func() { s.poll(life) })
	loops.Go(func() { s.succeed(life) })
	loops.Go(func() { s.listen(life) })
	loops.Go(func() { s.learn(life) })
	loops.Go(func() { s.heed(life) })
	lead.Go(func() { s.lead(leading) })

	grace := s.cfg.Drain
	select {
	case <-ctx.Done():
		if held := s.leave(); held > 0 {
			// Beside: a logger that hangs must not keep Drain from being over.
			loops.Go(func() { s.log.InfoContext(ctx, "stopping, handing over", "leases", held, "drain", s.cfg.Drain) })
			grace += s.handOver(life)
		}
	case <-s.out:
	}
	returned := make(chan struct{})
	s.stuck.left.Go(func() { // the callbacks may outlive the session
		s.holds.Wait()
		close(returned)
	})
	ended := s.await(returned, grace, silence)
	resign()
	lead.Wait()
	silence()
	beats.Wait()
	if !ended {
		s.abandon(returned)
		return
	}
	s.mu.Lock()
	absent := s.isAbsent
	s.mu.Unlock()
	if (absent || ctx.Err() != nil) && !s.end(life) {
		s.log.WarnContext(ctx, "stopped without telling the fleet: the store does not answer, so that others wait for FailoverTime")
		return
	}
	s.log.InfoContext(ctx, "left the fleet")
}

// leave takes nothing more, and has the leader hand off what the worker holds. It
// returns how many leases that are.
func (s *session) leave() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaving = true
	if len(s.slots) > 0 {
		kick(s.fenceNow) // a leader plans for itself at once
	}
	kick(s.planNow)
	return len(s.slots)
}

// await waits for the holds to return: by themselves for as long as grace, then by
// force. A callback that ignores even that for FailoverTime must not keep its shard
// from the fleet: the worker falls silent, and is fenced. It reports whether all
// have returned.
func (s *session) await(returned <-chan struct{}, grace time.Duration, silence func()) bool {
	drain := time.NewTimer(grace)
	defer drain.Stop()
	select {
	case <-returned:
		return true
	case <-s.out:
	case <-drain.C:
		s.cancelAll(ErrDrained)
	}
	stuck := time.NewTimer(s.patience())
	defer stuck.Stop()
	select {
	case <-returned:
		return true
	case <-stuck.C:
		silence() // before anything is told: a logger may hang, too
		return false
	}
}

// patience is for how long the holds, whose contexts are cancelled, are still
// waited for.
func (s *session) patience() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Until(s.ending.Add(s.cfg.FailoverTime))
}

// cancelAll ends all holds, with that cause.
func (s *session) cancelAll(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cancelHolds(cause)
}

// cancelHolds is cancelAll for a caller that holds mu.
func (s *session) cancelHolds(cause error) {
	s.ending = time.Now()
	for _, h := range s.inOrder() {
		h.cancel(cause)
	}
}

// end gives up what was assigned and never taken, and ends the member row:
// nothing is held any more and no take is pending. It reports whether that is
// so; where the store does not answer the row stays, and the fleet fences it in
// time.
func (s *session) end(ctx context.Context) (ended bool) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.FailoverTime)
	defer cancel()
	asking, asked := s.call(ctx)
	rows, err := s.store.Owned(asking, s.me)
	asked()
	if err == nil {
		s.parallel(len(rows), func(i int) { s.giveUp(ctx, rows[i]) })
	}
	s.mu.Lock()
	row := s.member
	s.mu.Unlock()
	for pause := s.retry(s.diceOf("end " + s.me)); ctx.Err() == nil; wait(ctx, pause.delay(), nil) {
		if s.ended(ctx, &row) {
			return true
		}
	}
	return false
}

// ended tries to end the member row, and reports whether there is nothing
// more to do about it.
func (s *session) ended(ctx context.Context, row *Member) bool {
	ctx, cancel := s.call(ctx)
	defer cancel()
	current, err := s.store.SwapMember(ctx, *row, Member{})
	switch {
	case err == nil:
		return true
	case errors.Is(err, ErrConflict):
		*row = current
		return current == Member{} || current.Fenced
	default:
		return false
	}
}

// inOrder returns the slots in the order of their keys, so that a simulation
// takes the same course each time. The caller holds mu.
func (s *session) inOrder() []*held {
	return slices.SortedFunc(maps.Values(s.slots), func(a, b *held) int { return cmp.Compare(a.key, b.key) })
}

// fresh reports whether the worker may begin anything at this moment. The
// caller holds mu.
func (s *session) fresh() bool {
	return !s.isOut && !s.lapsed && time.Now().Before(s.right.expires())
}

// parallel calls f for 0 to n-1, some of them at the same time, and returns
// when all have returned.
func (c *Coordinator) parallel(n int, f func(i int)) { parallel(n, f) }

func parallel(n int, f func(i int)) {
	tokens := make(chan struct{}, concurrency)
	var calls sync.WaitGroup
	for i := range n {
		tokens <- struct{}{}
		calls.Go(func() {
			defer func() { <-tokens }()
			f(i)
		})
	}
	calls.Wait()
}
