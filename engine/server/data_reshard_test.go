package server

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
)

// follower reads a stream by lineage: each shard to its end, and a child when all
// its parents are read. It checks what every consumer relies on.
type follower struct {
	t    testing.TB
	read func(ctx context.Context, shard string, take func([]types.Record)) []types.ChildShard

	mu    sync.Mutex
	ended map[string]bool // shards, by whether they are read to their end
	got   map[string]int  // data, by how often
	last  map[string]int  // the last number of each key
	want  int
	done  context.CancelFunc
	wg    sync.WaitGroup
}

func (f *follower) follow(ctx context.Context, shard string) {
	f.mu.Lock()
	_, begun := f.ended[shard]
	if !begun {
		f.ended[shard] = false
	}
	f.mu.Unlock()
	if begun {
		return
	}
	f.wg.Go(func() {
		children := f.read(ctx, shard, f.take)
		f.mu.Lock()
		f.ended[shard] = children != nil
		var next []string
		for _, child := range children {
			ready := true
			for _, parent := range child.ParentShards {
				ready = ready && f.ended[parent]
			}
			if ready {
				next = append(next, *child.ShardId)
			}
		}
		f.mu.Unlock()
		for _, child := range next {
			f.follow(ctx, child)
		}
	})
}

func (f *follower) take(records []types.Record) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range records {
		f.got[string(r.Data)]++
		var n int
		if _, err := fmt.Sscanf(string(r.Data), *r.PartitionKey+" %d", &n); err != nil || n <= f.last[*r.PartitionKey] {
			f.t.Errorf("key %s: %q after %d", *r.PartitionKey, r.Data, f.last[*r.PartitionKey])
		}
		f.last[*r.PartitionKey] = n
	}
	if len(f.got) == f.want {
		f.done()
	}
}

func TestNothingIsLostAcrossReshardsByEitherWayOfReading(t *testing.T) {
	h := start(t, Config{})
	ctx := patient(t)
	c := h.client()
	name := aws.String("orders")
	if _, err := c.CreateStream(ctx, &kinesis.CreateStreamInput{StreamName: name, ShardCount: aws.Int32(2)}); err != nil {
		t.Fatal(err)
	}
	registered, err := c.RegisterStreamConsumer(ctx, &kinesis.RegisterStreamConsumerInput{ConsumerName: aws.String("app"), StreamARN: aws.String(h.server.streamARN("orders"))})
	if err != nil {
		t.Fatal(err)
	}
	const keys, each = 20, 60
	ways := map[string]func(context.Context, string, func([]types.Record)) []types.ChildShard{
		"polled": func(ctx context.Context, shard string, take func([]types.Record)) []types.ChildShard {
			out, err := c.GetShardIterator(ctx, &kinesis.GetShardIteratorInput{StreamName: name, ShardId: &shard, ShardIteratorType: types.ShardIteratorTypeTrimHorizon})
			if err != nil {
				if ctx.Err() == nil {
					t.Error(err)
				}
				return nil
			}
			for it := out.ShardIterator; ; {
				got, err := c.GetRecords(ctx, &kinesis.GetRecordsInput{ShardIterator: it, Limit: aws.Int32(37)})
				if err != nil {
					if ctx.Err() == nil {
						t.Error(err)
					}
					return nil
				}
				take(got.Records)
				if it = got.NextShardIterator; it == nil {
					return got.ChildShards
				}
			}
		},
		"pushed": func(ctx context.Context, shard string, take func([]types.Record)) []types.ChildShard {
			out, err := h.client().SubscribeToShard(ctx, &kinesis.SubscribeToShardInput{
				ConsumerARN: registered.Consumer.ConsumerARN, ShardId: &shard, StartingPosition: &types.StartingPosition{Type: types.ShardIteratorTypeTrimHorizon},
			})
			if err != nil {
				if ctx.Err() == nil {
					t.Error(err)
				}
				return nil
			}
			defer out.GetStream().Close()
			for {
				select {
				case <-ctx.Done():
					return nil
				case e, ok := <-out.GetStream().Events():
					if !ok {
						if ctx.Err() == nil {
							t.Errorf("%s: the subscription ends without the shard: %v", shard, out.GetStream().Err())
						}
						return nil
					}
					v := e.(*types.SubscribeToShardEventStreamMemberSubscribeToShardEvent).Value
					take(v.Records)
					if v.ContinuationSequenceNumber == nil {
						return v.ChildShards
					}
				}
			}
		},
	}
	var all sync.WaitGroup
	for way, read := range ways {
		reading, done := context.WithCancel(ctx)
		f := &follower{t: t, read: read, ended: map[string]bool{}, got: map[string]int{}, last: map[string]int{}, want: keys * each, done: done}
		f.follow(reading, "shardId-000000000000")
		f.follow(reading, "shardId-000000000001")
		all.Go(func() {
			<-reading.Done()
			f.wg.Wait()
			if len(f.got) != keys*each {
				t.Errorf("%s: %d records of %d", way, len(f.got), keys*each)
			}
			for data, n := range f.got {
				if n != 1 {
					t.Errorf("%s: %q came %d times", way, data, n)
				}
			}
		})
	}
	all.Go(func() {
		for n := 1; n <= each; n++ {
			in := &kinesis.PutRecordsInput{StreamName: name}
			for k := range keys {
				key := fmt.Sprintf("key-%d", k)
				in.Records = append(in.Records, types.PutRecordsRequestEntry{PartitionKey: &key, Data: fmt.Appendf(nil, "%s %d", key, n)})
			}
			if out, err := c.PutRecords(ctx, in); err != nil || *out.FailedRecordCount > 0 {
				t.Errorf("%v", err)
				return
			}
		}
	})
	for _, n := range []int32{3, 2, 4, 5, 3} {
		if _, err := c.UpdateShardCount(ctx, &kinesis.UpdateShardCountInput{StreamName: name, TargetShardCount: &n, ScalingType: types.ScalingTypeUniformScaling}); err != nil {
			t.Error(err)
		}
	}
	all.Wait()
}
