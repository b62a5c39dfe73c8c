package server

import (
	"context"
	"time"

	"github.com/millrace/millrace/engine/server/internal/state"
)

type describeStreamSummaryInput struct {
	streamRef
}

type describeStreamSummaryOutput struct {
	StreamDescriptionSummary streamDescriptionSummary
}

type streamDescriptionSummary struct {
	StreamName                 string
	StreamARN                  string
	StreamStatus               state.Status
	StreamModeDetails          streamModeDetails
	StreamCreationTimestamp    time.Time
	RetentionPeriodHours       int
	OpenShardCount             int
	ConsumerCount              int
	ChannelCount               int
	EnhancedMonitoring         []enhancedMetrics
	EncryptionType             string
	KeyId                      string `wire:"omitzero"`
	WarmThroughput             *warmThroughput
	MaxRecordSizeInKiB         int
	RecordDistributionStrategy string `wire:"omitzero"`
}

// describeStreamSummary tells what a stream is, without its shards.
func (s *Server) describeStreamSummary(_ context.Context, in *describeStreamSummaryInput) (*describeStreamSummaryOutput, error) {
	if err := s.pace(20, "DescribeStreamSummary"); err != nil {
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
	out := streamDescriptionSummary{
		StreamName:                 v.name,
		StreamARN:                  s.streamARN(v.name),
		StreamStatus:               v.status,
		StreamModeDetails:          v.mode(),
		StreamCreationTimestamp:    v.created,
		RetentionPeriodHours:       hours(d.Retention),
		OpenShardCount:             d.OpenShards,
		ConsumerCount:              v.known.ConsumerCount(time.Now()),
		EnhancedMonitoring:         v.monitoring(),
		EncryptionType:             v.encryption(),
		KeyId:                      v.known.KeyID,
		WarmThroughput:             v.warmThroughput(),
		MaxRecordSizeInKiB:         d.MaxRecordBytes >> 10,
		RecordDistributionStrategy: v.strategy(),
	}
	if v.status == state.Creating {
		out.OpenShardCount = 0
	}
	return &describeStreamSummaryOutput{out}, nil
}
