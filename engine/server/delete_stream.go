package server

import (
	"context"

	"github.com/millrace/millrace/engine/server/internal/state"
)

type deleteStreamInput struct {
	streamRef
	EnforceConsumerDeletion bool
}

// deleteStream deletes a stream with all its records, in whatever status it
// is. Until it is gone it can be read and written.
func (s *Server) deleteStream(ctx context.Context, in *deleteStreamInput) error {
	if err := s.pace(5, "DeleteStream"); err != nil {
		return err
	}
	return s.change(ctx, func(ctx context.Context, c *change) error {
		v, err := c.look(in.streamRef)
		if err != nil || v.status == state.Deleting {
			return err
		}
		if n := v.known.ConsumerCount(c.now); n > 0 && !in.EnforceConsumerDeletion {
			return inUse("Stream %s under account %s has %d registered consumers: deregister them, or set EnforceConsumerDeletion.",
				v.name, s.config.Account, n)
		}
		if s.config.StateDelay == 0 {
			return c.delete(ctx, v)
		}
		v.known.Phase.Enter(state.Deleting, c.now, s.config.StateDelay)
		if err := c.Save(c.now); err != nil {
			return err
		}
		s.reaper.kick()
		return nil
	})
}
