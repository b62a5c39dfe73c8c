package server

import (
	"errors"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/millrace/millrace/engine"
)

func TestDescribeStreamSummaryTellsWhatAStreamIs(t *testing.T) {
	h := start(t, Config{})
	st := h.stream("orders", engine.StreamConfig{Shards: 3})
	d, err := st.Describe()
	if err != nil {
		t.Fatal(err)
	}
	arn := "arn:aws:kinesis:us-east-1:000000000000:stream/orders"
	for name, in := range map[string]*kinesis.DescribeStreamSummaryInput{
		"by name": {StreamName: aws.String("orders")},
		"by ARN":  {StreamARN: aws.String(arn)},
		"by both": {StreamName: aws.String("orders"), StreamARN: aws.String(arn)},
	} {
		out, err := h.client().DescribeStreamSummary(t.Context(), in)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		s := out.StreamDescriptionSummary
		if *s.StreamName != "orders" || *s.StreamARN != arn || s.StreamStatus != types.StreamStatusActive ||
			!s.StreamCreationTimestamp.Equal(d.Created) || *s.RetentionPeriodHours != 24 ||
			*s.OpenShardCount != 3 || *s.MaxRecordSizeInKiB != 1024 {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

func TestDescribeStreamSummaryRefusesWhatIsNoStream(t *testing.T) {
	h := start(t, Config{})
	h.stream("orders", engine.StreamConfig{})
	var missing *types.ResourceNotFoundException
	if _, err := h.client().DescribeStreamSummary(t.Context(), &kinesis.DescribeStreamSummaryInput{StreamName: aws.String("absent")}); !errors.As(err, &missing) {
		t.Errorf("an absent stream: %v", err)
	}
	for _, c := range []struct{ body, name, message string }{
		{`{}`, "InvalidArgumentException", "Either StreamName or StreamARN must be provided."},
		{`{"StreamName":"absent"}`, "ResourceNotFoundException", "Stream absent under account 000000000000 not found."},
		{`{"StreamName":""}`, "ValidationException", "2 validation errors detected: Value '' at 'streamName' failed to satisfy constraint: Member must have length greater than or equal to 1; Value '' at 'streamName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+"},
		{`{"StreamName":3}`, "SerializationException", "class java.math.BigDecimal can not be converted to an String"},
		{`{"StreamName":"orders"`, "SerializationException", ""},
		{`{"StreamARN":"arn:aws:kinesis:us-east-1:000000000000:stream/other","StreamName":"orders"}`, "InvalidArgumentException", ""},
		{`{"StreamARN":"arn:aws:kinesis:us-east-1:111111111111:stream/orders"}`, "ResourceNotFoundException", "Stream orders under account 111111111111 not found."},
		{`{"StreamARN":"arn:aws:kinesis:eu-west-1:000000000000:stream/orders"}`, "ResourceNotFoundException", ""},
		{`{"StreamARN":"arn:aws:kinesis:us-east-1:000000000000:stream/orders/consumer/c:1"}`, "InvalidArgumentException", ""},
	} {
		h.post("DescribeStreamSummary", c.body).wantFault(t, c.name, c.message)
	}
}
