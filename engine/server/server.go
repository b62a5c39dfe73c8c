package server

import (
	"errors"

	"github.com/millrace/millrace/engine"
)

// Server is an engine's face to the network, an http.Handler. All methods may
// be called at the same time.
type Server struct {
	engine     *engine.Engine
	config     Config
	operations map[string]operation
}

// New makes a server of an engine, which stays the caller's to close, after the
// server.
func New(e *engine.Engine, cfg Config) (*Server, error) {
	if e == nil {
		return nil, errors.New("the engine is nil: open one with engine.Open")
	}
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	return &Server{engine: e, config: cfg, operations: operations()}, nil
}

// Close ends what the server does on its own. Requests should have ended before;
// http.Server.Shutdown waits for them. It may be called twice.
func (s *Server) Close() error { return nil }
