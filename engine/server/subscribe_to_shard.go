package server

import (
	"time"

	"github.com/millrace/millrace/engine/server/internal/state"
)

type subscribeToShardInput struct {
	ConsumerARN      string            `wire:"required,len=1..2048,pattern=consumerARN"`
	ShardId          string            `wire:"required,len=1..128,pattern=shardId"`
	StartingPosition *startingPosition `wire:"required"`
	StreamId         string            `wire:"len=1..24"`
	DryRun           bool
}

type startingPosition struct {
	Type           string `wire:"required,enum=AFTER_SEQUENCE_NUMBER|TRIM_HORIZON|LATEST|AT_TIMESTAMP|AT_SEQUENCE_NUMBER"`
	SequenceNumber string `wire:"pattern=sequenceNumber"`
	Timestamp      *time.Time
}

// subscribeToShard pushes records to a consumer for five minutes. What it refuses
// at once is an answer like others; what happens later is an exception in the
// event stream.
func (s *Server) subscribeToShard(c *call, in *subscribeToShardInput) error {
	consumer, err := s.activeConsumer(in.ConsumerARN)
	if err != nil {
		return err
	}
	shard, err := s.shard(c.ctx, consumer.of, in.ShardId)
	if err != nil {
		return err
	}
	at := in.StartingPosition
	from, err := s.position(c.ctx, "SubscribeToShard", consumer.of, &shard, place{at.Type, at.SequenceNumber, at.Timestamp})
	if err != nil {
		return err
	}
	if in.DryRun {
		return wouldSucceed()
	}
	ctx, sub, err := s.pushes.begin(c.ctx, target{consumer.arn, shard.ID}, s.limited())
	if err != nil {
		return err
	}
	defer s.pushes.finish(sub)
	p := push{server: s, call: c, consumer: consumer, shard: shard.ID, from: from}
	p.serve(ctx)
	return nil
}

// activeConsumer finds a consumer that may subscribe.
func (s *Server) activeConsumer(arn string) (consumerView, error) {
	consumer, err := s.consumerByARN(arn)
	if err == nil && consumer.status != state.Active {
		err = inUse("Consumer %s with creation timestamp %d under stream: %s, account %s is not in ACTIVE status.",
			consumer.Name, consumer.Created/1000, consumer.of.name, s.config.Account)
	}
	return consumer, err
}
