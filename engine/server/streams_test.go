package server

import (
	"fmt"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/millrace/millrace/engine"
)

func TestDeleteStreamTakesTheStreamAndAllThatIsKnownOfIt(t *testing.T) {
	h := start(t, Config{})
	c, ctx := h.client(), t.Context()
	h.create(1)
	must(c.StartStreamEncryption(ctx, &kinesis.StartStreamEncryptionInput{StreamName: aws.String("orders"), EncryptionType: types.EncryptionTypeKms, KeyId: aws.String("alias/k")}))(t)
	must(c.RegisterStreamConsumer(ctx, &kinesis.RegisterStreamConsumerInput{StreamARN: aws.String(ordersARN), ConsumerName: aws.String("app")}))(t)

	_, err := c.DeleteStream(ctx, &kinesis.DeleteStreamInput{StreamName: aws.String("orders")})
	wantError[*types.ResourceInUseException](t, err, "DeleteStream can't delete 000000000000:orders because there are consumers associated with this data stream. "+
		"To delete orders anyway, set the EnforceConsumerDeletion parameter to true to force the deletion of all the consumers that are associated with it.")
	must(c.DeleteStream(ctx, &kinesis.DeleteStreamInput{StreamARN: aws.String(ordersARN), EnforceConsumerDeletion: aws.Bool(true)}))(t)
	_, err = c.DeleteStream(ctx, &kinesis.DeleteStreamInput{StreamName: aws.String("orders")})
	wantError[*types.ResourceNotFoundException](t, err, "Stream orders under account 000000000000 not found.")
	if known := h.server.state.Load().Streams; len(known) != 0 {
		t.Errorf("something is left: %v", known)
	}

	h.create(1)
	if s := h.summary(); s.EncryptionType != types.EncryptionTypeNone || *s.ConsumerCount != 0 {
		t.Errorf("another stream of that name has %+v", s)
	}
}

func TestWhatIsKnownOfAStreamThatWasDeletedByTheProgramIsNotSaidOfTheNext(t *testing.T) {
	h := start(t, Config{})
	c, ctx := h.client(), t.Context()
	h.create(1)
	must(c.RegisterStreamConsumer(ctx, &kinesis.RegisterStreamConsumerInput{StreamARN: aws.String(ordersARN), ConsumerName: aws.String("app")}))(t)
	if err := h.engine.DeleteStream(ctx, "orders"); err != nil {
		t.Fatal(err)
	}
	h.stream("orders", engine.StreamConfig{})
	if s := h.summary(); *s.ConsumerCount != 0 {
		t.Errorf("%+v", s)
	}
	h.mustCreate("another")
	if known := h.server.state.Load().Streams; len(known) != 0 {
		t.Errorf("something is left: %v", known)
	}
}

func TestDescribeStreamTellsTheShardsPageByPage(t *testing.T) {
	h := start(t, Config{})
	c, ctx := h.client(), t.Context()
	h.create(250)
	must(c.MergeShards(ctx, &kinesis.MergeShardsInput{StreamName: aws.String("orders"), ShardToMerge: aws.String("shardId-000000000001"), AdjacentShardToMerge: aws.String("shardId-000000000000")}))(t)
	var shards []types.Shard
	var after *string
	for {
		d := must(c.DescribeStream(ctx, &kinesis.DescribeStreamInput{StreamName: aws.String("orders"), ExclusiveStartShardId: after}))(t).StreamDescription
		if len(d.Shards) > 100 || *d.StreamARN != ordersARN || *d.StreamName != "orders" || d.StreamStatus != types.StreamStatusActive ||
			*d.RetentionPeriodHours != 24 || d.EncryptionType != types.EncryptionTypeNone || len(d.EnhancedMonitoring) != 1 {
			t.Fatalf("%+v", d)
		}
		shards = append(shards, d.Shards...)
		if !*d.HasMoreShards {
			break
		}
		after = d.Shards[len(d.Shards)-1].ShardId
	}
	if len(shards) != 251 {
		t.Fatalf("%d shards", len(shards))
	}
	last := shards[250]
	if *last.ParentShardId != "shardId-000000000001" || *last.AdjacentParentShardId != "shardId-000000000000" ||
		*last.HashKeyRange.StartingHashKey != "0" || last.SequenceNumberRange.EndingSequenceNumber != nil {
		t.Errorf("%+v", last)
	}
	parent := shards[0].SequenceNumberRange
	if parent.EndingSequenceNumber == nil || *parent.EndingSequenceNumber >= *last.SequenceNumberRange.StartingSequenceNumber || len(*parent.EndingSequenceNumber) != 56 {
		t.Errorf("%s to %s, then the child from %s", *parent.StartingSequenceNumber, *parent.EndingSequenceNumber, *last.SequenceNumberRange.StartingSequenceNumber)
	}
	d := must(c.DescribeStream(ctx, &kinesis.DescribeStreamInput{StreamName: aws.String("orders"), Limit: aws.Int32(3), ExclusiveStartShardId: aws.String("7")}))(t).StreamDescription
	if len(d.Shards) != 3 || *d.Shards[0].ShardId != "shardId-000000000008" || !*d.HasMoreShards {
		t.Errorf("%+v", d)
	}
	h.post("DescribeStream", `{"StreamName":"orders","Limit":10001}`).wantFault(t, "ValidationException", "")
	h.post("DescribeStream", `{"StreamName":"orders","ExclusiveStartShardId":"x"}`).wantFault(t, "ResourceNotFoundException", "Could not find shard x in stream orders under account 000000000000.")
}

