package server

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/millrace/millrace/engine"
)

// direct hands requests to a server without a network, so that both may be in a
// bubble of testing/synctest.
type direct struct{ to http.Handler }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	if r.Body == nil {
		r.Body = http.NoBody
	}
	r.RemoteAddr = "127.0.0.1:1"
	d.to.ServeHTTP(w, r)
	return w.Result(), nil
}

// bubble runs a test in virtual time, over an engine in memory.
func bubble(t *testing.T, cfg Config, f func(t *testing.T, h *harness)) {
	synctest.Test(t, func(t *testing.T) {
		cfg.Logger = quiet
		e, err := engine.OpenMemory(engine.Config{Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		s, err := New(e, cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		f(t, &harness{t, e, s, "http://bubble", &http.Client{Transport: direct{s}}})
	})
}

// pass lets time go by, and everything that is due then happen.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestStreamsAndConsumersAreInTheirStatesForTheDelay(t *testing.T) {
	bubble(t, Config{StateDelay: time.Second}, func(t *testing.T, h *harness) {
		c, ctx := h.client(), t.Context()
		want := func(status types.StreamStatus) {
			t.Helper()
			if s := h.summary(); s.StreamStatus != status {
				t.Fatalf("status is %s, want %s", s.StreamStatus, status)
			}
		}
		h.create(1)
		want(types.StreamStatusCreating)
		out, err := c.DescribeStream(ctx, &kinesis.DescribeStreamInput{StreamName: aws.String("orders")})
		if err != nil || len(out.StreamDescription.Shards) != 0 {
			t.Fatalf("while CREATING it has the shards %v, %v", out, err)
		}
		_, err = c.ListShards(ctx, &kinesis.ListShardsInput{StreamName: aws.String("orders")})
		wantError[*types.ResourceInUseException](t, err, "Stream orders under account 000000000000 not ACTIVE, instead in state CREATING")
		_, err = c.RegisterStreamConsumer(ctx, &kinesis.RegisterStreamConsumerInput{StreamARN: aws.String(ordersARN), ConsumerName: aws.String("app")})
		wantError[*types.ResourceInUseException](t, err, "")
		pass(time.Second)
		want(types.StreamStatusActive)

		split := &kinesis.SplitShardInput{StreamName: aws.String("orders"), ShardToSplit: aws.String("shardId-000000000000"), NewStartingHashKey: aws.String("5")}
		must(c.SplitShard(ctx, split))(t)
		want(types.StreamStatusUpdating)
		_, err = c.SplitShard(ctx, split)
		wantError[*types.ResourceInUseException](t, err, "Stream orders under account 000000000000 not ACTIVE, instead in state UPDATING")
		_, err = c.AddTagsToStream(ctx, &kinesis.AddTagsToStreamInput{StreamName: aws.String("orders"), Tags: map[string]string{"a": "b"}})
		wantError[*types.ResourceInUseException](t, err, "")
		pass(time.Second)
		want(types.StreamStatusActive)

		r := must(c.RegisterStreamConsumer(ctx, &kinesis.RegisterStreamConsumerInput{StreamARN: aws.String(ordersARN), ConsumerName: aws.String("app")}))(t)
		arn := r.Consumer.ConsumerARN
		consumer := func() types.ConsumerStatus {
			d, err := c.DescribeStreamConsumer(ctx, &kinesis.DescribeStreamConsumerInput{ConsumerARN: arn})
			if err != nil {
				return ""
			}
			return d.ConsumerDescription.ConsumerStatus
		}
		if r.Consumer.ConsumerStatus != types.ConsumerStatusCreating || consumer() != types.ConsumerStatusCreating {
			t.Fatalf("%+v", r.Consumer)
		}
		_, err = c.PutResourcePolicy(ctx, &kinesis.PutResourcePolicyInput{ResourceARN: arn, Policy: aws.String("{}")})
		wantError[*types.ResourceInUseException](t, err, "")
		pass(time.Second)
		if consumer() != types.ConsumerStatusActive {
			t.Fatal(consumer())
		}
		must(c.DeregisterStreamConsumer(ctx, &kinesis.DeregisterStreamConsumerInput{ConsumerARN: arn}))(t)
		if consumer() != types.ConsumerStatusDeleting {
			t.Fatal(consumer())
		}
		must(c.DeregisterStreamConsumer(ctx, &kinesis.DeregisterStreamConsumerInput{ConsumerARN: arn}))(t) // again
		pass(time.Second)
		if consumer() != "" {
			t.Fatal(consumer())
		}

		must(c.DeleteStream(ctx, &kinesis.DeleteStreamInput{StreamName: aws.String("orders")}))(t)
		want(types.StreamStatusDeleting)
		pass(time.Second / 2)
		want(types.StreamStatusDeleting)
		_, err = c.CreateStream(ctx, &kinesis.CreateStreamInput{StreamName: aws.String("orders"), ShardCount: aws.Int32(1)})
		wantError[*types.ResourceInUseException](t, err, "")
		pass(time.Second / 2)
		_, err = c.DescribeStreamSummary(ctx, &kinesis.DescribeStreamSummaryInput{StreamName: aws.String("orders")})
		wantError[*types.ResourceNotFoundException](t, err, "")
		h.create(1) // another one
		want(types.StreamStatusCreating)
	})
}

func TestAtMostFiveConsumersAreCreatingAtATime(t *testing.T) {
	bubble(t, Config{StateDelay: time.Second}, func(t *testing.T, h *harness) {
		h.create(1)
		pass(time.Second)
		register := func(name string) error {
			_, err := h.client().RegisterStreamConsumer(t.Context(), &kinesis.RegisterStreamConsumerInput{StreamARN: aws.String(ordersARN), ConsumerName: aws.String(name)})
			return err
		}
		for _, name := range []string{"a", "b", "c", "d", "e"} {
			if err := register(name); err != nil {
				t.Fatal(err)
			}
		}
		wantError[*types.LimitExceededException](t, register("f"), "")
		pass(time.Second)
		if err := register("f"); err != nil {
			t.Fatal(err)
		}
	})
}

func TestPagesOfListsCanBeAskedForDuringFiveMinutes(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, h *harness) {
		c, ctx := h.client(), t.Context()
		h.create(3)
		first := must(c.ListShards(ctx, &kinesis.ListShardsInput{StreamName: aws.String("orders"), MaxResults: aws.Int32(1)}))(t)
		h.mustCreate("another")
		streams := must(c.ListStreams(ctx, &kinesis.ListStreamsInput{Limit: aws.Int32(1)}))(t)
		pass(300 * time.Second)
		if _, err := c.ListShards(ctx, &kinesis.ListShardsInput{NextToken: first.NextToken}); err != nil {
			t.Error(err)
		}
		pass(time.Millisecond)
		_, err := c.ListShards(ctx, &kinesis.ListShardsInput{NextToken: first.NextToken})
		wantError[*types.ExpiredNextTokenException](t, err, "")
		_, err = c.ListStreams(ctx, &kinesis.ListStreamsInput{NextToken: streams.NextToken})
		wantError[*types.ExpiredNextTokenException](t, err, "")
	})
}

