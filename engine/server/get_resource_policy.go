package server

import (
	"cmp"
	"context"
)

type getResourcePolicyInput struct {
	resourceRef
}

type getResourcePolicyOutput struct {
	Policy string
}

// getResourcePolicy returns the policy of a stream or a consumer; {} where
// there is none.
func (s *Server) getResourcePolicy(_ context.Context, in *getResourcePolicyInput) (*getResourcePolicyOutput, error) {
	stream, consumer, isConsumer, err := s.resource(in.resourceRef)
	if err != nil {
		return nil, err
	}
	if isConsumer {
		c, err := s.consumer(consumer)
		if err != nil {
			return nil, err
		}
		return &getResourcePolicyOutput{cmp.Or(c.Policy, "{}")}, nil
	}
	v, err := s.look(stream)
	if err != nil {
		return nil, err
	}
	return &getResourcePolicyOutput{cmp.Or(v.known.Policy, "{}")}, nil
}
