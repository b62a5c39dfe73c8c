package server

import "context"

type updateChannelInput struct {
	channelRef
}

type updateChannelOutput struct{}

// updateChannel finds no channel: see channel.go.
func (s *Server) updateChannel(_ context.Context, in *updateChannelInput) (*updateChannelOutput, error) {
	return nil, in.absent()
}
