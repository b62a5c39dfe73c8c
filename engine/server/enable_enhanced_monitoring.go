package server

import (
	"context"
	"slices"
)

type enhancedMonitoringInput struct {
	streamRef
	ShardLevelMetrics []string `wire:"required,len=1..7,member.enum=IncomingBytes|IncomingRecords|OutgoingBytes|OutgoingRecords|WriteProvisionedThroughputExceeded|ReadProvisionedThroughputExceeded|IteratorAgeMilliseconds|ALL"`
}

type enhancedMonitoringOutput struct {
	StreamName               string
	StreamARN                string
	CurrentShardLevelMetrics []string
	DesiredShardLevelMetrics []string
}

// shardMetrics are the metrics of a shard, sorted.
var shardMetrics = []string{
	"IncomingBytes", "IncomingRecords", "IteratorAgeMilliseconds", "OutgoingBytes", "OutgoingRecords",
	"ReadProvisionedThroughputExceeded", "WriteProvisionedThroughputExceeded",
}

// enableEnhancedMonitoring notes metrics as wanted. They are sent nowhere:
// there is no CloudWatch.
func (s *Server) enableEnhancedMonitoring(ctx context.Context, in *enhancedMonitoringInput) (*enhancedMonitoringOutput, error) {
	return s.setMonitoring(ctx, in, func(now, named []string) []string {
		all := slices.Concat(now, named)
		slices.Sort(all)
		return slices.Compact(all)
	})
}

// setMonitoring changes the metrics of an ACTIVE stream.
func (s *Server) setMonitoring(ctx context.Context, in *enhancedMonitoringInput, desired func(now, named []string) []string) (*enhancedMonitoringOutput, error) {
	named := in.ShardLevelMetrics
	if slices.Contains(named, "ALL") {
		named = shardMetrics
	}
	out := &enhancedMonitoringOutput{}
	err := s.update(ctx, in.streamRef, func(_ context.Context, _ *change, v view) error {
		then := desired(v.known.Metrics, named)
		*out = enhancedMonitoringOutput{v.name, s.streamARN(v.name), append([]string{}, v.known.Metrics...), append([]string{}, then...)}
		v.known.Metrics = then
		return nil
	})
	return out, err
}
