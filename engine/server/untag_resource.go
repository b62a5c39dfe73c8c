package server

import "context"

type untagResourceInput struct {
	resourceRef
	TagKeys []string `wire:"required,len=1..50,member.len=1..128"`
}

// untagResource removes tags of a stream or a consumer.
func (s *Server) untagResource(ctx context.Context, in *untagResourceInput) error {
	if err := s.pace(5, "UntagResource"); err != nil {
		return err
	}
	stream, consumer, isConsumer, err := s.resource(in.resourceRef)
	switch {
	case err != nil:
		return err
	case isConsumer:
		return s.untagConsumer(ctx, consumer, in.TagKeys)
	}
	return s.untagStream(ctx, stream, in.TagKeys)
}
