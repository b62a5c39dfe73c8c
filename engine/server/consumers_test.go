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

// register registers a consumer of the stream orders, and returns it.
func (h *harness) register(name string) *types.Consumer {
	h.t.Helper()
	return must(h.client().RegisterStreamConsumer(h.t.Context(), &kinesis.RegisterStreamConsumerInput{StreamARN: aws.String(ordersARN), ConsumerName: aws.String(name)}))(h.t).Consumer
}

func TestRegisterStreamConsumerGivesAnARNOfItsOwn(t *testing.T) {
	h := start(t, Config{})
	h.create(1)
	c := h.register("app")
	if want := fmt.Sprintf("%s/consumer/app:%d", ordersARN, c.ConsumerCreationTimestamp.Unix()); *c.ConsumerARN != want ||
		*c.ConsumerName != "app" || c.ConsumerStatus != types.ConsumerStatusActive || time.Since(*c.ConsumerCreationTimestamp) > time.Minute {
		t.Errorf("%+v, want %s", c, want)
	}
	_, err := h.client().RegisterStreamConsumer(t.Context(), &kinesis.RegisterStreamConsumerInput{StreamARN: aws.String(ordersARN), ConsumerName: aws.String("app")})
	wantError[*types.ResourceInUseException](t, err, "")
	seen := map[string]bool{*c.ConsumerARN: true}
	for range 3 {
		must(h.client().DeregisterStreamConsumer(t.Context(), &kinesis.DeregisterStreamConsumerInput{ConsumerARN: c.ConsumerARN}))(t)
		if c = h.register("app"); seen[*c.ConsumerARN] {
			t.Fatalf("%s was given twice", *c.ConsumerARN)
		}
		seen[*c.ConsumerARN] = true
	}
	found, err := h.server.consumerByARN(*c.ConsumerARN)
	if err != nil || found.Name != "app" || found.of.name != "orders" || found.status != "ACTIVE" || found.arn != *c.ConsumerARN {
		t.Errorf("%+v, %v", found, err)
	}
	for _, body := range []string{`{"StreamARN":%q}`, `{"StreamARN":%q,"ConsumerName":"a b"}`, `{"StreamARN":%q,"ConsumerName":"b","Tags":{}}`} {
		h.post("RegisterStreamConsumer", fmt.Sprintf(body, ordersARN)).wantFault(t, "ValidationException", "")
	}
	h.post("RegisterStreamConsumer", `{"StreamARN":"arn:aws:kinesis:us-east-1:000000000000:stream/absent","ConsumerName":"app"}`).wantFault(t, "ResourceNotFoundException", "")
}

func TestRegisterStreamConsumerAllowsTwentyAndFiftyWithTheAdvantage(t *testing.T) {
	h := start(t, Config{})
	c, ctx := h.client(), t.Context()
	h.create(1)
	fill := func(to int) {
		for i := *h.summary().ConsumerCount; int(i) < to; i++ {
			h.register(fmt.Sprint("c", i))
		}
		_, err := c.RegisterStreamConsumer(ctx, &kinesis.RegisterStreamConsumerInput{StreamARN: aws.String(ordersARN), ConsumerName: aws.String("more")})
		wantError[*types.LimitExceededException](t, err, "")
	}
	fill(20)
	must(c.UpdateStreamMode(ctx, &kinesis.UpdateStreamModeInput{StreamARN: aws.String(ordersARN), StreamModeDetails: &types.StreamModeDetails{StreamMode: types.StreamModeOnDemand}}))(t)
	fill(20)
	h.commit(types.MinimumThroughputBillingCommitmentInputStatusEnabled)
	fill(50)
}

