package server

import (
	"context"
	"errors"
	"time"

	"github.com/millrace/millrace/engine/server/internal/state"
	"github.com/millrace/millrace/stream"
)

// change is one change of what the server knows, in the hands of the one who
// may change something now.
//
//	wait for the turn ─► look: is it ACTIVE? ─► change the engine ─► save what is known
//
// The engine comes first: what it refuses needs no undoing. Only a new stream is
// announced before it is made, so that a crash in between leaves no stream that
// has forgotten its mode.
type change struct {
	*state.Draft
	server *Server
	now    time.Time
}

// change waits for the turn and calls f. The context that f gets does not end
// with the request: nothing stays half done because a client went away.
func (s *Server) change(ctx context.Context, f func(context.Context, *change) error) error {
	d, err := s.state.Begin(ctx)
	if err != nil {
		return err
	}
	defer d.End()
	c := &change{d, s, time.Now()}
	if err := d.Prune(c.now, s.created); err != nil {
		return err
	}
	return f(context.WithoutCancel(ctx), c)
}

// created returns when the stream of a name was made. An engine that is being
// closed has an error, and not no streams.
func (s *Server) created(name string) (ms int64, ok bool, err error) {
	st, err := s.engine.Stream(name)
	if err == nil {
		var id stream.Identity
		if id, err = st.Identity(context.Background()); err == nil {
			return id.Created.UnixMilli(), true, nil
		}
	}
	if errors.Is(err, stream.ErrStreamNotFound) {
		err = nil
	}
	return 0, false, err
}

// look finds the stream that is meant; what is known of it may be changed, and
// is kept by [state.Draft.Save].
func (c *change) look(ref streamRef) (view, error) {
	name, err := c.server.streamName(ref)
	if err != nil {
		return view{}, err
	}
	v, err := c.server.find(name)
	if err != nil {
		return view{}, err
	}
	v.known = c.Stream(name, v.created.UnixMilli())
	v.status = v.known.Status(c.now)
	return v, nil
}

// active finds the stream that is meant, and refuses one that is not ACTIVE.
func (c *change) active(ref streamRef) (view, error) {
	v, err := c.look(ref)
	if err == nil {
		err = c.server.active(v)
	}
	return v, err
}

// update changes an ACTIVE stream by f, and lets it be UPDATING for the time
// that such changes take.
func (s *Server) update(ctx context.Context, ref streamRef, f func(context.Context, *change, view) error) error {
	return s.change(ctx, func(ctx context.Context, c *change) error {
		v, err := c.active(ref)
		if err != nil {
			return err
		}
		if err := f(ctx, c, v); err != nil {
			return err
		}
		if s.config.StateDelay > 0 {
			v.known.Phase.Enter(state.Updating, c.now, s.config.StateDelay)
		}
		return c.Save(c.now)
	})
}

// count notes one more change of a kind of which a stream has so many in 24
// hours; false when it has had them. Nothing is counted without limits.
func (c *change) count(times *[]int64, most int) bool {
	if !c.server.limited() {
		*times = nil
		return true
	}
	since := c.now.Add(-24 * time.Hour).UnixMilli()
	var recent []int64
	for _, at := range *times {
		if at > since {
			recent = append(recent, at)
		}
	}
	*times = recent
	if len(recent) >= most {
		return false
	}
	*times = append(recent, c.now.UnixMilli())
	return true
}
