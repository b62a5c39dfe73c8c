package server

import "context"

type listTagsForResourceInput struct {
	resourceRef
}

type listTagsForResourceOutput struct {
	Tags []tag
}

// listTagsForResource lists the tags of a stream or a consumer, by their keys.
func (s *Server) listTagsForResource(_ context.Context, in *listTagsForResourceInput) (*listTagsForResourceOutput, error) {
	if err := s.pace(5, "ListTagsForResource"); err != nil {
		return nil, err
	}
	stream, consumer, isConsumer, err := s.resource(in.resourceRef)
	if err != nil {
		return nil, err
	}
	if isConsumer {
		c, err := s.consumer(consumer)
		if err != nil {
			return nil, err
		}
		return &listTagsForResourceOutput{tagShapes(c.Tags)}, nil
	}
	v, err := s.look(stream)
	if err != nil {
		return nil, err
	}
	d, err := v.Describe()
	if err != nil {
		return nil, err
	}
	return &listTagsForResourceOutput{tagShapes(d.Tags)}, nil
}