func TestDescribeStreamConsumerFindsAConsumerByEitherName(t *testing.T) {
	h := start(t, Config{})
	c, ctx := h.client(), t.Context()
	h.create(1)
	one := h.register("app")
	for name, in := range map[string]*kinesis.DescribeStreamConsumerInput{
		"by ARN":  {ConsumerARN: one.ConsumerARN},
		"by name": {StreamARN: aws.String(ordersARN), ConsumerName: aws.String("app")},
		"by all":  {StreamARN: aws.String(ordersARN), ConsumerName: aws.String("app"), ConsumerARN: one.ConsumerARN},
	} {
		d := must(c.DescribeStreamConsumer(ctx, in))(t).ConsumerDescription
		if *d.ConsumerARN != *one.ConsumerARN || *d.StreamARN != ordersARN || *d.ConsumerName != "app" || d.ConsumerStatus != types.ConsumerStatusActive ||
			!d.ConsumerCreationTimestamp.Equal(*one.ConsumerCreationTimestamp) {
			t.Errorf("%s: %+v", name, d)
		}
	}
	arn := *one.ConsumerARN
	for _, x := range []struct{ body, name string }{
		{`{}`, "InvalidArgumentException"},
		{`{"ConsumerName":"app"}`, "InvalidArgumentException"},
		{fmt.Sprintf(`{"StreamARN":%q}`, ordersARN), "InvalidArgumentException"},
		{fmt.Sprintf(`{"StreamARN":%q,"ConsumerName":"other"}`, ordersARN), "ResourceNotFoundException"},
		{fmt.Sprintf(`{"ConsumerARN":%q,"ConsumerName":"other"}`, arn), "InvalidArgumentException"},
		{fmt.Sprintf(`{"ConsumerARN":%q,"StreamARN":%q}`, arn, ordersARN+"2"), "InvalidArgumentException"},
		{fmt.Sprintf(`{"ConsumerARN":%q}`, arn+"0"), "ResourceNotFoundException"},
		{fmt.Sprintf(`{"ConsumerARN":%q}`, strings.Replace(arn, "app", "other", 1)), "ResourceNotFoundException"},
		{fmt.Sprintf(`{"ConsumerARN":%q}`, strings.Replace(arn, "000000000000", "111111111111", 1)), "ResourceNotFoundException"},
		{fmt.Sprintf(`{"ConsumerARN":%q}`, strings.Replace(arn, "orders", "absent", 1)), "ResourceNotFoundException"},
		{`{"ConsumerARN":"nonsense"}`, "ValidationException"},
		{fmt.Sprintf(`{"ConsumerARN":%q}`, ordersARN), "ValidationException"},
	} {
		h.post("DescribeStreamConsumer", x.body).wantFault(t, x.name, "")
		h.post("DeregisterStreamConsumer", x.body).wantFault(t, x.name, "")
	}
}

func TestDeregisterStreamConsumerTakesAConsumerAway(t *testing.T) {
	h := start(t, Config{})
	c, ctx := h.client(), t.Context()
	h.create(1)
	one := h.register("app")
	must(c.DeregisterStreamConsumer(ctx, &kinesis.DeregisterStreamConsumerInput{StreamARN: aws.String(ordersARN), ConsumerName: aws.String("app")}))(t)
	_, err := c.DescribeStreamConsumer(ctx, &kinesis.DescribeStreamConsumerInput{ConsumerARN: one.ConsumerARN})
	wantError[*types.ResourceNotFoundException](t, err, "Consumer "+*one.ConsumerARN+" not found.")
	_, err = c.DeregisterStreamConsumer(ctx, &kinesis.DeregisterStreamConsumerInput{ConsumerARN: one.ConsumerARN})
	wantError[*types.ResourceNotFoundException](t, err, "")
	if n := *h.summary().ConsumerCount; n != 0 {
		t.Errorf("%d consumers", n)
	}
	must(c.DeleteStream(ctx, &kinesis.DeleteStreamInput{StreamName: aws.String("orders")}))(t)
}

func TestListStreamConsumersListsThemByNamePageByPage(t *testing.T) {
	h := start(t, Config{})
	c, ctx := h.client(), t.Context()
	h.create(1)
	if out := must(c.ListStreamConsumers(ctx, &kinesis.ListStreamConsumersInput{StreamARN: aws.String(ordersARN)}))(t); len(out.Consumers) != 0 || out.NextToken != nil {
		t.Errorf("%+v", out)
	}
	for _, name := range []string{"c", "a", "b", "e", "d"} {
		h.register(name)
	}
	var names []string
	in := &kinesis.ListStreamConsumersInput{StreamARN: aws.String(ordersARN), MaxResults: aws.Int32(2)}
	for {
		out := must(c.ListStreamConsumers(ctx, in))(t)
		for _, one := range out.Consumers {
			names = append(names, *one.ConsumerName)
		}
		if in.NextToken = out.NextToken; in.NextToken == nil {
			break
		}
	}
	if !slices.Equal(names, []string{"a", "b", "c", "d", "e"}) {
		t.Errorf("%v", names)
	}
	token := *must(c.ListStreamConsumers(ctx, &kinesis.ListStreamConsumersInput{StreamARN: aws.String(ordersARN), MaxResults: aws.Int32(2)}))(t).NextToken
	h.stream("another", engine.StreamConfig{})
	for body, name := range map[string]string{
		fmt.Sprintf(`{"StreamARN":%q,"NextToken":%q}`, strings.Replace(ordersARN, "orders", "another", 1), token): "InvalidArgumentException",
		fmt.Sprintf(`{"StreamARN":%q,"NextToken":%q,"StreamCreationTimestamp":1}`, ordersARN, token):              "InvalidArgumentException",
		fmt.Sprintf(`{"StreamARN":%q,"StreamCreationTimestamp":1}`, ordersARN):                                    "ResourceNotFoundException",
		fmt.Sprintf(`{"StreamARN":%q,"NextToken":"x"}`, ordersARN):                                                "InvalidArgumentException",
		`{}`: "ValidationException",
	} {
		h.post("ListStreamConsumers", body).wantFault(t, name, "")
	}
}
