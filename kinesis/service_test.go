package kinesis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/millrace/millrace/stream"
)

// service is a Kinesis without a network, for bubbles of virtual time. It does
// what the real one does, and what others do as long as a test wants it.
type service struct {
	t testing.TB

	mu      sync.Mutex
	created time.Time
	gone    bool
	status  []types.StreamStatus // what is told, one after the other, before ACTIVE
	shards  []*serviceShard
	asked   map[string][]time.Time
	// fault may answer an operation by itself; n counts those of its kind from 1.
	fault func(op string, n int) error

	limited       bool          // 5 reads a second of a shard, and 2 MiB
	iteratorLife  time.Duration // 0: five minutes
	clock         time.Duration // how far it is ahead of this machine
	tellsTime     bool          // answers have a Date
	noChildren    bool          // GetRecords does not name them, as that of kinesalite
	repeats       bool          // pages begin with the record before, as once those of kinesis-mock
	boasts        bool          // there is always more to come
	fickle        bool          // iterators outlive their stream
	pageOfShards  int
	slowToSay     time.Duration   // how long DescribeStreamSummary takes
	left          map[string]bool // shards that have left the stream
	refuseRecords func(entry types.PutRecordsRequestEntry, n int) string
	puts          [][]types.PutRecordsRequestEntry
}

type serviceShard struct {
	id      string
	parents []string
	hash    stream.HashRange
	closed  bool
	records []types.Record
	reads   []time.Time
	tokens  float64 // bytes that may be read
	filled  time.Time
}

func newService(t testing.TB, shards int) *service {
	s := &service{t: t, created: time.Now(), asked: map[string][]time.Time{}, pageOfShards: 1000}
	for _, r := range stream.SplitHashSpace(shards) {
		s.open(r)
	}
	return s
}

// stream returns the stream under test.
func (s *service) stream(cfg Config) *Stream {
	s.t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = quiet
	}
	st, err := New(s, "orders", cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	return st
}

func (s *service) open(r stream.HashRange, parents ...string) *serviceShard {
	shard := &serviceShard{id: fmt.Sprintf("shardId-%012d", len(s.shards)), hash: r, parents: parents, tokens: 2 << 20, filled: time.Now()}
	s.shards = append(s.shards, shard)
	return shard
}

// put adds n records of that size to a shard.
func (s *service) put(shard, n, size int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sh := s.shards[shard]
	for range n {
		now := time.Now().Add(s.clock)
		data := make([]byte, size)
		copy(data, strconv.Itoa(len(sh.records)))
		sh.records = append(sh.records, types.Record{
			SequenceNumber: aws.String(s.number(shard, len(sh.records))), PartitionKey: aws.String("k"), Data: data, ApproximateArrivalTimestamp: &now,
		})
	}
}

// number is a sequence number: it grows with the stream's birth, the shard and
// the record.
func (s *service) number(shard, i int) string {
	return fmt.Sprintf("49%012d%06d%018d", s.created.UnixMilli(), shard, 2*i+2)
}

// split closes a shard.
func (s *service) split(shard int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sh := s.shards[shard]
	sh.closed = true
	low, high, err := sh.hash.SplitAt(sh.hash.Middle())
	if err != nil {
		s.t.Error(err)
	}
	s.open(low, sh.id)
	s.open(high, sh.id)
}

// recreate deletes the stream and creates another one of its name.
func (s *service) recreate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.shards)
	s.shards, s.created = nil, time.Now()
	for _, r := range stream.SplitHashSpace(n) {
		s.open(r)
	}
}

// count returns how often an operation was asked.
func (s *service) count(op string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked[op])
}

// begin notes a call, and returns the error that it is to have.
func (s *service) begin(ctx context.Context, op string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s.asked[op] = append(s.asked[op], time.Now())
	if s.fault != nil {
		if err := s.fault(op, len(s.asked[op])); err != nil {
			return err
		}
	}
	if s.gone {
		return &types.ResourceNotFoundException{Message: aws.String("no such stream")}
	}
	return nil
}

const orders = "arn:aws:kinesis:us-east-1:123456789012:stream/orders"

func (s *service) DescribeStreamSummary(ctx context.Context, in *sdk.DescribeStreamSummaryInput, _ ...func(*sdk.Options)) (*sdk.DescribeStreamSummaryOutput, error) {
	s.mu.Lock()
	slow := s.slowToSay
	s.mu.Unlock()
	if err := pause(ctx, slow); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(ctx, "DescribeStreamSummary"); err != nil {
		return nil, err
	}
	status := types.StreamStatusActive
	if len(s.status) > 0 {
		status, s.status = s.status[0], s.status[1:]
	}
	return &sdk.DescribeStreamSummaryOutput{StreamDescriptionSummary: &types.StreamDescriptionSummary{
		StreamARN: aws.String(orders), StreamCreationTimestamp: aws.Time(s.created), StreamStatus: status, MaxRecordSizeInKiB: aws.Int32(10 << 10),
	}}, nil
}

