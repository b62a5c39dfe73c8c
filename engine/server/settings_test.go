package server

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/millrace/millrace/engine"
)

var (
	onDemandMode    = &types.StreamModeDetails{StreamMode: types.StreamModeOnDemand}
	provisionedMode = &types.StreamModeDetails{StreamMode: types.StreamModeProvisioned}
)

func (h *harness) commit(status types.MinimumThroughputBillingCommitmentInputStatus) *types.MinimumThroughputBillingCommitmentOutput {
	h.t.Helper()
	return must(h.client().UpdateAccountSettings(h.t.Context(), &kinesis.UpdateAccountSettingsInput{
		MinimumThroughputBillingCommitment: &types.MinimumThroughputBillingCommitmentInput{Status: status},
	}))(h.t).MinimumThroughputBillingCommitment
}

func (h *harness) setMode(mode *types.StreamModeDetails) error {
	_, err := h.client().UpdateStreamMode(h.t.Context(), &kinesis.UpdateStreamModeInput{StreamARN: aws.String(ordersARN), StreamModeDetails: mode})
	return err
}

func TestUpdateStreamModeChangesTheModeAndLeavesTheShards(t *testing.T) {
	h := start(t, Config{})
	h.create(3)
	for _, mode := range []*types.StreamModeDetails{onDemandMode, onDemandMode, provisionedMode, onDemandMode, provisionedMode} {
		if err := h.setMode(mode); err != nil {
			t.Fatal(err)
		}
		if s := h.summary(); s.StreamModeDetails.StreamMode != mode.StreamMode || *s.OpenShardCount != 3 {
			t.Errorf("%+v", s)
		}
	}
	h.post("UpdateStreamMode", fmt.Sprintf(`{"StreamARN":%q}`, ordersARN)).wantFault(t, "ValidationException", "")
	h.post("UpdateStreamMode", fmt.Sprintf(`{"StreamARN":%q,"StreamModeDetails":{}}`, ordersARN)).wantFault(t, "ValidationException", "")
	h.post("UpdateStreamMode", fmt.Sprintf(`{"StreamARN":%q,"StreamModeDetails":{"StreamMode":"PROVISIONED"},"WarmThroughputMiBps":1}`, ordersARN)).wantFault(t, "ValidationException", "")
}

func TestUpdateStreamModeForgetsWhatOnlyOnDemandStreamsHave(t *testing.T) {
	h := start(t, Config{})
	h.commit(types.MinimumThroughputBillingCommitmentInputStatusEnabled)
	must(h.client().CreateStream(t.Context(), &kinesis.CreateStreamInput{
		StreamName: aws.String("orders"), StreamModeDetails: onDemandMode, WarmThroughputMiBps: aws.Int32(7), RecordDistributionStrategy: types.RecordDistributionStrategyAuto,
	}))(t)
	for _, mode := range []*types.StreamModeDetails{provisionedMode, onDemandMode} {
		if err := h.setMode(mode); err != nil {
			t.Fatal(err)
		}
	}
	if s := h.summary(); s.WarmThroughput != nil || s.RecordDistributionStrategy != types.RecordDistributionStrategyUserPartitionKey {
		t.Errorf("%+v", s)
	}
}

func TestUpdateStreamModeIsAllowedTwiceADayWhenLimitsAreAskedFor(t *testing.T) {
	bubble(t, Config{Limits: engine.KinesisLimits}, func(t *testing.T, h *harness) {
		h.create(1)
		for _, mode := range []*types.StreamModeDetails{onDemandMode, provisionedMode} {
			if err := h.setMode(mode); err != nil {
				t.Fatal(err)
			}
		}
		wantError[*types.LimitExceededException](t, h.setMode(onDemandMode), "")
		pass(24 * time.Hour)
		if err := h.setMode(onDemandMode); err != nil {
			t.Error(err)
		}
	})
}

