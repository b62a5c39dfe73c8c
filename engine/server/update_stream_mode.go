package server

import "context"

type updateStreamModeInput struct {
	StreamARN           string             `wire:"required,len=1..2048,pattern=streamARN"`
	StreamId            string             `wire:"len=1..24"`
	StreamModeDetails   *streamModeDetails `wire:"required"`
	WarmThroughputMiBps *int               `wire:"range=0.."`
}

// modesPerDay is how often a stream may change its mode in 24 hours, with limits.
const modesPerDay = 2

// updateStreamMode changes who looks after the shards: the client, or nobody. They
// stay as they are.
func (s *Server) updateStreamMode(ctx context.Context, in *updateStreamModeInput) error {
	return s.update(ctx, streamRef{StreamARN: in.StreamARN}, func(_ context.Context, c *change, v view) error {
		onDemand := in.StreamModeDetails.StreamMode == modeOnDemand
		if err := s.checkWarmThroughput(c.Account, c.now, onDemand, in.WarmThroughputMiBps); err != nil {
			return err
		}
		if onDemand == v.known.OnDemand {
			return nil
		}
		if onDemand && s.limited() && s.usage(c.now).onDemand >= onDemandLimit {
			return limitExceeded("Account %s has %d streams in On-Demand mode already, which is the limit.", s.config.Account, onDemandLimit)
		}
		if !c.count(&v.known.Modes, modesPerDay) {
			return limitExceeded("Stream %s under account %s changed its mode %d times in the last 24 hours, which is the limit.",
				v.name, s.config.Account, modesPerDay)
		}
		v.known.OnDemand, v.known.AnyShard, v.known.WarmThroughput = onDemand, false, 0
		if in.WarmThroughputMiBps != nil {
			v.known.WarmThroughput = int32(*in.WarmThroughputMiBps)
		}
		return nil
	})
}
