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
		if v.known.ConsumerCount(c.now) > 0 && !in.EnforceConsumerDeletion {
			return inUse("DeleteStream can't delete %[1]s:%[2]s because there are consumers associated with this data stream. To delete %[2]s anyway, "+
				"set the EnforceConsumerDeletion parameter to true to force the deletion of all the consumers that are associated with it.",
				s.config.Account, v.name)
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