func TestUpdateStreamWarmThroughputIsForCommittedOnDemandStreams(t *testing.T) {
	h := start(t, Config{})
	c, ctx := h.client(), t.Context()
	h.create(1)
	warm := func(mibps int32) (*kinesis.UpdateStreamWarmThroughputOutput, error) {
		return c.UpdateStreamWarmThroughput(ctx, &kinesis.UpdateStreamWarmThroughputInput{StreamName: aws.String("orders"), WarmThroughputMiBps: aws.Int32(mibps)})
	}
	_, err := warm(100)
	wantError[*types.ValidationException](t, err, "")
	if err := h.setMode(onDemandMode); err != nil {
		t.Fatal(err)
	}
	_, err = warm(100)
	wantError[*types.ValidationException](t, err, "")
	h.commit(types.MinimumThroughputBillingCommitmentInputStatusEnabled)
	for _, x := range [][2]int32{{0, 100}, {100, 50}} {
		out := must(warm(x[1]))(t)
		if *out.StreamName != "orders" || *out.StreamARN != ordersARN || *out.WarmThroughput.CurrentMiBps != x[0] || *out.WarmThroughput.TargetMiBps != x[1] {
			t.Errorf("%+v %+v", out, out.WarmThroughput)
		}
	}
	if w := h.summary().WarmThroughput; w == nil || *w.TargetMiBps != 50 || *w.CurrentMiBps != 50 {
		t.Errorf("%+v", w)
	}
	_, err = warm(10<<10 + 1)
	wantError[*types.LimitExceededException](t, err, "")
	must(c.CreateStream(ctx, &kinesis.CreateStreamInput{StreamName: aws.String("another"), StreamModeDetails: onDemandMode, WarmThroughputMiBps: aws.Int32(7)}))(t)
	if w := h.server.state.Load().Streams["another"].WarmThroughput; w != 7 {
		t.Errorf("%d", w)
	}
}

func TestUpdateStreamRecordDistributionStrategyIsForOnDemandStreams(t *testing.T) {
	h := start(t, Config{})
	c, ctx := h.client(), t.Context()
	h.create(1)
	set := func(s types.RecordDistributionStrategy) error {
		_, err := c.UpdateStreamRecordDistributionStrategy(ctx, &kinesis.UpdateStreamRecordDistributionStrategyInput{StreamARN: aws.String(ordersARN), RecordDistributionStrategy: s})
		return err
	}
	wantError[*types.InvalidArgumentException](t, set(types.RecordDistributionStrategyAuto), "")
	if s := h.summary(); s.RecordDistributionStrategy != "" {
		t.Errorf("%+v", s)
	}
	if err := h.setMode(onDemandMode); err != nil {
		t.Fatal(err)
	}
	for _, strategy := range []types.RecordDistributionStrategy{types.RecordDistributionStrategyAuto, types.RecordDistributionStrategyUserPartitionKey} {
		if err := set(strategy); err != nil {
			t.Fatal(err)
		}
		if got := h.summary().RecordDistributionStrategy; got != strategy {
			t.Errorf("%s, want %s", got, strategy)
		}
	}
	wantCode(t, set("OTHER"), "ValidationException")
}

func TestStartStreamEncryptionNotesTheKey(t *testing.T) {
	h := start(t, Config{})
	c, ctx := h.client(), t.Context()
	h.create(1)
	for _, key := range []string{
		"alias/aws/kinesis", "alias/MyAliasName", "12345678-1234-1234-1234-123456789012",
		"arn:aws:kms:us-east-1:123456789012:key/12345678-1234-1234-1234-123456789012", "arn:aws:kms:us-east-1:123456789012:alias/MyAliasName",
	} {
		must(c.StartStreamEncryption(ctx, &kinesis.StartStreamEncryptionInput{StreamName: aws.String("orders"), EncryptionType: types.EncryptionTypeKms, KeyId: aws.String(key)}))(t)
		if s := h.summary(); s.EncryptionType != types.EncryptionTypeKms || *s.KeyId != key {
			t.Errorf("%+v", s)
		}
	}
	_, err := c.StartStreamEncryption(ctx, &kinesis.StartStreamEncryptionInput{StreamName: aws.String("orders"), EncryptionType: types.EncryptionTypeNone, KeyId: aws.String("alias/k")})
	wantError[*types.InvalidArgumentException](t, err, "")
	_, err = c.StartStreamEncryption(ctx, &kinesis.StartStreamEncryptionInput{StreamName: aws.String("orders"), EncryptionType: types.EncryptionTypeKms, KeyId: aws.String("nonsense")})
	wantError[*types.KMSNotFoundException](t, err, "Invalid keyId nonsense")
	h.post("StartStreamEncryption", `{"StreamName":"orders","EncryptionType":"KMS"}`).wantFault(t, "ValidationException", "")
}

func TestStopStreamEncryptionForgetsTheKey(t *testing.T) {
	h := start(t, Config{Limits: engine.KinesisLimits})
	c, ctx := h.client(), t.Context()
	h.create(1)
	stop := &kinesis.StopStreamEncryptionInput{StreamName: aws.String("orders"), EncryptionType: types.EncryptionTypeKms, KeyId: aws.String("alias/k")}
	for range 12 {
		must(c.StartStreamEncryption(ctx, &kinesis.StartStreamEncryptionInput{StreamName: aws.String("orders"), EncryptionType: types.EncryptionTypeKms, KeyId: aws.String("alias/k")}))(t)
		must(c.StopStreamEncryption(ctx, stop))(t)
		must(c.StopStreamEncryption(ctx, stop))(t) // changes nothing, and does not count
	}
	if s := h.summary(); s.EncryptionType != types.EncryptionTypeNone || s.KeyId != nil {
		t.Errorf("%+v", s)
	}
	must(c.StartStreamEncryption(ctx, &kinesis.StartStreamEncryptionInput{StreamName: aws.String("orders"), EncryptionType: types.EncryptionTypeKms, KeyId: aws.String("alias/k")}))(t)
	_, err := c.StopStreamEncryption(ctx, stop)
	wantError[*types.LimitExceededException](t, err, "The encryption of stream orders under account 000000000000 was changed 25 times in the last 24 hours, which is the limit.")
}

