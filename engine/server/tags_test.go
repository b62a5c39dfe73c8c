package server

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
)

func tagList(tags []types.Tag) (text string) {
	for _, t := range tags {
		text += *t.Key + "=" + *t.Value + " "
	}
	return strings.TrimSpace(text)
}

func (h *harness) tags() string {
	h.t.Helper()
	return tagList(must(h.client().ListTagsForStream(h.t.Context(), &kinesis.ListTagsForStreamInput{StreamName: aws.String("orders")}))(h.t).Tags)
}

func TestAddTagsToStreamAddsAndReplacesTags(t *testing.T) {
	h := start(t, Config{})
	c, ctx := h.client(), t.Context()
	h.create(1)
	for _, tags := range []map[string]string{{"a": "1", "b": ""}, {"b": "2", "ü_.:/=+-@ 1": "é"}} {
		must(c.AddTagsToStream(ctx, &kinesis.AddTagsToStreamInput{StreamName: aws.String("orders"), Tags: tags}))(t)
	}
	if got := h.tags(); got != "a=1 b=2 ü_.:/=+-@ 1=é" {
		t.Errorf("%s", got)
	}
	for tags, name := range map[string]string{
		`{}`: "ValidationException",
		`{"` + strings.Repeat("k", 129) + `":"v"}`: "ValidationException",
		`{"k":"` + strings.Repeat("v", 257) + `"}`: "ValidationException",
		`{"k%":"v"}`: "InvalidArgumentException",
		`{"k":"v;"}`: "InvalidArgumentException",
	} {
		h.post("AddTagsToStream", `{"StreamName":"orders","Tags":`+tags+`}`).wantFault(t, name, "")
	}
	h.post("AddTagsToStream", `{"StreamName":"orders"}`).wantFault(t, "ValidationException", "")
	many := map[string]string{}
	for i := range 48 {
		many[fmt.Sprint("k", i)] = "v"
	}
	_, err := c.AddTagsToStream(ctx, &kinesis.AddTagsToStreamInput{StreamName: aws.String("orders"), Tags: many})
	wantError[*types.InvalidArgumentException](t, err, "Failed to add tags to stream orders under account 000000000000 because a given stream cannot have more than 50 tags associated with it.")
	delete(many, "k0")
	must(c.AddTagsToStream(ctx, &kinesis.AddTagsToStreamInput{StreamName: aws.String("orders"), Tags: many}))(t)
	must(c.AddTagsToStream(ctx, &kinesis.AddTagsToStreamInput{StreamName: aws.String("orders"), Tags: many}))(t) // no more than before
}

func TestRemoveTagsFromStreamLeavesTheOthers(t *testing.T) {
	h := start(t, Config{})
	c, ctx := h.client(), t.Context()
	h.create(1)
	must(c.AddTagsToStream(ctx, &kinesis.AddTagsToStreamInput{StreamName: aws.String("orders"), Tags: map[string]string{"a": "1", "b": "2", "c": "3"}}))(t)
	must(c.RemoveTagsFromStream(ctx, &kinesis.RemoveTagsFromStreamInput{StreamName: aws.String("orders"), TagKeys: []string{"a", "c", "absent"}}))(t)
	if got := h.tags(); got != "b=2" {
		t.Errorf("%s", got)
	}
	h.post("RemoveTagsFromStream", `{"StreamName":"orders","TagKeys":[]}`).wantFault(t, "ValidationException", "")
	h.post("RemoveTagsFromStream", `{"StreamName":"absent","TagKeys":["a"]}`).wantFault(t, "ResourceNotFoundException", "")
}

func TestListTagsForStreamListsThemByKeyPageByPage(t *testing.T) {
	h := start(t, Config{})
	c, ctx := h.client(), t.Context()
	h.create(1)
	must(c.AddTagsToStream(ctx, &kinesis.AddTagsToStreamInput{StreamName: aws.String("orders"), Tags: map[string]string{"c": "3", "a": "1", "b": "2"}}))(t)
	out := must(c.ListTagsForStream(ctx, &kinesis.ListTagsForStreamInput{StreamARN: aws.String(ordersARN), Limit: aws.Int32(2)}))(t)
	if tagList(out.Tags) != "a=1 b=2" || !*out.HasMoreTags {
		t.Errorf("%s, %v", tagList(out.Tags), *out.HasMoreTags)
	}
	out = must(c.ListTagsForStream(ctx, &kinesis.ListTagsForStreamInput{StreamARN: aws.String(ordersARN), ExclusiveStartTagKey: aws.String("b")}))(t)
	if tagList(out.Tags) != "c=3" || *out.HasMoreTags {
		t.Errorf("%s, %v", tagList(out.Tags), *out.HasMoreTags)
	}
	h.post("ListTagsForStream", `{"StreamName":"orders","Limit":51}`).wantFault(t, "ValidationException", "")
}