func TestShardsWithoutReadableRecordsAreNotListed(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, h *harness) {
		c, ctx := h.client(), t.Context()
		h.create(1)
		pass(time.Hour)
		must(c.SplitShard(ctx, &kinesis.SplitShardInput{StreamName: aws.String("orders"), ShardToSplit: aws.String("0"), NewStartingHashKey: aws.String("5")}))(t)
		pass(24 * time.Hour)
		if got := h.shards(); len(got) != 3 {
			t.Errorf("at the end of retention %v are listed", got)
		}
		pass(time.Second)
		if got := h.shards(); len(got) != 2 || got[0] != "1<0 open" || got[1] != "2<0 open" {
			t.Errorf("after retention %v are listed", got)
		}
	})
}

func TestTheCallsPerSecondOfTheAPIAreKeptWhenAsked(t *testing.T) {
	count := func(h *harness, call func() error) (n int) {
		for range 2000 {
			err := call()
			if err != nil {
				wantError[*types.LimitExceededException](h.t, err, "")
				return n
			}
			n++
		}
		return n
	}
	bubble(t, Config{Limits: engine.KinesisLimits}, func(t *testing.T, h *harness) {
		c, ctx := h.client(), t.Context()
		h.create(1)
		h.mustCreate("another")
		for _, op := range []struct {
			name string
			most int
			call func() error
		}{
			{"DescribeLimits", 1, func() error { _, err := c.DescribeLimits(ctx, &kinesis.DescribeLimitsInput{}); return err }},
			{"ListStreams", 5, func() error { _, err := c.ListStreams(ctx, &kinesis.ListStreamsInput{}); return err }},
			{"DescribeStreamSummary", 20, func() error {
				_, err := c.DescribeStreamSummary(ctx, &kinesis.DescribeStreamSummaryInput{StreamName: aws.String("orders")})
				return err
			}},
			{"ListShards", 1000, func() error {
				_, err := c.ListShards(ctx, &kinesis.ListShardsInput{StreamName: aws.String("orders")})
				return err
			}},
		} {
			if n := count(h, op.call); n != op.most {
				t.Errorf("%s was done %d times in a second, want %d", op.name, n, op.most)
			}
		}
		// Others have their own.
		if _, err := c.ListShards(ctx, &kinesis.ListShardsInput{StreamName: aws.String("another")}); err != nil {
			t.Error(err)
		}
		pass(200 * time.Millisecond)
		if _, err := c.ListStreams(ctx, &kinesis.ListStreamsInput{}); err != nil {
			t.Errorf("a fifth of a second later: %v", err)
		}
	})
	bubble(t, Config{}, func(t *testing.T, h *harness) {
		c, ctx := h.client(), t.Context()
		for range 10 {
			must(c.DescribeLimits(ctx, &kinesis.DescribeLimitsInput{}))(t)
		}
	})
}

func TestWhatIsKeptOfCallsIsBounded(t *testing.T) {
	var r rates
	now := time.Now()
	for i := range 10 * mostBuckets {
		r.take(1, string(rune(i)), now)
	}
	if n := len(r.buckets); n > mostBuckets {
		t.Errorf("%d buckets", n)
	}
}
