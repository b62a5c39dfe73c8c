package server

import (
	"context"
	"encoding/json"

	"github.com/millrace/millrace/engine/server/internal/state"
)

type putResourcePolicyInput struct {
	resourceRef
	Policy string `wire:"required"`
}

// mostPolicy is how many bytes a policy may have.
const mostPolicy = 20 << 10

// putResourcePolicy notes who may do what with a stream or a consumer. Nobody
// is kept from anything by it: there is no IAM.
func (s *Server) putResourcePolicy(ctx context.Context, in *putResourcePolicyInput) error {
	if len(in.Policy) > mostPolicy {
		return invalidArgument("The policy has %d bytes, and can have at most %d.", len(in.Policy), mostPolicy)
	}
	var document map[string]json.RawMessage
	if json.Unmarshal([]byte(in.Policy), &document) != nil || document == nil {
		return invalidArgument("The policy is not a JSON object.")
	}
	return s.setPolicy(ctx, in.resourceRef, func(policy *string) error {
		*policy = in.Policy
		return nil
	})
}

// setPolicy changes the policy of an ACTIVE stream or consumer.
func (s *Server) setPolicy(ctx context.Context, ref resourceRef, f func(policy *string) error) error {
	stream, consumer, isConsumer, err := s.resource(ref)
	if err != nil {
		return err
	}
	if isConsumer {
		return s.changeConsumer(ctx, consumer, func(c consumerView) error { return f(&c.Policy) })
	}
	return s.change(ctx, func(_ context.Context, c *change) error {
		v, err := c.look(stream)
		if err != nil {
			return err
		}
		if v.status != state.Updating {
			if err := s.active(v); err != nil {
				return err
			}
		}
		if err := f(&v.known.Policy); err != nil {
			return err
		}
		return c.Save(c.now)
	})
}