func (s *service) ListShards(ctx context.Context, in *sdk.ListShardsInput, _ ...func(*sdk.Options)) (*sdk.ListShardsOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(ctx, "ListShards"); err != nil {
		return nil, err
	}
	from := 0
	if in.NextToken != nil {
		if in.StreamName != nil || in.StreamARN != nil || in.ShardFilter != nil {
			return nil, &types.InvalidArgumentException{Message: aws.String("NextToken and StreamName, StreamARN or ShardFilter cannot be provided together.")}
		}
		from, _ = strconv.Atoi(*in.NextToken)
	} else if f := in.ShardFilter; f != nil && f.Type == types.ShardFilterTypeAfterShardId {
		if s.left[*f.ShardId] {
			return nil, &types.ResourceNotFoundException{Message: aws.String("no such shard")}
		}
		from = s.find(*f.ShardId) + 1
	}
	out := &sdk.ListShardsOutput{}
	for i := from; i < len(s.shards); i++ {
		if len(out.Shards) == s.pageOfShards {
			out.NextToken = aws.String(strconv.Itoa(i))
			break
		}
		sh := s.shards[i]
		if s.left[sh.id] {
			continue
		}
		r := types.Shard{
			ShardId: &sh.id, HashKeyRange: &types.HashKeyRange{StartingHashKey: aws.String(sh.hash.Start.String()), EndingHashKey: aws.String(sh.hash.End.String())},
			SequenceNumberRange: &types.SequenceNumberRange{StartingSequenceNumber: aws.String(s.number(i, -1))},
		}
		if sh.closed {
			r.SequenceNumberRange.EndingSequenceNumber = aws.String(s.number(i, len(sh.records)))
		}
		for j, p := range sh.parents {
			*[]**string{&r.ParentShardId, &r.AdjacentParentShardId}[j] = aws.String(p)
		}
		out.Shards = append(out.Shards, r)
	}
	return out, nil
}

func (s *service) find(id string) int {
	return slices.IndexFunc(s.shards, func(sh *serviceShard) bool { return sh.id == id })
}

func (s *service) GetShardIterator(ctx context.Context, in *sdk.GetShardIteratorInput, _ ...func(*sdk.Options)) (*sdk.GetShardIteratorOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(ctx, "GetShardIterator"); err != nil {
		return nil, err
	}
	shard := s.find(*in.ShardId)
	if shard < 0 || s.left[*in.ShardId] {
		return nil, &types.ResourceNotFoundException{Message: aws.String("no such shard")}
	}
	sh, at := s.shards[shard], 0
	at0 := func(want string) int {
		return sort.Search(len(sh.records), func(i int) bool { return *sh.records[i].SequenceNumber >= want })
	}
	switch in.ShardIteratorType {
	case types.ShardIteratorTypeLatest:
		at = len(sh.records)
	case types.ShardIteratorTypeAtTimestamp:
		if in.Timestamp.After(time.Now().Add(s.clock)) {
			return nil, &types.InvalidArgumentException{Message: aws.String("the timestamp is in the future")}
		}
		at = sort.Search(len(sh.records), func(i int) bool { return !sh.records[i].ApproximateArrivalTimestamp.Before(*in.Timestamp) })
	case types.ShardIteratorTypeAtSequenceNumber, types.ShardIteratorTypeAfterSequenceNumber:
		want := *in.StartingSequenceNumber
		if len(want) != len(s.number(0, 0)) || want < s.number(shard, -1) || want > s.number(shard+1, -1) || sh.closed && want >= s.number(shard, len(sh.records)) {
			return nil, &types.InvalidArgumentException{Message: aws.String("the sequence number is not one of the shard")}
		}
		if at = at0(want); in.ShardIteratorType == types.ShardIteratorTypeAfterSequenceNumber && at < len(sh.records) && *sh.records[at].SequenceNumber == want {
			at++
		}
	}
	out := &sdk.GetShardIteratorOutput{ShardIterator: aws.String(s.iterator(shard, at))}
	if s.tellsTime {
		out.ResultMetadata = dated(s.t, time.Now().Add(s.clock))
	}
	return out, nil
}

func (s *service) iterator(shard, at int) string {
	return fmt.Sprintf("%d/%d/%d/%d", s.created.UnixMilli(), shard, at, time.Now().UnixNano())
}

