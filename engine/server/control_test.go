package server

import (
	"errors"
	"fmt"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/smithy-go"
)

// ordersARN is the ARN of the stream that most tests have.
const ordersARN = "arn:aws:kinesis:us-east-1:000000000000:stream/orders"

// create makes the stream orders by way of the API.
func (h *harness) create(shards int32) {
	h.t.Helper()
	must(h.client().CreateStream(h.t.Context(), &kinesis.CreateStreamInput{StreamName: aws.String("orders"), ShardCount: aws.Int32(shards)}))(h.t)
}

// must returns what a call returned, and ends the test if it failed.
func must[T any](out T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

// wantError checks that Amazon's client made of an answer an error of its own
// type, and of this message, unless that is empty.
func wantError[E smithy.APIError](t testing.TB, err error, message string) {
	t.Helper()
	var e E
	if !errors.As(err, &e) {
		t.Errorf("error is %v, want a %T", err, e)
	} else if message != "" && e.ErrorMessage() != message {
		t.Errorf("message is %q\nwant %q", e.ErrorMessage(), message)
	}
}

// wantCode is wantError for errors that the client has no type for.
func wantCode(t testing.TB, err error, code string) {
	t.Helper()
	var e smithy.APIError
	if !errors.As(err, &e) || e.ErrorCode() != code {
		t.Errorf("error is %v, want a %s", err, code)
	}
}

// summary is what DescribeStreamSummary says of the stream orders.
func (h *harness) summary() *types.StreamDescriptionSummary {
	h.t.Helper()
	out, err := h.client().DescribeStreamSummary(h.t.Context(), &kinesis.DescribeStreamSummaryInput{StreamName: aws.String("orders")})
	if err != nil {
		h.t.Fatal(err)
	}
	return out.StreamDescriptionSummary
}

// shards lists the shards of the stream orders, as parent, adjacent parent and
// whether they are open: "2<0+1 open".
func (h *harness) shards() (list []string) {
	h.t.Helper()
	out, err := h.client().ListShards(h.t.Context(), &kinesis.ListShardsInput{StreamName: aws.String("orders")})
	if err != nil {
		h.t.Fatal(err)
	}
	for _, sh := range out.Shards {
		list = append(list, describeShard(sh))
	}
	return list
}

func describeShard(sh types.Shard) string {
	number := func(id string) (n int) { fmt.Sscanf(id, "shardId-%d", &n); return n }
	text := fmt.Sprint(number(*sh.ShardId))
	if sh.ParentShardId != nil {
		text += fmt.Sprint("<", number(*sh.ParentShardId))
	}
	if sh.AdjacentParentShardId != nil {
		text += fmt.Sprint("+", number(*sh.AdjacentParentShardId))
	}
	if sh.SequenceNumberRange.EndingSequenceNumber == nil {
		text += " open"
	}
	return text
}

// mustCreate makes a stream of one shard by way of the API.
func (h *harness) mustCreate(name string) {
	h.t.Helper()
	must(h.client().CreateStream(h.t.Context(), &kinesis.CreateStreamInput{StreamName: aws.String(name), ShardCount: aws.Int32(1)}))(h.t)
}
