package server

import (
	"context"
	"crypto/tls"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/engine/server/internal/state"
)

// Server is an engine's face to the network, an http.Handler. All methods may
// be called at the same time.
type Server struct {
	engine     *engine.Engine
	config     Config
	operations map[string]operation
	state      *state.Store
	rates      rates
	pushes     subscriptions
	reaper     *reaper
	budget     budget
	requests   atomic.Int64 // under way
	grievances grievances
	// certificate is for TLS: given, kept, or made when it is first asked for.
	certificate func() (*tls.Certificate, error)
}

// New makes a server of an engine, which stays the caller's to close, after the
// server. There should be one server of an engine at a time. What the API knows of
// streams and the engine does not keep is in a file of its own in the engine's
// directory, or in memory when the engine is.
func New(e *engine.Engine, cfg Config) (*Server, error) {
	if e == nil {
		return nil, errors.New("the engine is nil: open one with engine.Open")
	}
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	st, err := openState(e.Dir())
	if err != nil {
		return nil, err
	}
	s := &Server{engine: e, config: cfg, operations: operations(), state: st, budget: newBudget(cfg.MaxRequestMemory)}
	s.certificate = sync.OnceValues(s.findCertificate)
	if err := s.shorten(context.Background()); err != nil {
		return nil, err
	}
	s.reaper = startReaper(s)
	return s, nil
}

func openState(dir string) (*state.Store, error) {
	if dir == "" {
		return state.OpenMemory()
	}
	return state.OpenDir(dir)
}

// Drain ends all subscriptions, in good order, and refuses new ones: they last
// for minutes, for which http.Server.Shutdown would wait. Give it to the server's
// RegisterOnShutdown. Other requests are served as before.
func (s *Server) Drain() { s.pushes.close() }

// Close ends what the server does on its own. Requests should have ended before;
// http.Server.Shutdown waits for them. It may be called twice.
func (s *Server) Close() error {
	s.Drain()
	s.reaper.close()
	return nil
}