func (s *service) GetRecords(ctx context.Context, in *sdk.GetRecordsInput, _ ...func(*sdk.Options)) (*sdk.GetRecordsOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(ctx, "GetRecords"); err != nil {
		return nil, err
	}
	part := strings.Split(*in.ShardIterator, "/")
	number := func(i int) int { n, _ := strconv.Atoi(part[i]); return n }
	now := time.Now()
	life := s.iteratorLife
	if life == 0 {
		life = 5 * time.Minute
	}
	switch {
	case int64(number(0)) != s.created.UnixMilli() && !s.fickle:
		return nil, &types.ResourceNotFoundException{Message: aws.String("no such stream any more")}
	case now.Sub(time.Unix(0, int64(number(3)))) > life:
		return nil, &types.ExpiredIteratorException{Message: aws.String("iterator expired")}
	}
	shard, at := number(1), number(2)
	sh := s.shards[shard]
	if s.limited {
		sh.reads = slices.DeleteFunc(sh.reads, func(t time.Time) bool { return now.Sub(t) >= time.Second })
		sh.tokens = min(2<<20, sh.tokens+now.Sub(sh.filled).Seconds()*(2<<20))
		sh.filled = now
		if len(sh.reads) == 5 || sh.tokens <= 0 {
			return nil, &types.ProvisionedThroughputExceededException{Message: aws.String("rate exceeded")}
		}
		sh.reads = append(sh.reads, now)
	}
	out := &sdk.GetRecordsOutput{MillisBehindLatest: aws.Int64(0)}
	if s.repeats && at > 0 {
		at--
	}
	bytes := 0
	for ; at < len(sh.records) && len(out.Records) < int(*in.Limit) && bytes+len(sh.records[at].Data) <= 10<<20; at++ {
		out.Records = append(out.Records, sh.records[at])
		bytes += len(sh.records[at].Data)
	}
	sh.tokens -= float64(bytes)
	if at < len(sh.records) {
		last := sh.records[len(sh.records)-1].ApproximateArrivalTimestamp
		out.MillisBehindLatest = aws.Int64(max(1, last.Sub(*sh.records[max(0, at-1)].ApproximateArrivalTimestamp).Milliseconds()))
	}
	if s.boasts {
		out.MillisBehindLatest = aws.Int64(1000)
	}
	if at < len(sh.records) || !sh.closed {
		out.NextShardIterator = aws.String(s.iterator(shard, at))
		return out, nil
	}
	for _, child := range s.shards {
		if slices.Contains(child.parents, sh.id) && !s.noChildren {
			out.ChildShards = append(out.ChildShards, types.ChildShard{ShardId: aws.String(child.id), ParentShards: child.parents,
				HashKeyRange: &types.HashKeyRange{StartingHashKey: aws.String(child.hash.Start.String()), EndingHashKey: aws.String(child.hash.End.String())}})
		}
	}
	return out, nil
}

func (s *service) PutRecords(ctx context.Context, in *sdk.PutRecordsInput, _ ...func(*sdk.Options)) (*sdk.PutRecordsOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(ctx, "PutRecords"); err != nil {
		return nil, err
	}
	s.puts = append(s.puts, slices.Clone(in.Records))
	out := &sdk.PutRecordsOutput{}
	for _, e := range in.Records {
		if s.refuseRecords != nil {
			if failure := s.refuseRecords(e, len(s.puts)); failure != "" {
				out.Records = append(out.Records, types.PutRecordsResultEntry{ErrorCode: &failure, ErrorMessage: aws.String("not now")})
				continue
			}
		}
		hash := stream.HashOf(*e.PartitionKey)
		shard := slices.IndexFunc(s.shards, func(sh *serviceShard) bool { return !sh.closed && sh.hash.Contains(hash) })
		sh, now := s.shards[shard], time.Now().Add(s.clock)
		number := s.number(shard, len(sh.records))
		sh.records = append(sh.records, types.Record{SequenceNumber: &number, PartitionKey: aws.String(*e.PartitionKey), Data: slices.Clone(e.Data), ApproximateArrivalTimestamp: &now})
		out.Records = append(out.Records, types.PutRecordsResultEntry{ShardId: &sh.id, SequenceNumber: &number})
	}
	return out, nil
}

func (s *service) SplitShard(ctx context.Context, in *sdk.SplitShardInput, _ ...func(*sdk.Options)) (*sdk.SplitShardOutput, error) {
	s.mu.Lock()
	err := s.begin(ctx, "SplitShard")
	shard := s.find(*in.ShardToSplit)
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	s.split(shard)
	return &sdk.SplitShardOutput{}, nil
}

var errNotHere = errors.New("the service of the tests cannot do that")

func (s *service) MergeShards(context.Context, *sdk.MergeShardsInput, ...func(*sdk.Options)) (*sdk.MergeShardsOutput, error) {
	return nil, errNotHere
}

func (s *service) UpdateShardCount(context.Context, *sdk.UpdateShardCountInput, ...func(*sdk.Options)) (*sdk.UpdateShardCountOutput, error) {
	return nil, errNotHere
}