func TestListStreamsListsThemByNamePageByPage(t *testing.T) {
	h := start(t, Config{})
	c, ctx := h.client(), t.Context()
	out := must(c.ListStreams(ctx, &kinesis.ListStreamsInput{}))(t)
	if len(out.StreamNames) != 0 || *out.HasMoreStreams || out.NextToken != nil {
		t.Errorf("%+v", out)
	}
	var want []string
	for i := range 120 {
		name := fmt.Sprintf("s%03d", i)
		h.stream(name, engine.StreamConfig{})
		want = append(want, name)
	}
	out = must(c.ListStreams(ctx, &kinesis.ListStreamsInput{Limit: aws.Int32(1000)}))(t)
	if len(out.StreamNames) != 100 || !*out.HasMoreStreams || out.NextToken == nil {
		t.Fatalf("%+v", out)
	}
	got := out.StreamNames
	if s := out.StreamSummaries[3]; *s.StreamName != "s003" || s.StreamStatus != types.StreamStatusActive || s.StreamModeDetails.StreamMode != types.StreamModeProvisioned {
		t.Errorf("%+v", s)
	}
	byToken := must(c.ListStreams(ctx, &kinesis.ListStreamsInput{NextToken: out.NextToken}))(t)
	byName := must(c.ListStreams(ctx, &kinesis.ListStreamsInput{ExclusiveStartStreamName: aws.String("s099")}))(t)
	if !slices.Equal(byToken.StreamNames, byName.StreamNames) || *byToken.HasMoreStreams {
		t.Errorf("by token %v, by name %v", byToken.StreamNames, byName.StreamNames)
	}
	if got = append(got, byToken.StreamNames...); !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
	h.post("ListStreams", `{"NextToken":"AAAA"}`).wantFault(t, "InvalidArgumentException", "NextToken is invalid.")
}

func TestIncreaseStreamRetentionPeriodLetsRecordsBeReadForLonger(t *testing.T) {
	h := start(t, Config{})
	c, ctx := h.client(), t.Context()
	h.create(1)
	must(c.IncreaseStreamRetentionPeriod(ctx, &kinesis.IncreaseStreamRetentionPeriodInput{StreamName: aws.String("orders"), RetentionPeriodHours: aws.Int32(48)}))(t)
	if got := *h.summary().RetentionPeriodHours; got != 48 {
		t.Errorf("%d hours", got)
	}
	for hours, message := range map[int]string{
		23:   "Minimum allowed retention period is 24 hours. Requested retention period (23 hours) is too short.",
		8761: "Maximum allowed retention period is 8760 hours. Requested retention period (8761 hours) is too long.",
		47:   "Requested retention period (47 hours) for stream orders can not be shorter than existing retention period (48 hours). Use DecreaseRetentionPeriod API.",
	} {
		h.post("IncreaseStreamRetentionPeriod", fmt.Sprintf(`{"StreamName":"orders","RetentionPeriodHours":%d}`, hours)).wantFault(t, "InvalidArgumentException", message)
	}
	h.post("IncreaseStreamRetentionPeriod", `{"StreamName":"orders"}`).wantFault(t, "ValidationException", "")
}

func TestDecreaseStreamRetentionPeriodHidesWhatIsOlder(t *testing.T) {
	h := start(t, Config{})
	c, ctx := h.client(), t.Context()
	h.stream("orders", engine.StreamConfig{Retention: 48 * 3600e9})
	must(c.DecreaseStreamRetentionPeriod(ctx, &kinesis.DecreaseStreamRetentionPeriodInput{StreamARN: aws.String(ordersARN), RetentionPeriodHours: aws.Int32(25)}))(t)
	if got := *h.summary().RetentionPeriodHours; got != 25 {
		t.Errorf("%d hours", got)
	}
	for hours, message := range map[int]string{
		23: "Minimum allowed retention period is 24 hours. Requested retention period (23 hours) is too short.",
		26: "Requested retention period (26 hours) for stream orders can not be longer than existing retention period (25 hours). Use IncreaseRetentionPeriod API.",
	} {
		h.post("DecreaseStreamRetentionPeriod", fmt.Sprintf(`{"StreamName":"orders","RetentionPeriodHours":%d}`, hours)).wantFault(t, "InvalidArgumentException", message)
	}
}

func TestUpdateMaxRecordSizeLetsRecordsBeLarger(t *testing.T) {
	h := start(t, Config{})
	c, ctx := h.client(), t.Context()
	h.create(1)
	must(c.UpdateMaxRecordSize(ctx, &kinesis.UpdateMaxRecordSizeInput{StreamARN: aws.String(ordersARN), MaxRecordSizeInKiB: aws.Int32(10240)}))(t)
	if got := *h.summary().MaxRecordSizeInKiB; got != 10240 {
		t.Errorf("%d KiB", got)
	}
	for _, size := range []int32{1023, 10241} {
		_, err := c.UpdateMaxRecordSize(ctx, &kinesis.UpdateMaxRecordSizeInput{StreamARN: aws.String(ordersARN), MaxRecordSizeInKiB: aws.Int32(size)})
		wantCode(t, err, "ValidationException")
	}
	h.post("UpdateMaxRecordSize", `{"MaxRecordSizeInKiB":1024}`).wantFault(t, "InvalidArgumentException", "Either StreamName or StreamARN must be provided.")
}
