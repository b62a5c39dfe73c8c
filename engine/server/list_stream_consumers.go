package server

import (
	"context"
	"time"
)

type listStreamConsumersInput struct {
	StreamARN               string `wire:"required,len=1..2048,pattern=streamARN"`
	NextToken               string `wire:"len=1..1048576"`
	MaxResults              *int   `wire:"range=1..10000"`
	StreamCreationTimestamp *time.Time
	StreamId                string `wire:"len=1..24"`
}

type listStreamConsumersOutput struct {
	Consumers []consumerShape
	NextToken string `wire:"omitzero"`
}

// listStreamConsumers lists the registered consumers of a stream, by name.
func (s *Server) listStreamConsumers(_ context.Context, in *listStreamConsumersInput) (*listStreamConsumersOutput, error) {
	v, p, err := s.consumerPage(in)
	if err != nil {
		return nil, err
	}
	if err := s.pace(5, "ListStreamConsumers", v.name); err != nil {
		return nil, err
	}
	if err := s.settled(v); err != nil {
		return nil, err
	}
	now := time.Now()
	all := []consumerShape{}
	for _, c := range v.known.Consumers {
		if c.Name > p.After && !c.Gone(now) {
			all = append(all, s.consumerShape(v.name, c, now))
		}
	}
	some, more := cut(all, in.MaxResults, mostListed)
	out := &listStreamConsumersOutput{Consumers: some}
	if more {
		p.After = some[len(some)-1].ConsumerName
		out.NextToken = s.nextPage("ListStreamConsumers", p)
	}
	return out, nil
}

// consumerPage finds the stream of a request, and where its list goes on.
func (s *Server) consumerPage(in *listStreamConsumersInput) (view, page, error) {
	if in.NextToken == "" {
		v, err := s.look(streamRef{StreamARN: in.StreamARN})
		if err == nil {
			err = s.madeAt(v, in.StreamCreationTimestamp)
		}
		return v, page{Stream: v.name, Created: v.created.UnixMilli()}, err
	}
	if in.StreamCreationTimestamp != nil {
		return view{}, page{}, invalidArgument("NextToken and StreamCreationTimestamp cannot be provided together.")
	}
	p, err := s.openPage("ListStreamConsumers", in.NextToken)
	if err != nil {
		return view{}, p, err
	}
	if in.StreamARN != s.streamARN(p.Stream) {
		return view{}, p, invalidArgument("NextToken is not of the stream %s.", in.StreamARN)
	}
	v, err := s.samePage(p)
	return v, p, err
}
