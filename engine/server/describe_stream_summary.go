package server

import (
	"context"
	"time"
)

type describeStreamSummaryInput struct {
	streamRef
}

type describeStreamSummaryOutput struct {
	StreamDescriptionSummary streamDescriptionSummary
}

type streamDescriptionSummary struct {
	StreamName              string
	StreamARN               string
	StreamStatus            string
	StreamCreationTimestamp time.Time
	RetentionPeriodHours    int
	OpenShardCount          int
	MaxRecordSizeInKiB      int
}

// describeStreamSummary tells what a stream is, without its shards.
func (s *Server) describeStreamSummary(_ context.Context, in *describeStreamSummaryInput) (*describeStreamSummaryOutput, error) {
	st, err := s.stream(in.streamRef)
	if err != nil {
		return nil, err
	}
	d, err := st.Describe()
	if err != nil {
		return nil, err
	}
	return &describeStreamSummaryOutput{streamDescriptionSummary{
		StreamName:              d.Name,
		StreamARN:               s.streamARN(d.Name),
		StreamStatus:            "ACTIVE",
		StreamCreationTimestamp: d.Created,
		RetentionPeriodHours:    int(d.Retention / time.Hour),
		OpenShardCount:          d.OpenShards,
		MaxRecordSizeInKiB:      d.MaxRecordBytes >> 10,
	}}, nil
}
