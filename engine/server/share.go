package server

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"sync/atomic"
	"time"
)

// share is what one request holds of an admission. Its memory is needed for as
// long as the client sends a body, or takes an answer, and most clients may take
// their time for that (see patience). Not while others wait: then those that are
// slower than hurryRate are cut off, the slowest first, and no more of them than
// those in line need. A share is used by one goroutine.
type share struct {
	of   *admission
	held int

	// moved is how many bytes the client has sent, or taken, since began.
	moved atomic.Int64
	began time.Time

	// What the admission's lock guards: where the share is among those that move,
	// counted from 1, and the end of being cut off, nil while it is not.
	at  int
	cut chan struct{}
	// Where to cut: what is sent, or what is taken.
	w       http.ResponseWriter
	sending bool
}

const (
	// hurryEach is how often the next in line looks for clients that are too slow.
	hurryEach = 250 * time.Millisecond
	// hurryRate is what is asked of clients while others wait, in bytes a second, and
	// hurryGrace from when on.
	hurryRate  = 1 << 20
	hurryGrace = 2 * time.Second
)

// take waits for n bytes, see [admission.enter]; more than there are in all are not
// asked for.
func (s *share) take(ctx context.Context, of *admission, n int, atMost time.Duration) error {
	n = min(n, of.limit)
	if err := of.enter(ctx, n, atMost); err != nil {
		return err
	}
	s.of, s.held = of, n
	return nil
}

// resize holds n bytes in place of those that were taken, if any: what it turns out
// to be. It does not wait.
func (s *share) resize(n int) {
	if s.held > 0 && s.held != n {
		s.of.leave(s.held - n)
		s.held = n
	}
}

// release gives back what is held, if anything is.
func (s *share) release() {
	if s.held > 0 {
		s.of.leave(s.held)
		s.held = 0
	}
}

// move says that the client is now sending, or else taking, what is held, over w,
// whose deadlines are set. Until rest the share may be cut off.
func (s *share) move(w http.ResponseWriter, sending bool) {
	if s.held == 0 {
		return
	}
	if s.began.IsZero() || s.sending != sending {
		s.began = time.Now()
		s.moved.Store(0)
	}
	a := s.of
	a.mu.Lock()
	defer a.mu.Unlock()
	s.w, s.sending = w, sending
	a.moving = append(a.moving, s)
	s.at = len(a.moving)
}

// rest ends what move began, and reports whether the client was cut off meanwhile.
func (s *share) rest() (cutOff bool) {
	if s.held == 0 {
		return false
	}
	a := s.of
	a.mu.Lock()
	a.stillLocked(s)
	cut := s.cut
	a.mu.Unlock()
	if cut == nil {
		return false
	}
	<-cut // until then w is still in use
	return true
}

// stillLocked takes a share out of those that move, if it is among them.
func (a *admission) stillLocked(s *share) {
	if s.at == 0 {
		return
	}
	last := len(a.moving) - 1
	a.moving[s.at-1] = a.moving[last]
	a.moving[s.at-1].at = s.at
	a.moving[last] = nil
	a.moving = a.moving[:last]
	s.at = 0
}

// hurry makes room for all in line, if v is the first of them: one is to look.
func (a *admission) hurry(v *visitor) {
	a.mu.Lock()
	var slow []*share
	if len(a.waiting) > 0 && a.waiting[0] == v {
		lack := -a.free
		for _, waits := range a.waiting {
			lack += waits.need
		}
		slow = a.slowestLocked(lack, time.Now())
	}
	for _, s := range slow {
		a.stillLocked(s)
		s.cut = make(chan struct{})
	}
	a.mu.Unlock()
	for _, s := range slow {
		s.cutOff()
		close(s.cut)
	}
}

// slowestLocked returns the slowest of those that are too slow, so many that they
// hold n bytes, if there are.
func (a *admission) slowestLocked(n int, now time.Time) []*share {
	type runner struct {
		*share
		pace float64 // bytes a second
	}
	var slow []runner
	for _, s := range a.moving {
		age := now.Sub(s.began)
		if pace := float64(s.moved.Load()) / age.Seconds(); age >= hurryGrace && pace < hurryRate {
			slow = append(slow, runner{s, pace})
		}
	}
	slices.SortFunc(slow, func(a, b runner) int { return cmp.Compare(a.pace, b.pace) })
	var out []*share
	for _, s := range slow {
		if n <= 0 {
			break
		}
		out = append(out, s.share)
		n -= s.held
	}
	return out
}

// tellSlow tells of a client that was cut off.
func (s *Server) tellSlow(r *http.Request) {
	s.warn("clients are cut off that are slow while others wait for memory: see Config.MaxRequestMemory, --request-memory", "remote", r.RemoteAddr)
}

// cutOff ends what the client sends, or takes: by a time that is over.
func (s *share) cutOff() {
	control, over := http.NewResponseController(s.w), time.Now().Add(-time.Second)
	if s.sending {
		control.SetReadDeadline(over)
	} else {
		control.SetWriteDeadline(over)
	}
}
