package server

import "context"

type addTagsToStreamInput struct {
	streamRef
	Tags map[string]string `wire:"required,len=1..200,key.len=1..128,value.len=0..256"`
}

// addTagsToStream adds tags to a stream, in place of those of the same keys.
func (s *Server) addTagsToStream(ctx context.Context, in *addTagsToStreamInput) error {
	if err := s.pace(5, "AddTagsToStream"); err != nil {
		return err
	}
	return s.tagStream(ctx, in.streamRef, in.Tags)
}
