package server

import "context"

type listTagsForStreamInput struct {
	streamRef
	ExclusiveStartTagKey string `wire:"len=1..128"`
	Limit                *int   `wire:"range=1..50"`
}

type listTagsForStreamOutput struct {
	Tags        []tag
	HasMoreTags bool
}

// listTagsForStream lists the tags of a stream, by their keys.
func (s *Server) listTagsForStream(_ context.Context, in *listTagsForStreamInput) (*listTagsForStreamOutput, error) {
	if err := s.pace(5, "ListTagsForStream"); err != nil {
		return nil, err
	}
	v, err := s.look(in.streamRef)
	if err != nil {
		return nil, err
	}
	d, err := v.Describe()
	if err != nil {
		return nil, err
	}
	tags := tagShapes(d.Tags)
	for len(tags) > 0 && tags[0].Key <= in.ExclusiveStartTagKey {
		tags = tags[1:]
	}
	out := &listTagsForStreamOutput{}
	out.Tags, out.HasMoreTags = cut(tags, in.Limit, mostTags)
	return out, nil
}
