package server

import "context"

type describeChannelInput struct {
	channelRef
}

type describeChannelOutput struct{}

// describeChannel finds no channel: see channel.go.
func (s *Server) describeChannel(_ context.Context, in *describeChannelInput) (*describeChannelOutput, error) {
	return nil, in.absent()
}
