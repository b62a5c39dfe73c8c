package kinesis

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/millrace/millrace/internal/backoff"
	"github.com/millrace/millrace/stream"
)

// Split closes a shard, opens two children, and returns when the stream is
// ACTIVE again: see [stream.Resharder].
func (s *Stream) Split(ctx context.Context, shardID string, at stream.Hash) error {
	in := &sdk.SplitShardInput{StreamName: s.target.name, StreamARN: s.target.arn, ShardToSplit: &shardID, NewStartingHashKey: aws.String(at.String())}
	return s.change(ctx, "split "+shardID, func(ctx context.Context) error {
		_, err := s.client.SplitShard(ctx, in, sturdily)
		return err
	})
}

// Merge closes two shards side by side, opens one child, and returns when the
// stream is ACTIVE again: see [stream.Resharder].
func (s *Stream) Merge(ctx context.Context, shardID, adjacentID string) error {
	in := &sdk.MergeShardsInput{StreamName: s.target.name, StreamARN: s.target.arn, ShardToMerge: &shardID, AdjacentShardToMerge: &adjacentID}
	return s.change(ctx, "merge "+shardID+" and "+adjacentID, func(ctx context.Context) error {
		_, err := s.client.MergeShards(ctx, in, sturdily)
		return err
	})
}

// UpdateShardCount splits and merges until n open shards are left, and returns
// when the stream is ACTIVE again: see [stream.Resharder]. Kinesis makes ranges
// of equal size where it doubles or halves the number, and of two sizes
// otherwise. It at most doubles or halves at a time, and changes the number ten
// times in 24 hours: more than that takes several of the ten.
func (s *Stream) UpdateShardCount(ctx context.Context, n int) error {
	if n < 1 {
		return fmt.Errorf("kinesis: shard count is %d: use 1 or more", n)
	}
	for {
		shards, err := s.Shards(ctx)
		if err != nil {
			return err
		}
		open := 0
		for _, shard := range shards {
			if !shard.Closed {
				open++
			}
		}
		if open == n {
			return nil
		}
		step := min(max(n, (open+1)/2), 2*open)
		in := &sdk.UpdateShardCountInput{StreamName: s.target.name, StreamARN: s.target.arn, ScalingType: types.ScalingTypeUniformScaling, TargetShardCount: aws.Int32(int32(step))}
		err = s.change(ctx, fmt.Sprintf("change to %d shards", step), func(ctx context.Context) error {
			_, err := s.client.UpdateShardCount(ctx, in, sturdily)
			return err
		})
		if err != nil {
			return err
		}
	}
}

// change asks for a change of shards and waits until it is done. A stream takes
// one change at a time, so that it waits for those of others before, too.
func (s *Stream) change(ctx context.Context, what string, ask func(context.Context) error) error {
	if _, err := s.incarnation.confirm(ctx); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	for {
		err := s.asked(ctx, ask)
		if err == nil {
			break
		}
		if !is[*types.ResourceInUseException](err) {
			return s.failed(ctx, what, err)
		}
		if busy, waited := s.untilActive(ctx, what); waited != nil {
			return waited
		} else if !busy {
			return s.failed(ctx, what, err) // in use for another reason
		}
	}
	_, err := s.untilActive(ctx, what)
	return err
}

func (s *Stream) asked(ctx context.Context, ask func(context.Context) error) error {
	ctx, cancel := s.request(ctx)
	defer cancel()
	err := ask(ctx)
	if err != nil && ctx.Err() != nil {
		return errors.Join(context.Cause(ctx), err)
	}
	return err
}

// How often it is asked whether a stream is ACTIVE: the service answers 20 such
// questions a second, to all of an account.
const (
	statusMin = 100 * time.Millisecond
	statusMax = 2 * time.Second
)

// untilActive waits until the stream is ACTIVE, and tells whether it had to wait.
func (s *Stream) untilActive(ctx context.Context, what string) (waited bool, err error) {
	var wait time.Duration
	for ; ; waited = true {
		d, err := s.summary(ctx)
		if err != nil {
			return waited, fmt.Errorf("%s: %w", what, err)
		}
		if d.StreamStatus == types.StreamStatusActive {
			return waited, nil
		}
		wait = backoff.Next(nil, wait, statusMin, statusMax)
		if err := pause(ctx, wait); err != nil {
			return waited, fmt.Errorf("kinesis: %s, while %s is %s: %w", what, s.target.text, d.StreamStatus, err)
		}
	}
}
