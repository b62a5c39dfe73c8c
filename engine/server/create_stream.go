package server

import (
	"context"
	"time"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/engine/server/internal/state"
)

type createStreamInput struct {
	StreamName                 string `wire:"required,len=1..128,pattern=streamName"`
	ShardCount                 *int   `wire:"range=1.."`
	StreamModeDetails          *streamModeDetails
	Tags                       map[string]string `wire:"len=1..200,key.len=1..128,value.len=0..256"`
	WarmThroughputMiBps        *int              `wire:"range=0.."`
	MaxRecordSizeInKiB         *int              `wire:"range=1024..10240"`
	RecordDistributionStrategy string            `wire:"enum=AUTO|USER_PARTITION_KEY"`
}

const (
	// mostShards is the limit of open shards of a stream, the engine's and Amazon's.
	mostShards = 10_000
	// onDemandShards is how many an on-demand stream begins with.
	onDemandShards = 4
	// mostCreating streams, or consumers of a stream, may be CREATING at a time.
	mostCreating = 5
)

// createStream makes a stream.
func (s *Server) createStream(ctx context.Context, in *createStreamInput) error {
	if err := s.pace(5, "CreateStream"); err != nil {
		return err
	}
	if err := s.checkTags(in.Tags); err != nil {
		return err
	}
	cfg := engine.StreamConfig{Tags: in.Tags, Limits: s.config.Limits}
	if in.MaxRecordSizeInKiB != nil {
		cfg.MaxRecordBytes = *in.MaxRecordSizeInKiB << 10
	}
	onDemand := in.StreamModeDetails != nil && in.StreamModeDetails.StreamMode == modeOnDemand
	switch {
	case onDemand:
		cfg.Shards = onDemandShards // a ShardCount is left aside
	case in.ShardCount == nil:
		return validationError("ShardCount must be provided for a stream in PROVISIONED mode.")
	case in.RecordDistributionStrategy == strategyAuto:
		return s.wantsOnDemand(in.StreamName)
	default:
		cfg.Shards = *in.ShardCount
	}
	return s.change(ctx, func(ctx context.Context, c *change) error {
		if _, err := s.engine.Stream(in.StreamName); err == nil {
			return inUse("Stream %s under account %s already exists.", in.StreamName, s.config.Account)
		}
		if n := c.creating(); n >= mostCreating {
			return limitExceeded("Account %s has %d streams in CREATING state already, which is the limit.", s.config.Account, n)
		}
		if err := c.room(cfg.Shards, onDemand); err != nil {
			return err
		}
		if err := s.checkWarmThroughput(c.Account, c.now, onDemand, in.WarmThroughputMiBps); err != nil {
			return err
		}
		known := c.Stream(in.StreamName, 0)
		known.OnDemand, known.AnyShard = onDemand, in.RecordDistributionStrategy == strategyAuto
		if in.WarmThroughputMiBps != nil {
			known.WarmThroughput = int32(*in.WarmThroughputMiBps)
		}
		if s.config.StateDelay > 0 {
			known.Phase.Enter(state.Creating, c.now, s.config.StateDelay)
		}
		return c.create(ctx, in.StreamName, cfg)
	})
}

// create makes a stream of which is known already what it is like.
func (c *change) create(ctx context.Context, name string, cfg engine.StreamConfig) error {
	if err := c.Save(c.now); err != nil {
		return err
	}
	st, err := c.server.engine.CreateStream(ctx, name, cfg)
	if err != nil {
		c.Forget(name)
		c.Save(c.now) // else the next change does it
		return err
	}
	id, err := st.Identity(ctx)
	if err != nil {
		return err
	}
	if known := c.Streams[name]; known != nil {
		c.Stream(name, 0).Created = id.Created.UnixMilli()
	}
	return c.Save(c.now)
}

// creating counts the streams that are CREATING.
func (c *change) creating() (n int) {
	for _, known := range c.Streams {
		if known.Status(c.now) == state.Creating {
			n++
		}
	}
	return n
}

// room refuses what would be beyond the shards of a stream, or of the account.
func (c *change) room(shards int, onDemand bool) error {
	s := c.server
	if shards > mostShards {
		return limitExceeded("A stream of %d shards is too large: it can have at most %d.", shards, mostShards)
	}
	if !s.limited() {
		return nil
	}
	now := s.usage(c.now)
	if onDemand {
		if now.onDemand >= onDemandLimit {
			return limitExceeded("Account %s has %d streams in On-Demand mode already, which is the limit.", s.config.Account, now.onDemand)
		}
		return nil
	}
	return s.shardRoom(now, shards)
}

// shardRoom refuses more shards than the account may have.
func (s *Server) shardRoom(now usage, more int) error {
	if now.shards+more <= shardLimit {
		return nil
	}
	return limitExceeded("This request would exceed the shard limit for the account %s in %s. Current shard count for the account: %d. "+
		"Limit: %d. Number of additional shards that would have resulted from this request: %d. Refer to the AWS Service Limits page "+
		"(http://docs.aws.amazon.com/general/latest/gr/aws_service_limits.html) for current limits and how to request higher limits.",
		s.config.Account, s.config.Region, now.shards, shardLimit, more)
}

// checkWarmThroughput refuses a warm throughput where there cannot be one.
func (s *Server) checkWarmThroughput(a state.Account, now time.Time, onDemand bool, mibps *int) error {
	switch {
	case mibps == nil:
		return nil
	case !onDemand:
		return validationError("WarmThroughputMiBps is for streams in On-Demand mode only.")
	case !a.Committed(now):
		return validationError("WarmThroughputMiBps needs MinimumThroughputBillingCommitment to be ENABLED: use UpdateAccountSettings.")
	case *mibps > mostWarmThroughput:
		return limitExceeded("WarmThroughputMiBps is %d, and can be at most %d.", *mibps, mostWarmThroughput)
	}
	return nil
}

// mostWarmThroughput is 10 GiB/s.
const mostWarmThroughput = 10 << 10