func TestTagResourceTagsStreamsAndConsumers(t *testing.T) {
	h := start(t, Config{})
	c, ctx := h.client(), t.Context()
	h.create(1)
	consumer := must(c.RegisterStreamConsumer(ctx, &kinesis.RegisterStreamConsumerInput{
		StreamARN: aws.String(ordersARN), ConsumerName: aws.String("app"), Tags: map[string]string{"first": "1"},
	}))(t).Consumer.ConsumerARN
	for arn, want := range map[string]string{ordersARN: "a=1 b=2", *consumer: "a=1 b=2 first=1"} {
		tags := map[string]string{"a": "1", "b": "2"}
		must(c.TagResource(ctx, &kinesis.TagResourceInput{ResourceARN: aws.String(arn), Tags: maps.Clone(tags)}))(t)
		if got := h.resourceTags(arn); got != want {
			t.Errorf("%s has %s, want %s", arn, got, want)
		}
		many := map[string]string{}
		for i := range 50 {
			many[fmt.Sprint("k", i)] = "v"
		}
		_, err := c.TagResource(ctx, &kinesis.TagResourceInput{ResourceARN: aws.String(arn), Tags: many})
		wantError[*types.InvalidArgumentException](t, err, "")
	}
	refuseNoResources(h, "TagResource", `,"Tags":{"a":"b"}`)
}

func TestUntagResourceLeavesTheOtherTags(t *testing.T) {
	h := start(t, Config{})
	c, ctx := h.client(), t.Context()
	h.create(1)
	for _, arn := range []string{ordersARN, *h.register("app").ConsumerARN} {
		must(c.TagResource(ctx, &kinesis.TagResourceInput{ResourceARN: aws.String(arn), Tags: map[string]string{"a": "1", "b": "2"}}))(t)
		must(c.UntagResource(ctx, &kinesis.UntagResourceInput{ResourceARN: aws.String(arn), TagKeys: []string{"a", "absent"}}))(t)
		if got := h.resourceTags(arn); got != "b=2" {
			t.Errorf("%s has %s", arn, got)
		}
	}
	refuseNoResources(h, "UntagResource", `,"TagKeys":["a"]`)
}

func TestListTagsForResourceListsNoneWhereThereAreNone(t *testing.T) {
	h := start(t, Config{})
	h.create(1)
	for _, arn := range []string{ordersARN, *h.register("app").ConsumerARN} {
		if got := h.resourceTags(arn); got != "" {
			t.Errorf("%s has %s", arn, got)
		}
	}
	refuseNoResources(h, "ListTagsForResource", "")
}

func (h *harness) resourceTags(arn string) string {
	h.t.Helper()
	return tagList(must(h.client().ListTagsForResource(h.t.Context(), &kinesis.ListTagsForResourceInput{ResourceARN: aws.String(arn)}))(h.t).Tags)
}

// refuseNoResources calls an operation with ARNs of nothing.
func refuseNoResources(h *harness, operation, rest string) {
	h.t.Helper()
	for arn, name := range map[string]string{
		ordersARN + "2":                                       "ResourceNotFoundException",
		ordersARN + "/consumer/none:1":                        "ResourceNotFoundException",
		"arn:aws:kinesis:us-east-1:000000000000:channel/none": "ResourceNotFoundException",
		"arn:aws:kinesis:us-east-1:111111111111:stream/none":  "ResourceNotFoundException",
		"nonsense": "ValidationException",
	} {
		h.post(operation, fmt.Sprintf(`{"ResourceARN":%q%s}`, arn, rest)).wantFault(h.t, name, "")
	}
	h.post(operation, `{`+strings.TrimPrefix(rest, ",")+`}`).wantFault(h.t, "ValidationException", "")
}
