package server

import (
	"context"

	"github.com/millrace/millrace/engine/server/internal/state"
)

type registerStreamConsumerInput struct {
	StreamARN    string            `wire:"required,len=1..2048,pattern=streamARN"`
	ConsumerName string            `wire:"required,len=1..128,pattern=streamName"`
	StreamId     string            `wire:"len=1..24"`
	Tags         map[string]string `wire:"len=1..200,key.len=1..128,value.len=0..256"`
}

type registerStreamConsumerOutput struct {
	Consumer consumerShape
}

// How many consumers a stream may have; with the advantage when it is on-demand
// and the account has committed itself to a minimum.
const (
	mostConsumers          = 20
	mostConsumersAdvantage = 50
)

// registerStreamConsumer registers a consumer, which can then subscribe.
func (s *Server) registerStreamConsumer(ctx context.Context, in *registerStreamConsumerInput) (*registerStreamConsumerOutput, error) {
	if err := s.pace(5, "RegisterStreamConsumer"); err != nil {
		return nil, err
	}
	if err := s.checkTags(in.Tags); err != nil {
		return nil, err
	}
	var out registerStreamConsumerOutput
	err := s.change(ctx, func(_ context.Context, c *change) error {
		v, err := c.look(streamRef{StreamARN: in.StreamARN})
		if err != nil {
			return err
		}
		if err := s.settled(v); err != nil {
			return err
		}
		if err := c.consumerRoom(v, in.ConsumerName); err != nil {
			return err
		}
		one := v.known.Register(in.ConsumerName, c.now)
		one.Tags = in.Tags
		if s.config.StateDelay > 0 {
			one.Phase.Enter(state.Creating, c.now, s.config.StateDelay)
		}
		out.Consumer = s.consumerShape(v.name, one, c.now)
		return c.Save(c.now)
	})
	return &out, err
}

// consumerRoom refuses one consumer too many, and one that is there.
func (c *change) consumerRoom(v view, name string) error {
	s := c.server
	if old := v.known.Consumer(name, c.now); old != nil {
		return inUse("Consumer %s under stream %s under account %s already exists, with status %s.", name, v.name, s.config.Account, old.Status(c.now))
	}
	most := mostConsumers
	if v.known.OnDemand && c.Account.Committed(c.now) {
		most = mostConsumersAdvantage
	}
	if n := v.known.ConsumerCount(c.now); n >= most {
		return limitExceeded("Stream %s under account %s has %d registered consumers already, which is the limit.", v.name, s.config.Account, n)
	}
	creating := 0
	for _, one := range v.known.Consumers {
		if one.Status(c.now) == state.Creating {
			creating++
		}
	}
	if creating >= mostCreating {
		return limitExceeded("Stream %s under account %s has %d consumers in CREATING status already, which is the limit.", v.name, s.config.Account, creating)
	}
	return nil
}
