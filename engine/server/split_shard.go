package server

import (
	"context"
	"errors"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/stream"
)

type splitShardInput struct {
	streamRef
	ShardToSplit       string `wire:"required,len=1..128,pattern=shardId"`
	NewStartingHashKey string `wire:"required,pattern=hashKey"`
}

// splitShard closes a shard and opens two.
func (s *Server) splitShard(ctx context.Context, in *splitShardInput) error {
	if err := s.pace(5, "SplitShard"); err != nil {
		return err
	}
	at, err := stream.ParseHash(in.NewStartingHashKey)
	if err != nil {
		return invalidArgument("NewStartingHashKey %s is greater than 2^128-1.", in.NewStartingHashKey)
	}
	return s.update(ctx, in.streamRef, func(ctx context.Context, c *change, v view) error {
		sh, err := s.eligible(ctx, v, in.ShardToSplit)
		if err != nil {
			return err
		}
		// One of the two would have a single point, or none.
		if at.Compare(sh.Hash.Start.Next()) <= 0 || at.Compare(sh.Hash.End) >= 0 || sh.Hash.Start == stream.MaxHash {
			return invalidArgument("NewStartingHashKey %v used in SplitShard() on shard %s in stream %s under account %s is not both greater "+
				"than one plus the shard's StartingHashKey %v and less than the shard's EndingHashKey %v.",
				at, sh.ID, v.name, s.config.Account, sh.Hash.Start, sh.Hash.End)
		}
		d, err := v.Describe()
		if err != nil {
			return err
		}
		if err := s.roomForShards(c, v, d.OpenShards, d.OpenShards+1); err != nil {
			return err
		}
		return v.Split(ctx, sh.ID, at)
	})
}

// eligible finds an open shard of a stream whose shards are the client's to
// split and merge.
func (s *Server) eligible(ctx context.Context, v view, id string) (engine.ShardInfo, error) {
	if err := s.wantsProvisioned(v); err != nil {
		return engine.ShardInfo{}, err
	}
	full, ok := fullShardID(id)
	if !ok {
		return engine.ShardInfo{}, s.noShard(v, id)
	}
	sh, err := v.ShardInfo(ctx, full)
	switch {
	case errors.Is(err, stream.ErrShardNotFound):
		return sh, s.noShard(v, full)
	case err != nil:
		return sh, err
	case sh.Closed:
		return sh, invalidArgument("Shard %s in stream %s under account %s has already been merged or split, and thus is not eligible for merging or splitting.",
			sh.ID, v.name, s.config.Account)
	}
	return sh, nil
}

// roomForShards refuses to have more shards than a stream, or the account, may.
func (s *Server) roomForShards(c *change, v view, open, target int) error {
	if target > mostShards {
		return limitExceeded("Target shard count or number of open shards cannot be greater than %d. Current open shard count: %d, Target shard count: %d",
			mostShards, open, target)
	}
	if s.limited() && target > open {
		return s.shardRoom(s.usage(c.now), target-open)
	}
	return nil
}
