package server

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/schemas"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/smithy-go/transport/http/protocol/rpcv2"

	"github.com/millrace/millrace/engine"
)

// script calls what changes and tells of streams, and returns all answers as text.
func script(t *testing.T, h *harness, form func(*kinesis.Options)) (answers []string) {
	c, ctx := h.client(form), t.Context()
	note := func(out any, err error) {
		t.Helper()
		if err != nil {
			answers = append(answers, err.Error()[len("operation error Kinesis: "):])
			return
		}
		text, err := json.Marshal(out)
		if err != nil {
			t.Fatal(err)
		}
		answers = append(answers, string(text))
	}
	name, arn := aws.String("orders"), aws.String(ordersARN)
	note(c.CreateStream(ctx, &kinesis.CreateStreamInput{StreamName: name, ShardCount: aws.Int32(2), Tags: map[string]string{"a": "1", "b": "ü"}}))
	note(c.CreateStream(ctx, &kinesis.CreateStreamInput{StreamName: aws.String("demand"), StreamModeDetails: onDemandMode}))
	pass(1500 * time.Millisecond)
	note(c.SplitShard(ctx, &kinesis.SplitShardInput{StreamName: name, ShardToSplit: aws.String("0"), NewStartingHashKey: aws.String("100")}))
	note(c.MergeShards(ctx, &kinesis.MergeShardsInput{StreamName: name, ShardToMerge: aws.String("1"), AdjacentShardToMerge: aws.String("3")}))
	note(c.StartStreamEncryption(ctx, &kinesis.StartStreamEncryptionInput{StreamName: name, EncryptionType: types.EncryptionTypeKms, KeyId: aws.String("alias/k")}))
	note(c.EnableEnhancedMonitoring(ctx, &kinesis.EnableEnhancedMonitoringInput{StreamName: name, ShardLevelMetrics: []types.MetricsName{types.MetricsNameAll}}))
	note(c.RegisterStreamConsumer(ctx, &kinesis.RegisterStreamConsumerInput{StreamARN: arn, ConsumerName: aws.String("app")}))
	note(c.UpdateAccountSettings(ctx, &kinesis.UpdateAccountSettingsInput{MinimumThroughputBillingCommitment: &types.MinimumThroughputBillingCommitmentInput{Status: "ENABLED"}}))
	note(c.UpdateStreamWarmThroughput(ctx, &kinesis.UpdateStreamWarmThroughputInput{StreamName: aws.String("demand"), WarmThroughputMiBps: aws.Int32(7)}))
	note(c.UpdateShardCount(ctx, &kinesis.UpdateShardCountInput{StreamName: name, TargetShardCount: aws.Int32(3), ScalingType: types.ScalingTypeUniformScaling}))
	note(c.DescribeStream(ctx, &kinesis.DescribeStreamInput{StreamName: name}))
	note(c.DescribeStreamSummary(ctx, &kinesis.DescribeStreamSummaryInput{StreamName: name}))
	note(c.DescribeStreamSummary(ctx, &kinesis.DescribeStreamSummaryInput{StreamName: aws.String("demand")}))
	note(c.ListStreams(ctx, &kinesis.ListStreamsInput{}))
	when := time.Now()
	note(c.ListShards(ctx, &kinesis.ListShardsInput{StreamName: name, ShardFilter: &types.ShardFilter{Type: types.ShardFilterTypeAtTimestamp, Timestamp: &when}}))
	note(c.ListStreamConsumers(ctx, &kinesis.ListStreamConsumersInput{StreamARN: arn}))
	note(c.DescribeStreamConsumer(ctx, &kinesis.DescribeStreamConsumerInput{StreamARN: arn, ConsumerName: aws.String("app")}))
	note(c.ListTagsForStream(ctx, &kinesis.ListTagsForStreamInput{StreamName: name}))
	note(c.ListTagsForResource(ctx, &kinesis.ListTagsForResourceInput{ResourceARN: arn}))
	note(c.GetResourcePolicy(ctx, &kinesis.GetResourcePolicyInput{ResourceARN: arn}))
	note(c.DescribeLimits(ctx, &kinesis.DescribeLimitsInput{}))
	note(c.DescribeAccountSettings(ctx, &kinesis.DescribeAccountSettingsInput{}))
	note(c.ListChannels(ctx, &kinesis.ListChannelsInput{}))
	note(c.DeleteStream(ctx, &kinesis.DeleteStreamInput{StreamName: aws.String("demand")}))
	return answers
}

func TestAnswersAreTheSameInEveryForm(t *testing.T) {
	answers := map[string][]string{}
	for name, form := range map[string]func(*kinesis.Options){
		"JSON": func(*kinesis.Options) {},
		"CBOR": func(o *kinesis.Options) { o.Protocol = rpcv2.NewCBOR(schemas.Kinesis_20131202) },
	} {
		bubble(t, Config{Limits: engine.NoLimits}, func(t *testing.T, h *harness) { answers[name] = script(t, h, form) })
	}
	if len(answers["JSON"]) < 24 {
		t.Fatalf("%d answers", len(answers["JSON"]))
	}
	for i, want := range answers["JSON"] {
		if got := answers["CBOR"][i]; got != want {
			t.Errorf("CBOR: %s\nJSON: %s", got, want)
		}
	}
}
