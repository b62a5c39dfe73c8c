package clients

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dynamotypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"

	"github.com/millrace/millrace/fanout"
	"github.com/millrace/millrace/internal/testclients"
	"github.com/millrace/millrace/internal/testdynamo"
	remote "github.com/millrace/millrace/kinesis"
	kcltable "github.com/millrace/millrace/lease/dynamodb"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/worker"
)

func TestTheJavaKCLConsumesAcrossASplitAndAMergeAndMillraceGoesOn(t *testing.T) {
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
				return seen(worker) >= len(s.put) && s.stored(dynamo, application, false)
			})
			s.consumed(worker.Events())
			worker.Stop()

			// What the KCL has done Millrace does not do again, nor the other way round.
			before := len(s.put)
			s.putMany(100)
			s.goneOn("Millrace", s.millrace(plain.URL, dynamo, application, by, 100), before)
			before = len(s.put)
			s.putMany(100)
			worker = testclients.Consume(t, plain.URL, dynamo.URL, s.name, application, by)
			s.until("the KCL has gone on", func() bool { return seen(worker) >= 100 && s.stored(dynamo, application, true) })
			s.goneOn("the KCL", worker.Events(), before)
		})
	}
}

// millrace lets a worker of ours go on with the KCL's leases, until it has seen so
// many records.
func (s *story) millrace(url string, dynamo testdynamo.API, application string, by testclients.Retrieval, records int) (events []testclients.Event) {
	s.Helper()
	logger := slog.New(slog.NewTextHandler(s.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	polled := s.remote(url)
	var from stream.Stream = polled
	if by == testclients.FanOut {
		pushed, err := fanout.Use(polled, application, fanout.Config{})
		if err != nil {
			s.Fatal(err)
		}
		from = pushed
	}
	leases, err := kcltable.New(dynamo.Client(s, nil), kcltable.Config{Application: application, SingleStream: s.arn, Logger: logger})
	if err != nil {
		s.Fatal(err)
	}
	if err := leases.CreateTables(s.Context()); err != nil {
		s.Fatal(err)
	}
	ctx, stop := context.WithTimeout(s.Context(), 2*time.Minute)
	defer stop()
	var mu sync.Mutex
	w, err := worker.New(worker.Config{
		Application: application, Streams: []stream.Stream{from}, Leases: leases, FailoverTime: 2 * time.Second, Logger: logger,
		Processor: func(shard processors.Shard) processors.RecordProcessor {
			return processors.Func(func(_ context.Context, b *processors.Batch) error {
				mu.Lock()
				defer mu.Unlock()
				for _, r := range b.Records {
					events = append(events, testclients.Event{Shard: shard.ID, Key: r.PartitionKey, Sequence: r.Sequence.String(), Data: slices.Clone(r.Data)})
				}
				if len(events) >= records {
					stop()
				}
				return nil
			})
		},
	})
	if err != nil {
		s.Fatal(err)
	}
	if err := w.Run(ctx); err != nil {
		s.Fatal(err)
	}
	return events
}

// remote is the stream as our own client of the API has it.
func (s *story) remote(url string) *remote.Stream {
	s.Helper()
	from, err := remote.New(kinesis.New(kinesis.Options{
		Region: "us-east-1", BaseEndpoint: &url, Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
		HTTPClient: &http.Client{Transport: testdynamo.Transport(s)},
	}), s.arn, remote.Config{})
	if err != nil {
		s.Fatal(err)
	}
	return from
}

// goneOn compares what somebody did with what was put since: that, and no more.
func (s *story) goneOn(who string, events []testclients.Event, before int) {
	s.Helper()
	since := &story{T: s.T, put: s.put[before:]}
	read := map[string][]put{}
	for _, e := range events {
		if e.Shard != "" {
			read[e.Shard] = append(read[e.Shard], put{e.Key, string(e.Data), e.Shard, e.Sequence})
		}
	}
	if len(read) != 2 {
		s.Errorf("%s has gone on with %d shards, want the 2 that are open", who, len(read))
	}
	for shard, got := range read {
		since.same(who+" goes on with "+shard, got, since.in(shard))
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
// ended, and each open one was consumed to its last record. Where Millrace was, those of
// shards whose children have begun are gone.
func (s *story) stored(dynamo testdynamo.API, table string, retired bool) bool {
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
		got, there := checkpoints[*shard.ShardId]
		if got != want && (there || !retired) {
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
