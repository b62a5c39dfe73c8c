package server

import "context"

type createChannelInput struct {
	ChannelName string `wire:"required,len=1..128,pattern=streamName"`
}

type createChannelOutput struct{}

// createChannel refuses: see channel.go.
func (s *Server) createChannel(_ context.Context, in *createChannelInput) (*createChannelOutput, error) {
	return nil, validationError("Channel %s cannot be created: channels deliver to services of Amazon's, which this server does not reach.", in.ChannelName)
}