func TestEnableEnhancedMonitoringAddsMetrics(t *testing.T) {
	h := start(t, Config{})
	c, ctx := h.client(), t.Context()
	h.create(1)
	enable := func(metrics ...types.MetricsName) *kinesis.EnableEnhancedMonitoringOutput {
		return must(c.EnableEnhancedMonitoring(ctx, &kinesis.EnableEnhancedMonitoringInput{StreamName: aws.String("orders"), ShardLevelMetrics: metrics}))(t)
	}
	out := enable(types.MetricsNameOutgoingBytes, types.MetricsNameIncomingBytes)
	if *out.StreamName != "orders" || *out.StreamARN != ordersARN || len(out.CurrentShardLevelMetrics) != 0 ||
		!slices.Equal(out.DesiredShardLevelMetrics, []types.MetricsName{types.MetricsNameIncomingBytes, types.MetricsNameOutgoingBytes}) {
		t.Errorf("%+v", out)
	}
	out = enable(types.MetricsNameIncomingBytes, types.MetricsNameIncomingRecords)
	if len(out.CurrentShardLevelMetrics) != 2 || len(out.DesiredShardLevelMetrics) != 3 {
		t.Errorf("%+v", out)
	}
	out = enable(types.MetricsNameAll)
	if len(out.DesiredShardLevelMetrics) != 7 || len(h.summary().EnhancedMonitoring[0].ShardLevelMetrics) != 7 {
		t.Errorf("%+v", out)
	}
	h.post("EnableEnhancedMonitoring", `{"StreamName":"orders","ShardLevelMetrics":["Other"]}`).wantFault(t, "ValidationException", "")
	h.post("EnableEnhancedMonitoring", `{"StreamName":"orders","ShardLevelMetrics":[]}`).wantFault(t, "ValidationException", "")
}

func TestDisableEnhancedMonitoringTakesMetricsAway(t *testing.T) {
	h := start(t, Config{})
	c, ctx := h.client(), t.Context()
	h.create(1)
	must(c.EnableEnhancedMonitoring(ctx, &kinesis.EnableEnhancedMonitoringInput{StreamName: aws.String("orders"), ShardLevelMetrics: []types.MetricsName{types.MetricsNameAll}}))(t)
	disable := func(metric types.MetricsName) *kinesis.DisableEnhancedMonitoringOutput {
		return must(c.DisableEnhancedMonitoring(ctx, &kinesis.DisableEnhancedMonitoringInput{StreamName: aws.String("orders"), ShardLevelMetrics: []types.MetricsName{metric}}))(t)
	}
	if out := disable(types.MetricsNameIncomingBytes); len(out.CurrentShardLevelMetrics) != 7 || len(out.DesiredShardLevelMetrics) != 6 || slices.Contains(out.DesiredShardLevelMetrics, types.MetricsNameIncomingBytes) {
		t.Errorf("%+v", out)
	}
	if out := disable(types.MetricsNameAll); len(out.DesiredShardLevelMetrics) != 0 || len(h.summary().EnhancedMonitoring[0].ShardLevelMetrics) != 0 {
		t.Errorf("%+v", out)
	}
}

func (h *harness) policy(arn string) string {
	h.t.Helper()
	return *must(h.client().GetResourcePolicy(h.t.Context(), &kinesis.GetResourcePolicyInput{ResourceARN: aws.String(arn)}))(h.t).Policy
}

func TestPutResourcePolicyKeepsThePolicyOfStreamsAndConsumers(t *testing.T) {
	h := start(t, Config{})
	c, ctx := h.client(), t.Context()
	h.create(1)
	for _, arn := range []string{ordersARN, *h.register("app").ConsumerARN} {
		for _, policy := range []string{`{"Version":"2012-10-17","Statement":[]}`, `{"Version": "other"}`} {
			must(c.PutResourcePolicy(ctx, &kinesis.PutResourcePolicyInput{ResourceARN: aws.String(arn), Policy: aws.String(policy)}))(t)
			if got := h.policy(arn); got != policy {
				t.Errorf("%s has %s", arn, got)
			}
		}
		for _, policy := range []string{"", "null", "[]", "{", `"a"`, `{"a":"` + strings.Repeat("b", 20<<10) + `"}`} {
			_, err := c.PutResourcePolicy(ctx, &kinesis.PutResourcePolicyInput{ResourceARN: aws.String(arn), Policy: aws.String(policy)})
			wantError[*types.InvalidArgumentException](t, err, "")
		}
	}
	refuseNoResources(h, "PutResourcePolicy", `,"Policy":"{}"`)
}

