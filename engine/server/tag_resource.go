package server

import "context"

type tagResourceInput struct {
	resourceRef
	Tags map[string]string `wire:"required,len=1..200,key.len=1..128,value.len=0..256"`
}

// tagResource adds tags to a stream or a consumer, in place of those of the
// same keys.
func (s *Server) tagResource(ctx context.Context, in *tagResourceInput) error {
	if err := s.pace(5, "TagResource"); err != nil {
		return err
	}
	stream, consumer, isConsumer, err := s.resource(in.resourceRef)
	switch {
	case err != nil:
		return err
	case isConsumer:
		return s.tagConsumer(ctx, consumer, in.Tags)
	}
	return s.tagStream(ctx, stream, in.Tags)
}
