package clients

import (
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/millrace/millrace/internal/testclients"
)

// story is the life of one stream, as one client sees it.
type story struct {
	*testing.T
	client testclients.Client
	name   string // of the stream
	arn    string
	put    []put  // what was put, in this order
	stale  string // an iterator of long ago
}

// put is a record that was acknowledged.
type put struct {
	key, data, shard, sequence string
}

func (p put) String() string {
	return fmt.Sprintf("%q %s %s (%d bytes)", p.key, p.shard, p.sequence, len(p.data))
}

// ask performs the operation that an input is of.
func ask[O any](s *story, input any) *O {
	s.Helper()
	output := new(O)
	if err := s.client.Call(s.Context(), operation(input), input, output); err != nil {
		s.Fatalf("%s: %v", operation(input), err)
	}
	return output
}

// refused performs an operation that must fail with that error: by its code, and by
// its type in the client's language.
func (s *story) refused(code string, input any) {
	s.Helper()
	output := reflect.New(outputs[operation(input)]).Interface()
	err := s.client.Call(s.Context(), operation(input), input, output)
	seen, ok := errors.AsType[*testclients.Error](err)
	if !ok || seen.Code != code || seen.Type != code || seen.Status != 400 || seen.Message == "" || len(seen.Request) < 36 {
		s.Errorf("%s: %+v, want %s", operation(input), err, code)
	}
}

// operation is the name of the operation that an input is of.
func operation(input any) string {
	return strings.TrimSuffix(reflect.TypeOf(input).Elem().Name(), "Input")
}

// outputs are the types of outputs by operation.
var outputs = func() map[string]reflect.Type {
	types := map[string]reflect.Type{}
	client := reflect.TypeFor[*kinesis.Client]()
	for i := range client.NumMethod() {
		m := client.Method(i)
		if m.Type.NumIn() == 4 && m.Type.NumOut() == 2 {
			types[m.Name] = m.Type.Out(0).Elem()
		}
	}
	return types
}()

// until asks again and again, for as long as a busy machine may need.
func (s *story) until(what string, is func() bool) {
	s.Helper()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for !is() {
		select {
		case <-again.C:
		case <-deadline.C:
			s.Fatalf("%s: not within a minute", what)
		}
	}
}

func (s *story) active() {
	s.Helper()
	s.until("the stream is active", func() bool {
		d := ask[kinesis.DescribeStreamSummaryOutput](s, &kinesis.DescribeStreamSummaryInput{StreamName: &s.name}).StreamDescriptionSummary
		s.arn = aws.ToString(d.StreamARN)
		return d.StreamStatus == types.StreamStatusActive
	})
}

// tell lives through it all.
func (s *story) tell() {
	s.Log(s.client.Version())
	s.creates()
	s.tags()
	s.retains()
	s.puts()
	s.iterates()
	s.errs()
	done := s.subscribes()
	s.reshards()
	s.follows()
	done()
	s.settles()
	s.deletes()
}

func (s *story) creates() {
	create := &kinesis.CreateStreamInput{StreamName: &s.name, ShardCount: aws.Int32(2), Tags: map[string]string{"team": "fraud"}}
	ask[kinesis.CreateStreamOutput](s, create)
	s.active()
	s.refused("ResourceInUseException", create)

	d := ask[kinesis.DescribeStreamOutput](s, &kinesis.DescribeStreamInput{StreamName: &s.name}).StreamDescription
	if aws.ToString(d.StreamName) != s.name || !strings.HasSuffix(s.arn, ":stream/"+s.name) || aws.ToString(d.StreamARN) != s.arn ||
		aws.ToInt32(d.RetentionPeriodHours) != 24 || aws.ToBool(d.HasMoreShards) || time.Since(aws.ToTime(d.StreamCreationTimestamp)) > time.Hour {
		s.Errorf("described: %+v", d)
	}
	listed := ask[kinesis.ListShardsOutput](s, &kinesis.ListShardsInput{StreamARN: &s.arn}).Shards
	if len(listed) != 2 || !reflect.DeepEqual(listed, d.Shards) {
		s.Errorf("listed %+v, described %+v", listed, d.Shards)
	}
	if first, last := listed[0].HashKeyRange, listed[len(listed)-1].HashKeyRange; *first.StartingHashKey != "0" ||
		*last.EndingHashKey != "340282366920938463463374607431768211455" {
		s.Errorf("the shards do not cover the hash keys: %+v", listed)
	}
	streams := ask[kinesis.ListStreamsOutput](s, &kinesis.ListStreamsInput{ExclusiveStartStreamName: aws.String(s.name[:len(s.name)-1])})
	if !slices.Contains(streams.StreamNames, s.name) {
		s.Errorf("streams: %v", streams.StreamNames)
	}
}

