package server

import (
	"context"
	"time"
)

type describeStreamConsumerInput struct {
	consumerRef
}

type describeStreamConsumerOutput struct {
	ConsumerDescription consumerDescription
}

type consumerDescription struct {
	consumerShape
	StreamARN string
}

// describeStreamConsumer tells of a registered consumer.
func (s *Server) describeStreamConsumer(_ context.Context, in *describeStreamConsumerInput) (*describeStreamConsumerOutput, error) {
	c, err := s.consumer(in.consumerRef)
	if err != nil {
		return nil, err
	}
	if err := s.pace(20, "DescribeStreamConsumer", c.of.name); err != nil {
		return nil, err
	}
	return &describeStreamConsumerOutput{consumerDescription{
		s.consumerShape(c.of.name, c.Consumer, time.Now()), s.streamARN(c.of.name),
	}}, nil
}
