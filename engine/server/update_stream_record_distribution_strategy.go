package server

import "context"

type updateStreamRecordDistributionStrategyInput struct {
	StreamARN                  string `wire:"required,len=1..2048,pattern=streamARN"`
	StreamId                   string `wire:"len=1..24"`
	RecordDistributionStrategy string `wire:"required,enum=AUTO|USER_PARTITION_KEY"`
}

// updateStreamRecordDistributionStrategy says whether records go where their
// keys send them, or to any shard. It takes effect at once.
func (s *Server) updateStreamRecordDistributionStrategy(ctx context.Context, in *updateStreamRecordDistributionStrategyInput) error {
	return s.change(ctx, func(_ context.Context, c *change) error {
		v, err := c.active(streamRef{StreamARN: in.StreamARN})
		if err != nil {
			return err
		}
		auto := in.RecordDistributionStrategy == strategyAuto
		if auto && !v.known.OnDemand {
			return s.wantsOnDemand(v.name)
		}
		v.known.AnyShard = auto
		return c.Save(c.now)
	})
}