func (s *story) tags() {
	ask[kinesis.AddTagsToStreamOutput](s, &kinesis.AddTagsToStreamInput{StreamName: &s.name, Tags: map[string]string{"größe": "mittel", "empty": ""}})
	ask[kinesis.RemoveTagsFromStreamOutput](s, &kinesis.RemoveTagsFromStreamInput{StreamName: &s.name, TagKeys: []string{"team"}})
	ask[kinesis.TagResourceOutput](s, &kinesis.TagResourceInput{ResourceARN: &s.arn, Tags: map[string]string{"by": "arn"}})
	want := map[string]string{"größe": "mittel", "empty": "", "by": "arn"}
	got := map[string]string{}
	for _, tag := range ask[kinesis.ListTagsForStreamOutput](s, &kinesis.ListTagsForStreamInput{StreamName: &s.name}).Tags {
		got[aws.ToString(tag.Key)] = aws.ToString(tag.Value)
	}
	if !reflect.DeepEqual(got, want) {
		s.Errorf("tags %v, want %v", got, want)
	}
}

func (s *story) retains() {
	ask[kinesis.IncreaseStreamRetentionPeriodOutput](s, &kinesis.IncreaseStreamRetentionPeriodInput{StreamName: &s.name, RetentionPeriodHours: aws.Int32(48)})
	s.active()
	d := ask[kinesis.DescribeStreamSummaryOutput](s, &kinesis.DescribeStreamSummaryInput{StreamARN: &s.arn}).StreamDescriptionSummary
	if aws.ToInt32(d.RetentionPeriodHours) != 48 || aws.ToInt32(d.OpenShardCount) != 2 {
		s.Errorf("described: %+v", d)
	}
	s.refused("InvalidArgumentException", &kinesis.IncreaseStreamRetentionPeriodInput{StreamName: &s.name, RetentionPeriodHours: aws.Int32(25)})
	ask[kinesis.DecreaseStreamRetentionPeriodOutput](s, &kinesis.DecreaseStreamRetentionPeriodInput{StreamName: &s.name, RetentionPeriodHours: aws.Int32(24)})
	s.active()
}

// hashOf is where a partition key belongs.
func hashOf(key string) *big.Int {
	sum := md5.Sum([]byte(key))
	return new(big.Int).SetBytes(sum[:])
}

// shardOf is the open shard to which a hash key belongs.
func (s *story) shardOf(hash *big.Int) string {
	for _, shard := range ask[kinesis.ListShardsOutput](s, &kinesis.ListShardsInput{StreamName: &s.name}).Shards {
		from, _ := new(big.Int).SetString(*shard.HashKeyRange.StartingHashKey, 10)
		to, _ := new(big.Int).SetString(*shard.HashKeyRange.EndingHashKey, 10)
		if shard.SequenceNumberRange.EndingSequenceNumber == nil && hash.Cmp(from) >= 0 && hash.Cmp(to) <= 0 {
			return *shard.ShardId
		}
	}
	s.Fatalf("no shard has %v", hash)
	return ""
}

