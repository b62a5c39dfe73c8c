package server

import (
	"context"
	"slices"
	"time"

	"github.com/millrace/millrace/engine/server/internal/state"
)

type listStreamsInput struct {
	Limit                    *int   `wire:"range=1..10000"`
	ExclusiveStartStreamName string `wire:"len=1..128,pattern=streamName"`
	NextToken                string `wire:"len=1..1048576"`
}

type listStreamsOutput struct {
	StreamNames     []string
	StreamSummaries []streamSummary
	HasMoreStreams  bool
	NextToken       string `wire:"omitzero"`
}

type streamSummary struct {
	StreamName              string
	StreamARN               string
	StreamStatus            state.Status
	StreamModeDetails       streamModeDetails
	StreamCreationTimestamp time.Time
}

// mostListed is how many streams, or consumers, one answer has.
const mostListed = 100

// listStreams lists the streams, by name.
func (s *Server) listStreams(_ context.Context, in *listStreamsInput) (*listStreamsOutput, error) {
	if err := s.pace(5, "ListStreams"); err != nil {
		return nil, err
	}
	after := in.ExclusiveStartStreamName
	if in.NextToken != "" {
		p, err := s.openPage("ListStreams", in.NextToken)
		if err != nil {
			return nil, err
		}
		after = p.After
	}
	names := s.engine.Streams()
	from, found := slices.BinarySearch(names, after)
	if found {
		from++
	}
	names, more := cut(names[from:], in.Limit, mostListed)
	out := &listStreamsOutput{StreamNames: names, StreamSummaries: []streamSummary{}, HasMoreStreams: more}
	for _, name := range names {
		v, err := s.lookAt(name)
		if err != nil {
			continue // it went just now
		}
		out.StreamSummaries = append(out.StreamSummaries, streamSummary{
			StreamName: name, StreamARN: s.streamARN(name), StreamStatus: v.status, StreamModeDetails: v.mode(), StreamCreationTimestamp: v.created,
		})
	}
	if more {
		out.NextToken = s.nextPage("ListStreams", page{After: names[len(names)-1]})
	}
	return out, nil
}
