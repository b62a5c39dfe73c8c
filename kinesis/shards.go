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
// it, and so have higher numbers. It may have left the stream since it was read to
// its end.
func (s *Stream) children(ctx context.Context, shardID string) ([]stream.Shard, error) {
	shards, err := s.list(ctx, &types.ShardFilter{Type: types.ShardFilterTypeAfterShardId, ShardId: aws.String(shardID)})
	if errors.Is(err, stream.ErrShardNotFound) {
		shards, err = s.list(ctx, nil)
	}
	if err != nil {
		return nil, err
	}
	if _, err := s.incarnation.confirm(ctx); err != nil {
		return nil, fmt.Errorf("list children of %s: %w", shardID, err)
	}
	return slices.DeleteFunc(shards, func(c stream.Shard) bool { return !slices.Contains(c.Parents, shardID) }), nil
}

// sequences returns the first number that a shard can have and, of a closed one,
// the first that it cannot.
func (s *Stream) sequences(ctx context.Context, shardID string) (first, last stream.Sequence, err error) {
	list, err := s.listAgain(ctx, nil)
	if err != nil {
		return first, last, err
	}
	i := slices.IndexFunc(list, func(s types.Shard) bool { return aws.ToString(s.ShardId) == shardID })
	if i < 0 {
		return first, last, fmt.Errorf("kinesis: %s of %s: %w", shardID, s.target.text, stream.ErrShardNotFound)
	}
	if r := list[i].SequenceNumberRange; r != nil {
		first, err = stream.ParseSequence(aws.ToString(r.StartingSequenceNumber))
		if end := aws.ToString(r.EndingSequenceNumber); end != "" && err == nil {
			last, err = stream.ParseSequence(end)
		}
	}
	if err != nil {
		return first, last, fmt.Errorf("kinesis: ListShards of %s: shard %s: %w", s.target.text, shardID, err)
	}
	return first, last, nil
}

// list returns the shards that pass the filter: all of them, or an error.
func (s *Stream) list(ctx context.Context, filter *types.ShardFilter) ([]stream.Shard, error) {
	list, err := s.listAgain(ctx, filter)
	if err != nil {
		return nil, err
	}
	shards := make([]stream.Shard, len(list))
	for i := range list {
		if shards[i], err = shardOf(&list[i]); err != nil {
			return nil, fmt.Errorf("kinesis: ListShards of %s: %w", s.target.text, err)
		}
	}
	return closeParents(shards), nil
}

// mostListings is how often a listing is begun because the token of the one
// before has expired, which takes 300 s of waiting between two pages.
const mostListings = 4

func (s *Stream) listAgain(ctx context.Context, filter *types.ShardFilter) (list []types.Shard, err error) {
	for range mostListings {
		if list, err = s.listOnce(ctx, filter); !is[*types.ExpiredNextTokenException](err) {
			break
		}
	}
	return list, err
}

func (s *Stream) listOnce(ctx context.Context, filter *types.ShardFilter) (list []types.Shard, err error) {
	in := &sdk.ListShardsInput{StreamName: s.target.name, StreamARN: s.target.arn, ShardFilter: filter}
	for {
		out, err := s.listPage(ctx, in)
		switch {
		case err != nil && filter != nil: // which names a shard
			return nil, s.failed(ctx, "ListShards after "+aws.ToString(filter.ShardId), err)
		case err != nil:
			return nil, s.explain(ctx, "ListShards", err)
		}
		list = append(list, out.Shards...)
		next := aws.ToString(out.NextToken)
		if next == "" {
			return list, nil
		}
		if next == aws.ToString(in.NextToken) {
			return nil, fmt.Errorf("kinesis: ListShards of %s: %w: it goes round in a circle", s.target.text, errAnswer)
		}
		// A token stands for the stream and the filter. Kinesis refuses either beside it.
		in = &sdk.ListShardsInput{NextToken: out.NextToken}
	}
}

func (s *Stream) listPage(ctx context.Context, in *sdk.ListShardsInput) (*sdk.ListShardsOutput, error) {
	ctx, cancel := s.request(ctx)
	defer cancel()
	out, err := s.client.ListShards(ctx, in, sturdily)
	if err != nil && ctx.Err() != nil {
		err = errors.Join(context.Cause(ctx), err)
	}
	return out, err
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