// keep notes a record that was acknowledged.
func (s *story) keep(data []byte, key string, hash *big.Int, shard, sequence *string) {
	s.Helper()
	if want := s.shardOf(hash); aws.ToString(shard) != want {
		s.Errorf("the record of %q is in %s, want %s", key, aws.ToString(shard), want)
	}
	s.put = append(s.put, put{key, string(data), aws.ToString(shard), aws.ToString(sequence)})
}

func (s *story) putOne(data []byte, key string) {
	s.Helper()
	out := ask[kinesis.PutRecordOutput](s, &kinesis.PutRecordInput{StreamName: &s.name, Data: data, PartitionKey: &key})
	s.keep(data, key, hashOf(key), out.ShardId, out.SequenceNumber)
}

// everyByte is binary data that is no text in any encoding.
var everyByte = func() []byte {
	data := make([]byte, 0, 512)
	for i := range 256 {
		data = append(data, byte(i), byte(255-i))
	}
	return data
}()

func (s *story) puts() {
	s.putOne(everyByte, "bytes")
	s.putOne([]byte{}, "nothing")
	s.putOne([]byte("ordinary"), `"quoted" \ and	tabbed`)
	s.putOne([]byte("Schlüssel"), "ключ 鍵 🔑")
	s.putOne(bytes.Repeat(everyByte, 2048)[:1<<20-len("large")], "large")

	last := "340282366920938463463374607431768211455"
	out := ask[kinesis.PutRecordOutput](s, &kinesis.PutRecordInput{StreamARN: &s.arn, Data: []byte("by hash"), PartitionKey: aws.String("k"), ExplicitHashKey: &last})
	hash, _ := new(big.Int).SetString(last, 10)
	s.keep([]byte("by hash"), "k", hash, out.ShardId, out.SequenceNumber)

	s.putMany(100)
}

// putMany puts records with one call, of which the answers are in their order.
func (s *story) putMany(n int) {
	s.Helper()
	var entries []types.PutRecordsRequestEntry
	for i := range n {
		entries = append(entries, types.PutRecordsRequestEntry{Data: fmt.Appendf(nil, "%d\x00\xff%s", len(s.put)+i, everyByte[:i]), PartitionKey: aws.String(fmt.Sprint("key-", i))})
	}
	out := ask[kinesis.PutRecordsOutput](s, &kinesis.PutRecordsInput{StreamName: &s.name, Records: entries})
	if aws.ToInt32(out.FailedRecordCount) != 0 || len(out.Records) != n {
		s.Fatalf("of %d records %d failed: %+v", n, aws.ToInt32(out.FailedRecordCount), out.Records)
	}
	for i, r := range out.Records {
		s.put = append(s.put, put{*entries[i].PartitionKey, string(entries[i].Data), aws.ToString(r.ShardId), aws.ToString(r.SequenceNumber)})
	}
}

// in returns what was put into a shard, in the order of its sequence numbers.
func (s *story) in(shard string) (there []put) {
	for _, p := range s.put {
		if p.shard == shard {
			there = append(there, p)
		}
	}
	slices.SortStableFunc(there, func(a, b put) int { return number(a.sequence).Cmp(number(b.sequence)) })
	return there
}

func number(sequence string) *big.Int {
	n, _ := new(big.Int).SetString(sequence, 10)
	if n == nil {
		n = big.NewInt(-1)
	}
	return n
}

// same compares what was read of a shard with what should be there.
func (s *story) same(what string, got, want []put) {
	s.Helper()
	if slices.Equal(got, want) {
		return
	}
	s.Errorf("%s: read %d records, want %d", what, len(got), len(want))
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			s.Fatalf("%s: record %d is missing: %v", what, i, want[i])
		case i >= len(want) || got[i] != want[i]:
			s.Fatalf("%s: record %d is %v", what, i, got[i])
		}
	}
}

// records turns what was read into what was put.
func records(shard string, read []types.Record) (got []put) {
	for _, r := range read {
		got = append(got, put{aws.ToString(r.PartitionKey), string(r.Data), shard, aws.ToString(r.SequenceNumber)})
	}
	return got
}

