package server

import "context"

type removeTagsFromStreamInput struct {
	streamRef
	TagKeys []string `wire:"required,len=1..50,member.len=1..128"`
}

// removeTagsFromStream removes tags of a stream.
func (s *Server) removeTagsFromStream(ctx context.Context, in *removeTagsFromStreamInput) error {
	if err := s.pace(5, "RemoveTagsFromStream"); err != nil {
		return err
	}
	return s.untagStream(ctx, in.streamRef, in.TagKeys)
}
