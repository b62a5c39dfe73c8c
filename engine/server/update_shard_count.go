package server

import "context"

type updateShardCountInput struct {
	streamRef
	TargetShardCount int    `wire:"required,range=1.."`
	ScalingType      string `wire:"required,enum=UNIFORM_SCALING"`
}

type updateShardCountOutput struct {
	StreamName        string
	StreamARN         string
	CurrentShardCount int
	TargetShardCount  int
}

// reshardsPerDay is how often a stream may be scaled in 24 hours, with limits.
const reshardsPerDay = 10

// updateShardCount splits and merges until there are as many open shards as
// are wanted. With limits, up to twice as many as there are, or down to half.
func (s *Server) updateShardCount(ctx context.Context, in *updateShardCountInput) (*updateShardCountOutput, error) {
	if err := s.pace(10, "UpdateShardCount"); err != nil {
		return nil, err
	}
	out := &updateShardCountOutput{TargetShardCount: in.TargetShardCount}
	err := s.update(ctx, in.streamRef, func(ctx context.Context, c *change, v view) error {
		if err := s.wantsProvisioned(v); err != nil {
			return err
		}
		d, err := v.Describe()
		if err != nil {
			return err
		}
		if err := s.roomForShards(c, v, d.OpenShards, in.TargetShardCount); err != nil {
			return err
		}
		if s.limited() {
			if err := scaleStep(d.OpenShards, in.TargetShardCount); err != nil {
				return err
			}
		}
		if !c.count(&v.known.Reshards, reshardsPerDay) {
			return limitExceeded("Stream %s under account %s was scaled %d times in the last 24 hours, which is the limit.",
				v.name, s.config.Account, reshardsPerDay)
		}
		out.StreamName, out.StreamARN, out.CurrentShardCount = v.name, s.streamARN(v.name), d.OpenShards
		return v.Scale(ctx, in.TargetShardCount)
	})
	return out, err
}

// scaleStep refuses steps that are larger than Amazon's.
func scaleStep(open, target int) error {
	const counts = "Current open shard count: %d, Target shard count: %d"
	switch {
	case target > 2*open:
		return limitExceeded("UpdateShardCount cannot scale up over double your current open shard count. "+counts, open, target)
	case 2*target < open:
		return limitExceeded("UpdateShardCount cannot scale down below half your current open shard count. "+counts, open, target)
	}
	return nil
}