// read reads from an iterator until it is at the tip or the shard's end, of which the
// children are returned.
func (s *story) read(shard string, input kinesis.GetShardIteratorInput) (read []types.Record, children []types.ChildShard) {
	s.Helper()
	input.StreamName, input.ShardId = &s.name, &shard
	return s.readOn(ask[kinesis.GetShardIteratorOutput](s, &input).ShardIterator)
}

func (s *story) readOn(iterator *string) (read []types.Record, children []types.ChildShard) {
	s.Helper()
	for {
		out := ask[kinesis.GetRecordsOutput](s, &kinesis.GetRecordsInput{ShardIterator: iterator, Limit: aws.Int32(70)})
		read = append(read, out.Records...)
		if (out.NextShardIterator == nil) != (len(out.ChildShards) > 0) {
			s.Errorf("next iterator %v, children %+v", out.NextShardIterator, out.ChildShards)
		}
		iterator = out.NextShardIterator
		if iterator == nil {
			return read, out.ChildShards
		}
		if aws.ToInt64(out.MillisBehindLatest) == 0 && len(out.Records) == 0 {
			return read, nil
		}
	}
}

func (s *story) iterates() {
	shard := s.put[0].shard
	all := s.in(shard)
	middle := len(all) / 2
	from := func(kind types.ShardIteratorType, sequence string) kinesis.GetShardIteratorInput {
		input := kinesis.GetShardIteratorInput{ShardIteratorType: kind}
		if sequence != "" {
			input.StartingSequenceNumber = &sequence
		}
		return input
	}
	read, _ := s.read(shard, from(types.ShardIteratorTypeTrimHorizon, ""))
	s.same("TRIM_HORIZON", records(shard, read), all)
	for _, r := range read {
		if age := time.Since(aws.ToTime(r.ApproximateArrivalTimestamp)); age < -time.Minute || age > 10*time.Minute {
			s.Errorf("a record is %v old", age)
		}
	}
	at, _ := s.read(shard, from(types.ShardIteratorTypeAtSequenceNumber, all[middle].sequence))
	s.same("AT_SEQUENCE_NUMBER", records(shard, at), all[middle:])
	after, _ := s.read(shard, from(types.ShardIteratorTypeAfterSequenceNumber, all[middle].sequence))
	s.same("AFTER_SEQUENCE_NUMBER", records(shard, after), all[middle+1:])

	// Arrivals grow with sequence numbers, and some are equal.
	moment := aws.ToTime(read[middle].ApproximateArrivalTimestamp)
	first := slices.IndexFunc(read, func(r types.Record) bool { return !aws.ToTime(r.ApproximateArrivalTimestamp).Before(moment) })
	since, _ := s.read(shard, kinesis.GetShardIteratorInput{ShardIteratorType: types.ShardIteratorTypeAtTimestamp, Timestamp: &moment})
	s.same("AT_TIMESTAMP", records(shard, since), all[first:])

	input := from(types.ShardIteratorTypeLatest, "")
	input.StreamARN, input.ShardId = &s.arn, &shard
	tip := ask[kinesis.GetShardIteratorOutput](s, &input).ShardIterator
	s.putOne([]byte("newest"), s.put[0].key)
	latest, _ := s.readOn(tip)
	s.same("LATEST", records(shard, latest), s.put[len(s.put)-1:])
}

