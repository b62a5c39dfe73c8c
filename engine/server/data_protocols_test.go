package server

import (
	"errors"
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/schemas"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/smithy-go/transport/http/protocol/rpcv2"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/stream"
)

// Records come and go in each protocol that Amazon's client of Go speaks, over
// each version of HTTP: put, read, pushed, to the end of a shard, and to an
// exception.
func TestRecordsGoInAndOutInEachProtocol(t *testing.T) {
	for name, option := range map[string]func(*kinesis.Options){
		"JSON":     func(*kinesis.Options) {},
		"RPC CBOR": func(o *kinesis.Options) { o.Protocol = rpcv2.NewCBOR(schemas.Kinesis_20131202) },
	} {
		for _, http2 := range []bool{false, true} {
			t.Run(name+map[bool]string{false: " HTTP1", true: " HTTP2"}[http2], func(t *testing.T) {
				h := start(t, Config{})
				st := h.stream("orders", engine.StreamConfig{})
				transport := &http.Transport{Protocols: new(http.Protocols)}
				t.Cleanup(transport.CloseIdleConnections)
				transport.Protocols.SetHTTP1(!http2)
				transport.Protocols.SetUnencryptedHTTP2(http2)
				h.http = &http.Client{Transport: transport}
				records(t, h, st, option)
			})
		}
	}
}

func records(t *testing.T, h *harness, st *engine.Stream, option func(*kinesis.Options)) {
	ctx := patient(t)
	in := &kinesis.PutRecordsInput{StreamName: aws.String("orders"), Records: []types.PutRecordsRequestEntry{
		{Data: []byte("data-0"), PartitionKey: aws.String("key-0")},
		{Data: []byte("data-1"), PartitionKey: aws.String("key-1"), ExplicitHashKey: aws.String("7")},
	}}
	out, err := h.client(option).PutRecords(ctx, in)
	if err != nil || *out.FailedRecordCount != 0 || len(out.Records) != 2 {
		t.Fatalf("%+v, %v", out, err)
	}
	one, err := h.client(option).PutRecord(ctx, &kinesis.PutRecordInput{StreamName: aws.String("orders"), Data: []byte("data-2"), PartitionKey: aws.String("key-2")})
	if err != nil || *one.ShardId != shardID(0) {
		t.Fatal(err)
	}
	it, err := h.client(option).GetShardIterator(ctx, &kinesis.GetShardIteratorInput{
		StreamName: aws.String("orders"), ShardId: aws.String("0"), ShardIteratorType: types.ShardIteratorTypeAtSequenceNumber, StartingSequenceNumber: out.Records[0].SequenceNumber,
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := h.client(option).GetRecords(ctx, &kinesis.GetRecordsInput{ShardIterator: it.ShardIterator})
	if err != nil {
		t.Fatal(err)
	}
	wantNumbered(t, got.Records, 0, 3)

	arn := consumer(t, h.server, "orders", "app")
	subscribe := func(shard string) *kinesis.SubscribeToShardEventStream {
		out, err := h.client(option).SubscribeToShard(ctx, &kinesis.SubscribeToShardInput{
			ConsumerARN: &arn, ShardId: &shard, StartingPosition: &types.StartingPosition{Type: types.ShardIteratorTypeTrimHorizon},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { out.GetStream().Close() })
		return out.GetStream()
	}
	first := subscribe("0")
	pushed, _ := collect(t, first, 3)
	wantNumbered(t, pushed, 0, 3)
	if err := st.Split(ctx, shardID(0), stream.FullRange.Middle()); err != nil {
		t.Fatal(err)
	}
	last := nextEvent(t, first)
	for len(last.ChildShards) == 0 {
		last = nextEvent(t, first)
	}
	if last.ContinuationSequenceNumber != nil || len(last.ChildShards) != 2 || len(last.ChildShards[1].ParentShards) != 1 {
		t.Errorf("the shard ends with %+v", last)
	}
	second := subscribe("1")
	nextEvent(t, second)
	if err := h.engine.DeleteStream(ctx, "orders"); err != nil {
		t.Fatal(err)
	}
	for range second.Events() {
	}
	if _, ok := errors.AsType[*types.ResourceNotFoundException](second.Err()); !ok {
		t.Errorf("the stream is deleted: %v", second.Err())
	}
}
