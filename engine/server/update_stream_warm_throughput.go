package server

import "context"

type updateStreamWarmThroughputInput struct {
	streamRef
	WarmThroughputMiBps int `wire:"required,range=0.."`
}

type updateStreamWarmThroughputOutput struct {
	StreamName     string
	StreamARN      string
	WarmThroughput warmThroughput
}

// updateStreamWarmThroughput notes for what an on-demand stream is warmed up.
// Nothing here has to be: a stream does what the machine can.
func (s *Server) updateStreamWarmThroughput(ctx context.Context, in *updateStreamWarmThroughputInput) (*updateStreamWarmThroughputOutput, error) {
	if err := s.pace(5, "UpdateStreamWarmThroughput"); err != nil {
		return nil, err
	}
	out := &updateStreamWarmThroughputOutput{}
	err := s.update(ctx, in.streamRef, func(_ context.Context, c *change, v view) error {
		if err := s.checkWarmThroughput(c.Account, c.now, v.known.OnDemand, &in.WarmThroughputMiBps); err != nil {
			return err
		}
		target := int32(in.WarmThroughputMiBps)
		*out = updateStreamWarmThroughputOutput{v.name, s.streamARN(v.name), warmThroughput{TargetMiBps: target, CurrentMiBps: v.known.WarmThroughput}}
		v.known.WarmThroughput = target
		return nil
	})
	return out, err
}