func (s *story) errs() {
	nowhere := aws.String("no-such-stream")
	s.refused("ResourceNotFoundException", &kinesis.DescribeStreamSummaryInput{StreamName: nowhere})
	s.refused("ResourceNotFoundException", &kinesis.PutRecordInput{StreamName: nowhere, Data: []byte("x"), PartitionKey: aws.String("k")})
	s.refused("ResourceNotFoundException", &kinesis.GetShardIteratorInput{
		StreamName: &s.name, ShardId: aws.String("shardId-000000009999"), ShardIteratorType: types.ShardIteratorTypeLatest,
	})
	s.refused("InvalidArgumentException", &kinesis.GetRecordsInput{ShardIterator: aws.String("AAAAAAAAAAFGWtC9qPFEZ3")})
	s.refused("InvalidArgumentException", &kinesis.PutRecordInput{
		StreamName: &s.name, Data: []byte("x"), PartitionKey: aws.String("k"), ExplicitHashKey: aws.String("340282366920938463463374607431768211456"),
	})
	s.refused("ExpiredIteratorException", &kinesis.GetRecordsInput{ShardIterator: &s.stale})
	s.refused("ValidationException", &kinesis.DescribeStreamSummaryInput{StreamName: aws.String("no stream!")})
	s.refused("ValidationException", &kinesis.PutRecordInput{StreamName: &s.name, Data: make([]byte, 12<<20), PartitionKey: aws.String("k")})
}

// subscribes registers a consumer and lets it follow the stream from its beginning by
// subscriptions, in the background. What it returns waits for the end of that, and
// compares.
func (s *story) subscribes() (done func()) {
	name := aws.String("fan-out")
	registered := ask[kinesis.RegisterStreamConsumerOutput](s, &kinesis.RegisterStreamConsumerInput{StreamARN: &s.arn, ConsumerName: name}).Consumer
	s.refused("ResourceInUseException", &kinesis.RegisterStreamConsumerInput{StreamARN: &s.arn, ConsumerName: name})
	s.until("the consumer is active", func() bool {
		d := ask[kinesis.DescribeStreamConsumerOutput](s, &kinesis.DescribeStreamConsumerInput{ConsumerARN: registered.ConsumerARN}).ConsumerDescription
		return d.ConsumerStatus == types.ConsumerStatusActive
	})
	listed := ask[kinesis.ListStreamConsumersOutput](s, &kinesis.ListStreamConsumersInput{StreamARN: &s.arn}).Consumers
	if len(listed) != 1 || *listed[0].ConsumerName != *name || *listed[0].ConsumerARN != *registered.ConsumerARN {
		s.Errorf("consumers %+v, want %+v", listed, registered)
	}
	f := &follower{story: s, consumer: registered.ConsumerARN, read: map[string][]types.Record{}, parents: map[string]int{}}
	ctx, stop := context.WithCancel(s.Context())
	s.Cleanup(func() { stop(); f.subscriptions.Wait() })
	for _, shard := range s.roots() {
		f.follow(ctx, shard)
	}
	return func() {
		s.until("the subscriptions have brought everything", func() bool { return f.count() >= len(s.put) })
		stop()
		f.subscriptions.Wait()
		for shard := range f.read {
			s.same("subscription to "+shard, records(shard, f.read[shard]), s.in(shard))
		}
		ask[kinesis.DeregisterStreamConsumerOutput](s, &kinesis.DeregisterStreamConsumerInput{ConsumerARN: registered.ConsumerARN})
		s.until("the consumer is gone", func() bool {
			return len(ask[kinesis.ListStreamConsumersOutput](s, &kinesis.ListStreamConsumersInput{StreamARN: &s.arn}).Consumers) == 0
		})
		s.refused("ResourceNotFoundException", &kinesis.DescribeStreamConsumerInput{ConsumerARN: registered.ConsumerARN})
	}
}

// roots are the shards without parents.
func (s *story) roots() (roots []string) {
	for _, shard := range ask[kinesis.ListShardsOutput](s, &kinesis.ListShardsInput{StreamName: &s.name}).Shards {
		if shard.ParentShardId == nil {
			roots = append(roots, *shard.ShardId)
		}
	}
	return roots
}

// follower follows a stream by subscriptions: each shard from its beginning to its
// end, and then the children of which all parents have ended.
type follower struct {
	*story
	consumer      *string
	subscriptions sync.WaitGroup

	mu      sync.Mutex
	read    map[string][]types.Record
	parents map[string]int // by child, how many of them have ended
}

func (f *follower) count() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, read := range f.read {
		n += len(read)
	}
	return n
}

