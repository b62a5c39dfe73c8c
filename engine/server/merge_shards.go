package server

import "context"

type mergeShardsInput struct {
	streamRef
	ShardToMerge         string `wire:"required,len=1..128,pattern=shardId"`
	AdjacentShardToMerge string `wire:"required,len=1..128,pattern=shardId"`
}

// mergeShards closes two shards whose ranges lie side by side, and opens one.
func (s *Server) mergeShards(ctx context.Context, in *mergeShardsInput) error {
	if err := s.pace(5, "MergeShards"); err != nil {
		return err
	}
	return s.update(ctx, in.streamRef, func(ctx context.Context, c *change, v view) error {
		a, err := s.eligible(ctx, v, in.ShardToMerge)
		if err != nil {
			return err
		}
		b, err := s.eligible(ctx, v, in.AdjacentShardToMerge)
		if err != nil {
			return err
		}
		if _, err := a.Hash.Join(b.Hash); err != nil {
			return invalidArgument("Shards %s and %s in stream %s under account %s are not an adjacent pair of shards eligible for merging",
				a.ID, b.ID, v.name, s.config.Account)
		}
		return v.Merge(ctx, a.ID, b.ID)
	})
}
