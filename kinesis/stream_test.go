package kinesis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/millrace/millrace/stream"
)

func TestBadConfigurationIsRefusedByItsName(t *testing.T) {
	client := sdk.New(sdk.Options{})
	for want, try := range map[string]func() (*Stream, error){
		"client is nil":       func() (*Stream, error) { return New((*sdk.Client)(nil), "orders", Config{}) },
		"stream name \"\"":    func() (*Stream, error) { return New(client, "", Config{}) },
		"stream name \"a b\"": func() (*Stream, error) { return New(client, "a b", Config{}) },
		"stream ARN":          func() (*Stream, error) { return New(client, "arn:aws:kinesis:us-east-1:1:stream/x", Config{}) },
		"without a consumer": func() (*Stream, error) {
			return New(client, orders+"/consumer/app:1700000000", Config{})
		},
		"Config.MinPoll is -1s":          func() (*Stream, error) { return New(client, "orders", Config{MinPoll: -time.Second}) },
		"Config.MaxPoll is 1ms, shorter": func() (*Stream, error) { return New(client, "orders", Config{MaxPoll: time.Millisecond}) },
		"Config.PageBytes is -1":         func() (*Stream, error) { return New(client, "orders", Config{PageBytes: -1}) },
		"Config.ReceiveBytes is 1":       func() (*Stream, error) { return New(client, "orders", Config{ReceiveBytes: 1}) },
		"Config.Timeout is 1ns":          func() (*Stream, error) { return New(client, "orders", Config{Timeout: 1}) },
		"Encoding(9)":                    func() (*Stream, error) { return New(client, "orders", Config{Encoding: 9}) },
	} {
		if _, err := try(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want it to say %q", err, want)
		}
	}
	for _, name := range []string{"orders", "a.b-c_D9", strings.Repeat("x", 128), orders, "arn:aws-cn:kinesis:cn-north-1:123456789012:stream/a"} {
		if _, err := New(client, name, Config{MinPoll: 10 * time.Second}); err != nil {
			t.Error(err)
		}
	}
}

func TestShardsAreListedCompletelyOrNotAtAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, 25)
		s.pageOfShards = 10
		s.split(3)
		st := s.stream(Config{})
		check := func(what string) {
			t.Helper()
			shards, err := st.Shards(t.Context())
			if err != nil || len(shards) != 27 || !shards[3].Closed || shards[4].Closed || shards[26].Parents[0] != shards[3].ID || shards[26].Hash != s.shards[26].hash {
				t.Errorf("%s: %d shards, %v", what, len(shards), err)
			}
		}
		check("three pages")

		expired := 0
		s.fault = func(op string, n int) error {
			if op == "ListShards" && n%3 == 0 && expired < 2 {
				expired++
				return &types.ExpiredNextTokenException{}
			}
			return nil
		}
		check("a token that expires")

		trouble := errors.New("the cable is out")
		s.fault = func(op string, n int) error {
			if op == "ListShards" && s.asked[op][0].Before(time.Now()) && n%3 == 2 {
				return trouble
			}
			return nil
		}
		time.Sleep(time.Second)
		if shards, err := st.Shards(t.Context()); !errors.Is(err, trouble) || shards != nil {
			t.Errorf("with a page missing: %d shards, %v", len(shards), err)
		}
		s.fault = nil
		s.shards = nil
		if shards, err := st.Shards(t.Context()); err == nil {
			t.Errorf("a stream that is being created has %v", shards)
		}
	})
}

// A shard that is split while it is listed is open on its page and has children
// on a later one.
func TestAShardWithChildrenIsClosedWhateverItsPageSays(t *testing.T) {
	shards := closeParents([]stream.Shard{{ID: "a"}, {ID: "b"}, {ID: "c", Parents: []string{"a"}}})
	if !shards[0].Closed || shards[1].Closed || shards[2].Closed {
		t.Errorf("%+v", shards)
	}
}

