package server

import "context"

type deleteChannelInput struct {
	channelRef
}

// deleteChannel finds no channel: see channel.go.
func (s *Server) deleteChannel(_ context.Context, in *deleteChannelInput) error {
	return in.absent()
}
