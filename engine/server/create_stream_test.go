package server

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/millrace/millrace/engine"
)

func TestCreateStreamMakesAStreamThatIsReadyWhenTheCallReturns(t *testing.T) {
	h := start(t, Config{})
	_, err := h.client().CreateStream(t.Context(), &kinesis.CreateStreamInput{
		StreamName: aws.String("orders"), ShardCount: aws.Int32(3), MaxRecordSizeInKiB: aws.Int32(2048),
		Tags: map[string]string{"team": "blue"}, StreamModeDetails: &types.StreamModeDetails{StreamMode: types.StreamModeProvisioned},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := h.summary()
	if s.StreamStatus != types.StreamStatusActive || *s.OpenShardCount != 3 || *s.MaxRecordSizeInKiB != 2048 ||
		*s.StreamARN != ordersARN || s.StreamModeDetails.StreamMode != types.StreamModeProvisioned || s.RecordDistributionStrategy != "" {
		t.Errorf("%+v", s)
	}
	st, err := h.engine.Stream("orders")
	if err != nil {
		t.Fatal(err)
	}
	if d, err := st.Describe(); err != nil || d.Tags["team"] != "blue" || d.MaxRecordBytes != 2<<20 || d.Limits != engine.NoLimits {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestCreateStreamOnDemandBeginsWithFourShards(t *testing.T) {
	h := start(t, Config{})
	_, err := h.client().CreateStream(t.Context(), &kinesis.CreateStreamInput{
		StreamName: aws.String("orders"), RecordDistributionStrategy: types.RecordDistributionStrategyAuto,
		StreamModeDetails: &types.StreamModeDetails{StreamMode: types.StreamModeOnDemand},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := h.summary()
	if *s.OpenShardCount != 4 || s.StreamModeDetails.StreamMode != types.StreamModeOnDemand || s.RecordDistributionStrategy != types.RecordDistributionStrategyAuto {
		t.Errorf("%+v", s)
	}
}

func TestCreateStreamRefusesWhatCannotBe(t *testing.T) {
	h := start(t, Config{})
	h.create(1)
	for _, c := range []struct{ body, name, message string }{
		{`{}`, "ValidationException", "1 validation error detected: Value null at 'streamName' failed to satisfy constraint: Member must not be null"},
		{`{"StreamName":"orders","ShardCount":1}`, "ResourceInUseException", "Stream orders under account 000000000000 already exists."},
		{`{"StreamName":"new"}`, "ValidationException", ""},
		{`{"StreamName":"new","ShardCount":0}`, "ValidationException", "1 validation error detected: Value '0' at 'shardCount' failed to satisfy constraint: Member must have value greater than or equal to 1"},
		{`{"StreamName":"new","ShardCount":10001}`, "LimitExceededException", ""},
		{`{"StreamName":"a b","ShardCount":1}`, "ValidationException", ""},
		{`{"StreamName":"new","ShardCount":1,"MaxRecordSizeInKiB":1023}`, "ValidationException", ""},
		{`{"StreamName":"new","ShardCount":1,"RecordDistributionStrategy":"AUTO"}`, "InvalidArgumentException", ""},
		{`{"StreamName":"new","ShardCount":1,"StreamModeDetails":{"StreamMode":"OTHER"}}`, "ValidationException", ""},
		{`{"StreamName":"new","ShardCount":1,"WarmThroughputMiBps":1}`, "ValidationException", ""},
		{`{"StreamName":"new","StreamModeDetails":{"StreamMode":"ON_DEMAND"},"WarmThroughputMiBps":1}`, "ValidationException", ""},
		{`{"StreamName":"new","ShardCount":1,"Tags":{"a%":"b"}}`, "InvalidArgumentException", "Some tags contain invalid characters. Valid characters: Unicode letters, digits, white space, _ . / = + - @ :."},
		{`{"StreamName":"new","ShardCount":1,"Tags":{"":"b"}}`, "ValidationException", ""},
	} {
		h.post("CreateStream", c.body).wantFault(t, c.name, c.message)
	}
	if names := h.engine.Streams(); len(names) != 1 {
		t.Errorf("streams are %v", names)
	}
	if known := h.server.state.Load().Streams; len(known) != 0 {
		t.Errorf("something is left of what was refused: %v", known)
	}
}

func TestCreateStreamAllowsFiveAtATime(t *testing.T) {
	h := start(t, Config{StateDelay: time.Hour})
	for i := range 5 {
		h.mustCreate(fmt.Sprint("s", i))
	}
	_, err := h.client().CreateStream(t.Context(), &kinesis.CreateStreamInput{StreamName: aws.String("six"), ShardCount: aws.Int32(1)})
	wantError[*types.LimitExceededException](t, err, "")
}

func TestCreateStreamOfOneNameAtATimeIsDoneOnce(t *testing.T) {
	h := start(t, Config{})
	const callers = 8
	errs := make([]error, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			_, errs[i] = h.client().CreateStream(t.Context(), &kinesis.CreateStreamInput{StreamName: aws.String("orders"), ShardCount: aws.Int32(1)})
		})
	}
	wg.Wait()
	made := 0
	for _, err := range errs {
		var inUse *types.ResourceInUseException
		switch {
		case err == nil:
			made++
		case !errors.As(err, &inUse):
			t.Error(err)
		}
	}
	if made != 1 {
		t.Errorf("made %d times", made)
	}
}

func TestCreateStreamKeepsTheLimitsOfTheAccountWhenAsked(t *testing.T) {
	h := start(t, Config{Limits: engine.KinesisLimits})
	h.create(2)
	st, err := h.engine.Stream("orders")
	if err != nil {
		t.Fatal(err)
	}
	if d, err := st.Describe(); err != nil || d.Limits != engine.KinesisLimits {
		t.Errorf("%+v, %v", d, err)
	}
	for i := range 2 {
		h.stream(fmt.Sprint("many", i), engine.StreamConfig{Shards: 9999})
	}
	_, err = h.client().CreateStream(t.Context(), &kinesis.CreateStreamInput{StreamName: aws.String("new"), ShardCount: aws.Int32(1)})
	wantError[*types.LimitExceededException](t, err, "This request would exceed the shard limit for the account 000000000000 in us-east-1. "+
		"Current shard count for the account: 20000. Limit: 20000. Number of additional shards that would have resulted from this request: 1. "+
		"Refer to the AWS Service Limits page (http://docs.aws.amazon.com/general/latest/gr/aws_service_limits.html) for current limits and how to request higher limits.")
}

func TestAStreamIsWhatItWasAnnouncedToBeFromItsFirstMoment(t *testing.T) {
	h := start(t, Config{})
	d, err := h.server.state.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer d.End()
	d.Stream("new", 0).OnDemand = true
	if err := d.Save(time.Now()); err != nil {
		t.Fatal(err)
	}
	h.stream("new", engine.StreamConfig{}) // what is known has yet to get its time of creation
	v, err := h.server.lookAt("new")
	if err != nil || !v.known.OnDemand {
		t.Errorf("%+v, %v", v.known, err)
	}
}
