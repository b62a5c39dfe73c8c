package server

import (
	"context"
	"time"

	"github.com/millrace/millrace/engine/server/internal/state"
)

type describeStreamInput struct {
	streamRef
	Limit                 *int   `wire:"range=1..10000"`
	ExclusiveStartShardId string `wire:"len=1..128,pattern=shardId"`
}

type describeStreamOutput struct {
	StreamDescription streamDescription
}

type streamDescription struct {
	StreamName              string
	StreamARN               string
	StreamStatus            state.Status
	StreamModeDetails       streamModeDetails
	Shards                  []shardShape
	HasMoreShards           bool
	RetentionPeriodHours    int
	StreamCreationTimestamp time.Time
	EnhancedMonitoring      []enhancedMetrics
	EncryptionType          string
	KeyId                   string `wire:"omitzero"`
}

// mostDescribed is how many shards one answer has.
const mostDescribed = 100

// describeStream tells what a stream is, and its shards, which it has when it
// is created.
func (s *Server) describeStream(ctx context.Context, in *describeStreamInput) (*describeStreamOutput, error) {
	if err := s.pace(10, "DescribeStream"); err != nil {
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
	out := streamDescription{
		StreamName:              v.name,
		StreamARN:               s.streamARN(v.name),
		StreamStatus:            v.status,
		StreamModeDetails:       v.mode(),
		Shards:                  []shardShape{},
		RetentionPeriodHours:    hours(d.Retention),
		StreamCreationTimestamp: v.created,
		EnhancedMonitoring:      v.monitoring(),
		EncryptionType:          v.encryption(),
		KeyId:                   v.known.KeyID,
	}
	if v.status != state.Creating {
		infos, err := v.ShardInfos(ctx)
		if err != nil {
			return nil, err
		}
		if infos, err = s.after(v, infos, in.ExclusiveStartShardId); err != nil {
			return nil, err
		}
		infos, out.HasMoreShards = cut(infos, in.Limit, mostDescribed)
		out.Shards = shardShapes(infos)
	}
	return &describeStreamOutput{out}, nil
}

// hours is a retention as the API counts it, rounded up: programs may have set
// another one.
func hours(d time.Duration) int { return int((d + time.Hour - 1) / time.Hour) }