func TestGetResourcePolicyIsAnEmptyObjectWhereThereIsNone(t *testing.T) {
	h := start(t, Config{})
	h.create(1)
	for _, arn := range []string{ordersARN, *h.register("app").ConsumerARN} {
		if got := h.policy(arn); got != "{}" {
			t.Errorf("%s has %s", arn, got)
		}
	}
	refuseNoResources(h, "GetResourcePolicy", "")
}

func TestDeleteResourcePolicyForgetsThePolicy(t *testing.T) {
	h := start(t, Config{})
	c, ctx := h.client(), t.Context()
	h.create(1)
	for _, arn := range []string{ordersARN, *h.register("app").ConsumerARN} {
		must(c.PutResourcePolicy(ctx, &kinesis.PutResourcePolicyInput{ResourceARN: aws.String(arn), Policy: aws.String(`{"a":1}`)}))(t)
		must(c.DeleteResourcePolicy(ctx, &kinesis.DeleteResourcePolicyInput{ResourceARN: aws.String(arn)}))(t)
		if got := h.policy(arn); got != "{}" {
			t.Errorf("%s has %s", arn, got)
		}
		_, err := c.DeleteResourcePolicy(ctx, &kinesis.DeleteResourcePolicyInput{ResourceARN: aws.String(arn)})
		wantError[*types.ResourceNotFoundException](t, err, "No resource policy found for resource ARN "+arn)
	}
	refuseNoResources(h, "DeleteResourcePolicy", "")
}

func TestDescribeLimitsCountsShardsAndStreams(t *testing.T) {
	h := start(t, Config{})
	h.create(3)
	h.mustCreate("another")
	must(h.client().CreateStream(t.Context(), &kinesis.CreateStreamInput{StreamName: aws.String("demand"), StreamModeDetails: onDemandMode}))(t)
	out := must(h.client().DescribeLimits(t.Context(), &kinesis.DescribeLimitsInput{}))(t)
	if *out.OpenShardCount != 4 || *out.OnDemandStreamCount != 1 || *out.ShardLimit != 20_000 || *out.OnDemandStreamCountLimit != 50 || *out.ChannelCount != 0 {
		t.Errorf("%+v", out)
	}
}

func TestDescribeAccountSettingsTellsOfNoCommitmentAtFirst(t *testing.T) {
	h := start(t, Config{})
	c := must(h.client().DescribeAccountSettings(t.Context(), &kinesis.DescribeAccountSettingsInput{}))(t).MinimumThroughputBillingCommitment
	if c.Status != types.MinimumThroughputBillingCommitmentOutputStatusDisabled || c.StartedAt != nil || c.EndedAt != nil || c.EarliestAllowedEndAt != nil {
		t.Errorf("%+v", c)
	}
}

func TestUpdateAccountSettingsCommitsForADayAtLeast(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, h *harness) {
		now := time.Now()
		c := h.commit(types.MinimumThroughputBillingCommitmentInputStatusEnabled)
		if c.Status != types.MinimumThroughputBillingCommitmentOutputStatusEnabled || !c.StartedAt.Equal(now) || !c.EarliestAllowedEndAt.Equal(now.Add(24*time.Hour)) {
			t.Errorf("%+v", c)
		}
		pass(time.Hour)
		c = h.commit(types.MinimumThroughputBillingCommitmentInputStatusDisabled)
		if c.Status != types.MinimumThroughputBillingCommitmentOutputStatusEnabledUntilEarliestAllowedEnd || !c.EarliestAllowedEndAt.Equal(now.Add(24*time.Hour)) {
			t.Errorf("%+v", c)
		}
		pass(23 * time.Hour)
		c = must(h.client().DescribeAccountSettings(t.Context(), &kinesis.DescribeAccountSettingsInput{}))(t).MinimumThroughputBillingCommitment
		if c.Status != types.MinimumThroughputBillingCommitmentOutputStatusDisabled || !c.EndedAt.Equal(now.Add(24*time.Hour)) {
			t.Errorf("%+v", c)
		}
	})
	h := start(t, Config{})
	h.post("UpdateAccountSettings", `{}`).wantFault(t, "ValidationException", "")
	h.post("UpdateAccountSettings", `{"MinimumThroughputBillingCommitment":{}}`).wantFault(t, "ValidationException", "")
	h.post("UpdateAccountSettings", `{"MinimumThroughputBillingCommitment":{"Status":"ENDED"}}`).wantFault(t, "ValidationException", "")
}
