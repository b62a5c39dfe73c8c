package clients

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dynamotypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"

	"github.com/millrace/millrace/internal/testclients"
	"github.com/millrace/millrace/internal/testdynamo"
)

func TestTheJavaKCLConsumesAcrossASplitAndAMerge(t *testing.T) {
	if os.Getenv("MILLRACE_KCL") == "" {
		t.Skip("a minute of the Java KCL: make test-kcl, or MILLRACE_KCL=1")
	}
	dynamo := testdynamo.Any(t)
	if !dynamo.Complete {
		t.Skipf("the KCL adds an index to its table, which %s does not", dynamo.Name)
	}
	plain, _ := serve(t, t.TempDir())
	for _, by := range []testclients.Retrieval{testclients.Polling, testclients.FanOut} {
		t.Run(string(by), func(t *testing.T) {
			t.Parallel()
			s := &story{T: t, client: testclients.Go(t, plain), name: "kcl-" + string(by)}
			ask[kinesis.CreateStreamOutput](s, &kinesis.CreateStreamInput{StreamName: &s.name, ShardCount: aws.Int32(2)})
			s.active()
			s.puts()
			application := testdynamo.TableName()
			worker := testclients.Consume(t, plain.URL, dynamo.URL, s.name, application, by)
			s.until("the worker begins", func() bool { return len(worker.Events()) > 0 })
			s.reshards()
			s.until("the worker has seen everything, and stored it", func() bool {
				if worker.Gone() {
					t.Fatal("the worker has ended")
				}
				return seen(worker) >= len(s.put) && s.stored(dynamo, application)
			})
			s.consumed(worker.Events())
		})
	}
}

func seen(worker *testclients.Consumer) (records int) {
	for _, e := range worker.Events() {
		if e.Shard != "" {
			records++
		}
	}
	return records
}

// stored reports whether the leases in the table say that each closed shard has
// ended, and each open one was consumed to its last record.
func (s *story) stored(dynamo testdynamo.API, table string) bool {
	out, err := dynamo.Client(s, nil).Scan(s.Context(), &dynamodb.ScanInput{TableName: &table, ConsistentRead: aws.Bool(true)})
	if err != nil {
		return false // the table is being made
	}
	checkpoints := map[string]string{}
	for _, item := range out.Items {
		key, _ := item["leaseKey"].(*dynamotypes.AttributeValueMemberS)
		checkpoint, _ := item["checkpoint"].(*dynamotypes.AttributeValueMemberS)
		if key != nil && checkpoint != nil {
			checkpoints[key.Value] = checkpoint.Value
		}
	}
	for _, shard := range ask[kinesis.ListShardsOutput](s, &kinesis.ListShardsInput{StreamName: &s.name}).Shards {
		want := "SHARD_END"
		if shard.SequenceNumberRange.EndingSequenceNumber == nil {
			there := s.in(*shard.ShardId)
			want = there[len(there)-1].sequence
		}
		if checkpoints[*shard.ShardId] != want {
			return false
		}
	}
	return true
}

// consumed compares what the worker did with what was put: each record once, in the
// order of its shard, and children after all their parents.
func (s *story) consumed(events []testclients.Event) {
	parents := map[string][]string{}
	for _, shard := range ask[kinesis.ListShardsOutput](s, &kinesis.ListShardsInput{StreamName: &s.name}).Shards {
		for _, parent := range []*string{shard.ParentShardId, shard.AdjacentParentShardId} {
			if parent != nil {
				parents[*shard.ShardId] = append(parents[*shard.ShardId], *parent)
			}
		}
	}
	var ended []string
	read := map[string][]put{}
	for _, e := range events {
		switch {
		case e.Ended != "":
			ended = append(ended, e.Ended)
		case e.Began != "":
			for _, parent := range parents[e.Began] {
				if !slices.Contains(ended, parent) {
					s.Errorf("%s began before the end of its parent %s", e.Began, parent)
				}
			}
		default:
			read[e.Shard] = append(read[e.Shard], put{e.Key, string(e.Data), e.Shard, e.Sequence})
		}
	}
	if len(read) != 5 || len(ended) != 3 {
		s.Errorf("%d shards were read and %d ended, want 5 and 3", len(read), len(ended))
	}
	for shard, got := range read {
		s.same(fmt.Sprintf("the KCL, %s", shard), got, s.in(shard))
	}
}