func TestAReshardReturnsWhenTheStreamIsActiveAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, 1)
		updating := func(n int) {
			for range n {
				s.status = append(s.status, types.StreamStatusUpdating)
			}
		}
		busy := 0
		s.fault = func(op string, n int) error {
			switch {
			case op == "SplitShard" && busy < 2:
				busy++
				updating(3)
				return &types.ResourceInUseException{}
			case op == "SplitShard":
				updating(5)
			}
			return nil
		}
		if err := s.stream(Config{}).Split(t.Context(), first, stream.FullRange.Middle()); err != nil {
			t.Fatal(err)
		}
		if len(s.status) != 0 || len(s.shards) != 3 || s.count("SplitShard") != 3 {
			t.Errorf("%d states untold, %d shards, %d requests", len(s.status), len(s.shards), s.count("SplitShard"))
		}
		updating(1_000_000)
		s.fault = func(op string, n int) error {
			if op == "SplitShard" {
				return &types.ResourceInUseException{}
			}
			return nil
		}
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Hour, errors.New("enough"))
		defer cancel()
		if err := s.stream(Config{}).Split(ctx, s.shards[1].id, s.shards[1].hash.Middle()); err == nil || !strings.Contains(err.Error(), "UPDATING: enough") {
			t.Errorf("split: %v", err)
		}
	})
}

// named is a client that wants every request to name the stream by its ARN alone.
type named struct {
	*service
	wrong []string
}

func (n *named) check(name, arn *string) {
	if name != nil || arn == nil || *arn != orders {
		n.wrong = append(n.wrong, fmt.Sprint(name, arn))
	}
}

func (n *named) DescribeStreamSummary(ctx context.Context, in *sdk.DescribeStreamSummaryInput, o ...func(*sdk.Options)) (*sdk.DescribeStreamSummaryOutput, error) {
	n.check(in.StreamName, in.StreamARN)
	return n.service.DescribeStreamSummary(ctx, in, o...)
}

func (n *named) ListShards(ctx context.Context, in *sdk.ListShardsInput, o ...func(*sdk.Options)) (*sdk.ListShardsOutput, error) {
	if in.NextToken == nil { // which names the stream, and Kinesis wants no other name beside it
		n.check(in.StreamName, in.StreamARN)
	}
	return n.service.ListShards(ctx, in, o...)
}

func (n *named) GetShardIterator(ctx context.Context, in *sdk.GetShardIteratorInput, o ...func(*sdk.Options)) (*sdk.GetShardIteratorOutput, error) {
	n.check(in.StreamName, in.StreamARN)
	return n.service.GetShardIterator(ctx, in, o...)
}

func (n *named) GetRecords(ctx context.Context, in *sdk.GetRecordsInput, o ...func(*sdk.Options)) (*sdk.GetRecordsOutput, error) {
	n.check(nil, in.StreamARN)
	return n.service.GetRecords(ctx, in, o...)
}

func (n *named) PutRecords(ctx context.Context, in *sdk.PutRecordsInput, o ...func(*sdk.Options)) (*sdk.PutRecordsOutput, error) {
	n.check(in.StreamName, in.StreamARN)
	return n.service.PutRecords(ctx, in, o...)
}

func (n *named) SplitShard(ctx context.Context, in *sdk.SplitShardInput, o ...func(*sdk.Options)) (*sdk.SplitShardOutput, error) {
	n.check(in.StreamName, in.StreamARN)
	return n.service.SplitShard(ctx, in, o...)
}

func TestAStreamOfAnotherAccountIsNamedByItsARNInEveryRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &named{service: newService(t, 3)}
		n.pageOfShards = 2
		st, err := New(n, orders, Config{Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := st.Put(t.Context(), stream.Entry{PartitionKey: "k"}); err != nil {
			t.Error(err)
		}
		if _, err := st.Shards(t.Context()); err != nil {
			t.Error(err)
		}
		nothingIn(t, openAt(t, st, "shardId-000000000001", stream.Latest), time.Second)
		if err := st.Split(t.Context(), first, n.shards[0].hash.Middle()); err != nil {
			t.Error(err)
		}
		if len(n.wrong) > 0 {
			t.Errorf("requests that name the stream otherwise: %v", n.wrong)
		}
	})
}
