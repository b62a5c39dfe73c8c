package kinesis

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/millrace/millrace/stream"
)

// Shards lists every shard that can be read. A stream that is still being
// created has none, which is an error.
func (s *Stream) Shards(ctx context.Context) ([]stream.Shard, error) {
	if err := s.incarnation.meet(ctx); err != nil {
		return nil, fmt.Errorf("list shards: %w", err)
	}
	shards, err := s.list(ctx, nil)
	if err != nil {
		return nil, err
	}
	if _, err := s.incarnation.confirm(ctx); err != nil {
		return nil, fmt.Errorf("list shards: %w", err)
	}
	if len(shards) == 0 {
		return nil, fmt.Errorf("kinesis: ListShards of %s: %w: no shards, as while a stream is created", s.target.text, errAnswer)
	}
	return shards, nil
}

// children returns the shards whose parent that one is. They were created after
// it, and so have higher numbers.
func (s *Stream) children(ctx context.Context, shardID string) ([]stream.Shard, error) {
	shards, err := s.list(ctx, &types.ShardFilter{Type: types.ShardFilterTypeAfterShardId, ShardId: aws.String(shardID)})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(shards, func(c stream.Shard) bool { return !slices.Contains(c.Parents, shardID) }), nil
}

// listAgain is how often a listing is begun again because its token has expired,
// which takes 300 s of waiting between two pages.
const listAgain = 3

// list returns the shards that pass the filter: all of them, or an error.
func (s *Stream) list(ctx context.Context, filter *types.ShardFilter) ([]stream.Shard, error) {
	for again := 0; ; again++ {
		shards, err := s.listOnce(ctx, filter)
		if err == nil {
			return closeParents(shards), nil
		}
		if !is[*types.ExpiredNextTokenException](err) || again == listAgain {
			return nil, err
		}
	}
}

func (s *Stream) listOnce(ctx context.Context, filter *types.ShardFilter) ([]stream.Shard, error) {
	in := &sdk.ListShardsInput{StreamName: s.target.name, StreamARN: s.target.arn, ShardFilter: filter}
	var shards []stream.Shard
	for {
		out, err := s.listPage(ctx, in)
		if err != nil {
			return nil, err
		}
		for i := range out.Shards {
			shard, err := shardOf(&out.Shards[i])
			if err != nil {
				return nil, fmt.Errorf("kinesis: ListShards of %s: %w", s.target.text, err)
			}
			shards = append(shards, shard)
		}
		next := aws.ToString(out.NextToken)
		if next == "" {
			return shards, nil
		}
		if next == aws.ToString(in.NextToken) {
			return nil, fmt.Errorf("kinesis: ListShards of %s: %w: it goes round in a circle", s.target.text, errAnswer)
		}
		// A token stands for the stream's name and the filter; an ARN goes with it.
		in = &sdk.ListShardsInput{StreamARN: s.target.arn, NextToken: out.NextToken}
	}
}

func (s *Stream) listPage(ctx context.Context, in *sdk.ListShardsInput) (*sdk.ListShardsOutput, error) {
	ctx, cancel := s.request(ctx)
	defer cancel()
	out, err := s.client.ListShards(ctx, in)
	if err != nil {
		return nil, s.explain(ctx, "ListShards", err)
	}
	return out, nil
}

// closeParents marks as closed what has a child. Pages are not of one moment: a
// shard may be split after it was listed and before its children are.
func closeParents(shards []stream.Shard) []stream.Shard {
	parents := map[string]bool{}
	for _, shard := range shards {
		for _, p := range shard.Parents {
			parents[p] = true
		}
	}
	for i := range shards {
		shards[i].Closed = shards[i].Closed || parents[shards[i].ID]
	}
	return shards
}

func shardOf(s *types.Shard) (stream.Shard, error) {
	shard := stream.Shard{ID: aws.ToString(s.ShardId), Parents: parentsOf(s.ParentShardId, s.AdjacentParentShardId)}
	var err error
	if shard.Hash, err = rangeOf(s.HashKeyRange); err != nil || shard.ID == "" {
		return shard, fmt.Errorf("shard %q: %w", clip(shard.ID), errors.Join(err, errAnswer))
	}
	shard.Closed = s.SequenceNumberRange != nil && aws.ToString(s.SequenceNumberRange.EndingSequenceNumber) != ""
	return shard, nil
}

func childOf(c *types.ChildShard) (stream.Shard, error) {
	shard := stream.Shard{ID: aws.ToString(c.ShardId), Parents: slices.Clone(c.ParentShards)}
	var err error
	if shard.Hash, err = rangeOf(c.HashKeyRange); err != nil || shard.ID == "" || len(shard.Parents) == 0 {
		return shard, fmt.Errorf("child shard %q: %w", clip(shard.ID), errors.Join(err, errAnswer))
	}
	return shard, nil
}

func parentsOf(ids ...*string) (parents []string) {
	for _, id := range ids {
		if aws.ToString(id) != "" {
			parents = append(parents, *id)
		}
	}
	return parents
}

func rangeOf(r *types.HashKeyRange) (stream.HashRange, error) {
	if r == nil {
		return stream.HashRange{}, errors.New("no hash key range")
	}
	start, err := stream.ParseHash(aws.ToString(r.StartingHashKey))
	if err != nil {
		return stream.HashRange{}, err
	}
	end, err := stream.ParseHash(aws.ToString(r.EndingHashKey))
	if err != nil {
		return stream.HashRange{}, err
	}
	return stream.HashRange{Start: start, End: end}, nil
}
