package server

import (
	"context"
	"time"

	"github.com/millrace/millrace/engine/server/internal/state"
)

type describeLimitsInput struct{}

type describeLimitsOutput struct {
	ShardLimit               int
	OpenShardCount           int
	OnDemandStreamCount      int
	OnDemandStreamCountLimit int
	ChannelCount             int
	ChannelCountLimit        int
}

// The limits of an account in Amazon's largest region. They are told always,
// and kept with [engine.KinesisLimits].
const (
	shardLimit    = 20_000
	onDemandLimit = 50
)

// describeLimits tells what an account may have, and has.
func (s *Server) describeLimits(context.Context, *describeLimitsInput) (*describeLimitsOutput, error) {
	if err := s.pace(1, "DescribeLimits"); err != nil {
		return nil, err
	}
	now := s.usage(time.Now())
	return &describeLimitsOutput{
		ShardLimit: shardLimit, OpenShardCount: now.shards,
		OnDemandStreamCount: now.onDemand, OnDemandStreamCountLimit: onDemandLimit,
	}, nil
}

// usage is what an account has: open shards of provisioned streams, and
// on-demand streams.
type usage struct{ shards, onDemand int }

func (s *Server) usage(now time.Time) (u usage) {
	for _, name := range s.engine.Streams() {
		v, err := s.lookAt(name)
		switch {
		case err != nil: // it went just now
		case v.known.OnDemand:
			u.onDemand++
		case v.known.Status(now) != state.Deleting:
			if d, err := v.Describe(); err == nil {
				u.shards += d.OpenShards
			}
		}
	}
	return u
}