func (f *follower) follow(ctx context.Context, shard string) {
	f.subscriptions.Go(func() {
		input := &kinesis.SubscribeToShardInput{
			ConsumerARN: f.consumer, ShardId: &shard,
			StartingPosition: &types.StartingPosition{Type: types.ShardIteratorTypeTrimHorizon},
		}
		var children []types.ChildShard
		for event, err := range f.client.Subscribe(ctx, input) {
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				f.Errorf("subscription to %s: %v", shard, err)
				return
			}
			if children != nil || (event.ContinuationSequenceNumber == nil) != (len(event.ChildShards) > 0) {
				f.Errorf("subscription to %s: after children %+v, continuation %v, children %+v", shard, children, event.ContinuationSequenceNumber, event.ChildShards)
			}
			children = event.ChildShards
			f.mu.Lock()
			f.read[shard] = append(f.read[shard], event.Records...)
			f.mu.Unlock()
		}
		if len(children) == 0 && ctx.Err() == nil {
			f.Errorf("the subscription to %s ended, but not its shard", shard)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, c := range children {
			if f.parents[*c.ShardId]++; f.parents[*c.ShardId] == len(c.ParentShards) {
				f.follow(ctx, *c.ShardId)
			}
		}
	})
}

// reshards splits the shard of the first record, and merges one half of it with its
// other neighbour; and puts after each.
func (s *story) reshards() {
	open := s.open()
	split := slices.IndexFunc(open, func(shard types.Shard) bool { return *shard.ShardId == s.put[0].shard })
	from, to := number(*open[split].HashKeyRange.StartingHashKey), number(*open[split].HashKeyRange.EndingHashKey)
	middle := from.Add(from, to).Rsh(from, 1).String()
	ask[kinesis.SplitShardOutput](s, &kinesis.SplitShardInput{StreamName: &s.name, ShardToSplit: open[split].ShardId, NewStartingHashKey: &middle})
	s.active()
	s.refused("InvalidArgumentException", &kinesis.SplitShardInput{StreamName: &s.name, ShardToSplit: open[split].ShardId, NewStartingHashKey: &middle})
	s.putMany(100)

	if open = s.open(); len(open) != 3 {
		s.Fatalf("open after a split: %+v", open)
	}
	left, right := open[1-split], open[2-split] // of three: the split shard's halves are 0 and 1, or 1 and 2
	ask[kinesis.MergeShardsOutput](s, &kinesis.MergeShardsInput{StreamARN: &s.arn, ShardToMerge: left.ShardId, AdjacentShardToMerge: right.ShardId})
	s.active()
	s.putMany(100)
}

// open are the open shards, in the order of their hash keys.
func (s *story) open() []types.Shard {
	shards := ask[kinesis.ListShardsOutput](s, &kinesis.ListShardsInput{
		StreamName: &s.name, ShardFilter: &types.ShardFilter{Type: types.ShardFilterTypeAtLatest},
	}).Shards
	slices.SortFunc(shards, func(a, b types.Shard) int {
		return number(*a.HashKeyRange.StartingHashKey).Cmp(number(*b.HashKeyRange.StartingHashKey))
	})
	return shards
}

// follows reads the stream by polling, parents before their children.
func (s *story) follows() {
	parents := map[string]int{}
	for shards, at := s.roots(), 0; at < len(shards); at++ {
		shard := shards[at]
		read, children := s.read(shard, kinesis.GetShardIteratorInput{ShardIteratorType: types.ShardIteratorTypeTrimHorizon})
		s.same("polling "+shard, records(shard, read), s.in(shard))
		for _, c := range children {
			if !slices.Contains(c.ParentShards, shard) || c.HashKeyRange == nil {
				s.Errorf("at the end of %s is %+v", shard, c)
			}
			if parents[*c.ShardId]++; parents[*c.ShardId] == len(c.ParentShards) {
				shards = append(shards, *c.ShardId)
			}
		}
		if at == len(shards)-1 && len(shards) != 5 {
			s.Errorf("polling found the shards %v, want 5", shards)
		}
	}
}

