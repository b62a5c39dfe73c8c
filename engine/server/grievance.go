package server

import (
	"sync"
	"time"
)

// grievances are failures that were told of. Clients try again and again, be it a
// damaged record at each poll or a full disk for each record that is put: one line a
// minute is enough for each. The zero value works.
type grievances struct {
	mu   sync.Mutex
	told map[string]time.Time
}

const (
	tellEach = time.Minute
	// mostTold bounds what is kept of different ones.
	mostTold = 256
)

// news reports whether a failure is worth a line, and notes that it has one.
func (g *grievances) news(failure string, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if at, ok := g.told[failure]; ok && now.Sub(at) < tellEach {
		return false
	}
	if g.told == nil || len(g.told) >= mostTold {
		g.told = map[string]time.Time{}
	}
	g.told[failure] = now
	return true
}

// warn logs what somebody may want to change, unless that was done just now.
func (s *Server) warn(what string, attrs ...any) {
	if s.grievances.news(what, time.Now()) {
		s.config.Logger.Warn(what, attrs...)
	}
}

// tell logs a failure, unless that was done just now.
func (s *Server) tell(what string, err error, attrs ...any) {
	if s.grievances.news(what+": "+err.Error(), time.Now()) {
		s.config.Logger.Error(what, append(attrs, "err", err)...)
	}
}
