package server

import "context"

type deleteResourcePolicyInput struct {
	resourceRef
}

// deleteResourcePolicy takes the policy of a stream or a consumer away.
func (s *Server) deleteResourcePolicy(ctx context.Context, in *deleteResourcePolicyInput) error {
	return s.setPolicy(ctx, in.resourceRef, func(policy *string) error {
		if *policy == "" {
			return notFound("No resource policy found for resource ARN %s", in.ResourceARN)
		}
		*policy = ""
		return nil
	})
}
