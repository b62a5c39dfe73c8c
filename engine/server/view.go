package server

import (
	"context"
	"errors"
	"time"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/engine/server/internal/state"
	"github.com/millrace/millrace/stream"
)

// view is a stream as one request sees it: what the engine has of it, and what
// is known beside.
type view struct {
	*engine.Stream
	name    string
	created time.Time
	// known is never nil. It is changed only by who has it from a [change].
	known  *state.Stream
	status state.Status
}

// nothing is what is known of a stream of which nothing is.
var nothing = &state.Stream{}

// look finds the stream that is meant, in whatever status it is.
func (s *Server) look(ref streamRef) (view, error) {
	name, err := s.streamName(ref)
	if err != nil {
		return view{}, err
	}
	return s.lookAt(name)
}

// lookAt finds a stream by its name.
func (s *Server) lookAt(name string) (view, error) {
	v, err := s.find(name)
	if err != nil {
		return view{}, err
	}
	v.known = nothing
	// What has no time of creation yet is said of a stream that is just being made.
	if known := s.state.Load().Streams[name]; known != nil && (known.Created == v.created.UnixMilli() || known.Created == 0) {
		v.known = known
	}
	v.status = v.known.Status(time.Now())
	return v, nil
}

// find returns the engine's part of a view.
func (s *Server) find(name string) (view, error) {
	st, err := s.engine.Stream(name)
	if err != nil {
		return view{}, s.noStream(name)
	}
	id, err := st.Identity(context.Background())
	if errors.Is(err, stream.ErrStreamNotFound) {
		err = s.noStream(name)
	}
	return view{Stream: st, name: name, created: id.Created}, err
}

func (s *Server) noStream(name string) error {
	return notFound("Stream %s under account %s not found.", name, s.config.Account)
}

// ready finds the stream that is meant, for records: while it is CREATING it
// takes and has none. While it is DELETING it still does.
func (s *Server) ready(ref streamRef) (view, error) {
	v, err := s.look(ref)
	if err == nil && v.status == state.Creating {
		return view{}, s.noStream(v.name)
	}
	return v, err
}

// active returns why what wants an ACTIVE stream cannot be done now, or nil.
func (s *Server) active(v view) error {
	if v.status == state.Active {
		return nil
	}
	return inUse("Stream %s under account %s not ACTIVE, instead in state %s", v.name, s.config.Account, v.status)
}