// settles does what is done to streams that carry real data.
func (s *story) settles() {
	const alias, policy = "alias/aws/kinesis", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"kinesis:*","Resource":"*"}]}`
	ask[kinesis.StartStreamEncryptionOutput](s, &kinesis.StartStreamEncryptionInput{StreamName: &s.name, EncryptionType: types.EncryptionTypeKms, KeyId: aws.String(alias)})
	s.active()
	monitored := ask[kinesis.EnableEnhancedMonitoringOutput](s, &kinesis.EnableEnhancedMonitoringInput{
		StreamARN: &s.arn, ShardLevelMetrics: []types.MetricsName{types.MetricsNameIncomingBytes},
	})
	if !slices.Contains(monitored.DesiredShardLevelMetrics, types.MetricsNameIncomingBytes) {
		s.Errorf("monitored: %+v", monitored)
	}
	ask[kinesis.PutResourcePolicyOutput](s, &kinesis.PutResourcePolicyInput{ResourceARN: &s.arn, Policy: aws.String(policy)})
	if got := aws.ToString(ask[kinesis.GetResourcePolicyOutput](s, &kinesis.GetResourcePolicyInput{ResourceARN: &s.arn}).Policy); got != policy {
		s.Errorf("policy %s", got)
	}
	ask[kinesis.DeleteResourcePolicyOutput](s, &kinesis.DeleteResourcePolicyInput{ResourceARN: &s.arn})
	d := ask[kinesis.DescribeStreamSummaryOutput](s, &kinesis.DescribeStreamSummaryInput{StreamName: &s.name}).StreamDescriptionSummary
	if d.EncryptionType != types.EncryptionTypeKms || aws.ToString(d.KeyId) != alias || len(d.EnhancedMonitoring) != 1 {
		s.Errorf("described: %+v", d)
	}
	ask[kinesis.StopStreamEncryptionOutput](s, &kinesis.StopStreamEncryptionInput{StreamName: &s.name, EncryptionType: types.EncryptionTypeKms, KeyId: aws.String(alias)})
	s.active()

	scaled := ask[kinesis.UpdateShardCountOutput](s, &kinesis.UpdateShardCountInput{
		StreamName: &s.name, TargetShardCount: aws.Int32(4), ScalingType: types.ScalingTypeUniformScaling,
	})
	s.active()
	if open := s.open(); len(open) != 4 || aws.ToInt32(scaled.CurrentShardCount) != 2 || aws.ToInt32(scaled.TargetShardCount) != 4 {
		s.Errorf("scaled %+v to %+v", scaled, open)
	}
	ask[kinesis.UpdateStreamModeOutput](s, &kinesis.UpdateStreamModeInput{StreamARN: &s.arn, StreamModeDetails: &types.StreamModeDetails{StreamMode: types.StreamModeOnDemand}})
	s.active()
	s.refused("ValidationException", &kinesis.UpdateShardCountInput{StreamName: &s.name, TargetShardCount: aws.Int32(8), ScalingType: types.ScalingTypeUniformScaling})
	if limits := ask[kinesis.DescribeLimitsOutput](s, &kinesis.DescribeLimitsInput{}); aws.ToInt32(limits.ShardLimit) == 0 || aws.ToInt32(limits.OnDemandStreamCount) == 0 {
		s.Errorf("limits %+v", limits)
	}
}

func (s *story) deletes() {
	ask[kinesis.DeleteStreamOutput](s, &kinesis.DeleteStreamInput{StreamName: &s.name, EnforceConsumerDeletion: aws.Bool(true)})
	s.until("the stream is gone", func() bool {
		var out kinesis.DescribeStreamSummaryOutput
		err := s.client.Call(s.Context(), "DescribeStreamSummary", &kinesis.DescribeStreamSummaryInput{StreamName: &s.name}, &out)
		seen, ok := errors.AsType[*testclients.Error](err)
		return ok && seen.Code == "ResourceNotFoundException"
	})
}
