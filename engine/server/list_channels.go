package server

import "context"

type listChannelsInput struct {
	MaxResults *int   `wire:"range=1..10000"`
	NextToken  string `wire:"len=1..1048576"`
}

type listChannelsOutput struct {
	ChannelSummaries []string
}

// listChannels lists the channels, of which there are none: see channel.go.
func (s *Server) listChannels(_ context.Context, in *listChannelsInput) (*listChannelsOutput, error) {
	if in.NextToken != "" {
		return nil, invalidArgument("NextToken is invalid.") // none was ever given
	}
	return &listChannelsOutput{ChannelSummaries: []string{}}, nil
}
