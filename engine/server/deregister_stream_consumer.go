package server

import (
	"context"

	"github.com/millrace/millrace/engine/server/internal/state"
)

type deregisterStreamConsumerInput struct {
	consumerRef
}

// deregisterStreamConsumer takes a consumer away.
func (s *Server) deregisterStreamConsumer(ctx context.Context, in *deregisterStreamConsumerInput) error {
	return s.change(ctx, func(_ context.Context, c *change) error {
		one, err := c.consumer(in.consumerRef)
		if err != nil {
			return err
		}
		if err := s.pace(5, "DeregisterStreamConsumer", one.of.name); err != nil {
			return err
		}
		if one.status == state.Deleting {
			return nil
		}
		one.Phase.Enter(state.Deleting, c.now, s.config.StateDelay)
		return c.Save(c.now)
	})
}
