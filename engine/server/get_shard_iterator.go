package server

import (
	"context"
	"time"
)

type getShardIteratorInput struct {
	streamRef
	ShardId                string `wire:"required,len=1..128,pattern=shardId"`
	ShardIteratorType      string `wire:"required,enum=AFTER_SEQUENCE_NUMBER|TRIM_HORIZON|LATEST|AT_TIMESTAMP|AT_SEQUENCE_NUMBER"`
	StartingSequenceNumber string `wire:"pattern=sequenceNumber"`
	Timestamp              *time.Time
	DryRun                 bool
}

type getShardIteratorOutput struct {
	ShardIterator string
}

// Each shard answers that often in a second.
const iteratorsPerSecond = 5

// getShardIterator gives a place to read from.
func (s *Server) getShardIterator(ctx context.Context, in *getShardIteratorInput) (*getShardIteratorOutput, error) {
	v, err := s.ready(in.streamRef)
	if err != nil {
		return nil, err
	}
	shard, err := s.shard(ctx, v, in.ShardId)
	if err != nil {
		return nil, err
	}
	from, err := s.position(ctx, "GetShardIterator", v, &shard, place{in.ShardIteratorType, in.StartingSequenceNumber, in.Timestamp})
	if err != nil {
		return nil, err
	}
	if in.DryRun {
		return nil, wouldSucceed()
	}
	if s.limited() && !s.rates.take(iteratorsPerSecond, "GetShardIterator "+v.name+" "+shard.ID, time.Now()) {
		return nil, s.rateExceeded(v.name, shard.ID)
	}
	return &getShardIteratorOutput{s.issue(v, shard.ID, from)}, nil
}

// wouldSucceed is the answer to a request that was to be tried only.
func wouldSucceed() error {
	return dryRun("Request would have succeeded, but DryRun flag is set.")
}

// rateExceeded says that a shard has had as much as it may.
func (s *Server) rateExceeded(stream, shard string) error {
	return throttled("%s", s.rateText(stream, shard))
}

func (s *Server) rateText(stream, shard string) string {
	return "Rate exceeded for shard " + shard + " in stream " + stream + " under account " + s.config.Account + "."
}
