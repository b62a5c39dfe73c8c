package clients

import (
	"errors"
	"os"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"

	"github.com/millrace/millrace/internal/testclients"
	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/stream/kpl"
)

func TestWhatTheKPLHasPackedIsUnpacked(t *testing.T) {
	if os.Getenv("MILLRACE_KCL") == "" {
		t.Skip("90 MB of the KPL: make test-kcl, or MILLRACE_KCL=1")
	}
	plain, secure := serve(t, t.TempDir())
	s := &story{T: t, client: testclients.Go(t, plain), name: "packed"}
	ask[kinesis.CreateStreamOutput](s, &kinesis.CreateStreamInput{StreamName: &s.name, ShardCount: aws.Int32(2)})
	s.active()
	want := map[testclients.Packed]bool{}
	for _, p := range testclients.Produce(t, secure, s.name) {
		want[p] = true
	}
	ask[kinesis.SplitShardOutput](s, &kinesis.SplitShardInput{
		StreamName: &s.name, ShardToSplit: aws.String("shardId-000000000000"), NewStartingHashKey: aws.String("1000"),
	})
	ask[kinesis.SplitShardOutput](s, &kinesis.SplitShardInput{
		StreamName: &s.name, ShardToSplit: aws.String("shardId-000000000001"), NewStartingHashKey: aws.String("340282366920938463463374607431768211000"),
	})

	// Both shards have an end now, so that a reader knows when it has everything.
	from := s.remote(plain.URL)
	shards, err := from.Shards(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	packed := 0
	for _, shard := range shards[:2] {
		r, err := kpl.Open(t.Context(), from, shard, stream.TrimHorizon, kpl.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		b := stream.Batch{MaxRecords: 100, MaxBytes: 1 << 20}
		for err = r.Next(t.Context(), &b); err == nil; err = r.Next(t.Context(), &b) {
			for _, record := range b.Records {
				got := testclients.Packed{Data: string(record.Data), Key: record.PartitionKey, Shard: shard.ID, Sequence: record.Sequence.WithSub(0).String()}
				if !want[got] {
					t.Errorf("read %+v, which was not put, or twice", got)
				}
				delete(want, got)
				if record.Sequence.Sub() > 0 {
					packed++
				}
			}
		}
		if _, ended := errors.AsType[*stream.ShardEndError](err); !ended {
			t.Fatal(err)
		}
	}
	if len(want) > 0 || packed == 0 {
		t.Errorf("%d records were not read; %d were packed behind others", len(want), packed)
	}
}
