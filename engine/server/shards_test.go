package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/stream"
)

func TestSplitShardClosesAShardAndOpensTwo(t *testing.T) {
	h := start(t, Config{})
	c, ctx := h.client(), t.Context()
	h.create(1)
	must(c.SplitShard(ctx, &kinesis.SplitShardInput{StreamName: aws.String("orders"), ShardToSplit: aws.String("shardId-000000000000"), NewStartingHashKey: aws.String("10")}))(t)
	if got := h.shards(); !slices.Equal(got, []string{"0", "1<0 open", "2<0 open"}) {
		t.Errorf("%v", got)
	}
	out := must(c.ListShards(ctx, &kinesis.ListShardsInput{StreamName: aws.String("orders")}))(t)
	if a, b := out.Shards[1].HashKeyRange, out.Shards[2].HashKeyRange; *a.EndingHashKey != "9" || *b.StartingHashKey != "10" || *b.EndingHashKey != stream.MaxHash.String() {
		t.Errorf("%s and %s to %s", *a.EndingHashKey, *b.StartingHashKey, *b.EndingHashKey)
	}
}

func TestSplitShardRefusesWhatCannotBeSplit(t *testing.T) {
	h := start(t, Config{})
	c, ctx := h.client(), t.Context()
	h.create(1)
	must(c.SplitShard(ctx, &kinesis.SplitShardInput{StreamName: aws.String("orders"), ShardToSplit: aws.String("shardId-000000000000"), NewStartingHashKey: aws.String("10")}))(t)
	closed := "Shard shardId-000000000000 in stream orders under account 000000000000 has already been merged or split, and thus is not eligible for merging or splitting."
	outside := func(key string) string {
		return "NewStartingHashKey " + key + " used in SplitShard() on shard shardId-000000000001 in stream orders under account 000000000000 is not both greater " +
			"than one plus the shard's StartingHashKey 0 and less than the shard's EndingHashKey 9."
	}
	for _, x := range []struct{ shard, key, name, message string }{
		{"shardId-000000000000", "5", "InvalidArgumentException", closed},
		{"shardId-0", "5", "InvalidArgumentException", closed},
		{"0", "5", "InvalidArgumentException", closed},
		{"shardId-000000000003", "5", "ResourceNotFoundException", "Could not find shard shardId-000000000003 in stream orders under account 000000000000."},
		{"3", "5", "ResourceNotFoundException", "Could not find shard shardId-000000000003 in stream orders under account 000000000000."},
		{"shardId-x", "5", "ResourceNotFoundException", "Could not find shard shardId-x in stream orders under account 000000000000."},
		{"shardId-99999999999", "5", "ResourceNotFoundException", ""},
		{"1", "0", "InvalidArgumentException", outside("0")},
		{"1", "1", "InvalidArgumentException", outside("1")},
		{"1", "9", "InvalidArgumentException", outside("9")},
		{"1", "10", "InvalidArgumentException", outside("10")},
		{"1", "340282366920938463463374607431768211456", "InvalidArgumentException", ""},
		{"1", "01", "ValidationException", ""},
		{"1", "x", "ValidationException", ""},
	} {
		body := fmt.Sprintf(`{"StreamName":"orders","ShardToSplit":%q,"NewStartingHashKey":%q}`, x.shard, x.key)
		h.post("SplitShard", body).wantFault(t, x.name, x.message)
	}
	h.post("SplitShard", `{"StreamName":"absent","ShardToSplit":"0","NewStartingHashKey":"5"}`).wantFault(t, "ResourceNotFoundException", "")
	if got := h.shards(); len(got) != 3 {
		t.Errorf("%v", got)
	}
	must(c.SplitShard(ctx, &kinesis.SplitShardInput{StreamName: aws.String("orders"), ShardToSplit: aws.String("1"), NewStartingHashKey: aws.String("2")}))(t)
}

func TestMergeShardsClosesTwoNeighboursInWhicheverOrder(t *testing.T) {
	for _, order := range [][2]string{{"0", "1"}, {"1", "0"}} {
		h := start(t, Config{})
		c, ctx := h.client(), t.Context()
		h.create(3)
		merge := func(a, b string) error {
			_, err := c.MergeShards(ctx, &kinesis.MergeShardsInput{StreamName: aws.String("orders"), ShardToMerge: aws.String(a), AdjacentShardToMerge: aws.String(b)})
			return err
		}
		wantError[*types.InvalidArgumentException](t, merge("0", "2"), "Shards shardId-000000000000 and shardId-000000000002 in stream orders under account 000000000000 are not an adjacent pair of shards eligible for merging")
		wantError[*types.InvalidArgumentException](t, merge("0", "0"), "")
		wantError[*types.ResourceNotFoundException](t, merge("0", "7"), "")
		if err := merge(order[0], order[1]); err != nil {
			t.Fatal(err)
		}
		if got, want := h.shards(), []string{"0", "1", "2 open", "3<" + order[0] + "+" + order[1] + " open"}; !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
		wantError[*types.InvalidArgumentException](t, merge("1", "2"), "Shard shardId-000000000001 in stream orders under account 000000000000 has already been merged or split, and thus is not eligible for merging or splitting.")
	}
}

func TestUpdateShardCountLeavesAsManyShardsAsAmazons(t *testing.T) {
	for _, x := range []struct{ from, to, all int }{
		{2, 4, 6}, {4, 5, 15}, {10, 13, 37}, {4, 2, 6}, {5, 3, 7}, {2, 2, 2},
	} {
		h := start(t, Config{Limits: engine.KinesisLimits})
		h.create(int32(x.from))
		out := must(h.client().UpdateShardCount(t.Context(), &kinesis.UpdateShardCountInput{
			StreamName: aws.String("orders"), TargetShardCount: aws.Int32(int32(x.to)), ScalingType: types.ScalingTypeUniformScaling,
		}))(t)
		if int(*out.CurrentShardCount) != x.from || int(*out.TargetShardCount) != x.to || *out.StreamName != "orders" || *out.StreamARN != ordersARN {
			t.Errorf("%+v", out)
		}
		all := h.shards()
		open := slices.DeleteFunc(slices.Clone(all), func(s string) bool { return !strings.HasSuffix(s, "open") })
		if len(all) != x.all || len(open) != x.to {
			t.Errorf("from %d to %d: %d open of %d, want %d of %d", x.from, x.to, len(open), len(all), x.to, x.all)
		}
	}
}

func TestUpdateShardCountKeepsAmazonsLimitsWhenAsked(t *testing.T) {
	update := func(h *harness, n int32) error {
		_, err := h.client().UpdateShardCount(t.Context(), &kinesis.UpdateShardCountInput{StreamName: aws.String("orders"), TargetShardCount: aws.Int32(n), ScalingType: types.ScalingTypeUniformScaling})
		return err
	}
	h := start(t, Config{})
	h.create(1)
	for range 6 {
		for _, n := range []int32{9, 1} {
			if err := update(h, n); err != nil {
				t.Fatal(err)
			}
		}
	}
	wantError[*types.LimitExceededException](t, update(h, 10_001), "Target shard count or number of open shards cannot be greater than 10000. Current open shard count: 1, Target shard count: 10001")
	wantCode(t, update(h, 0), "ValidationException")

	bubble(t, Config{Limits: engine.KinesisLimits}, func(t *testing.T, h *harness) {
		h.create(5)
		wantError[*types.LimitExceededException](t, update(h, 11), "UpdateShardCount cannot scale up over double your current open shard count. Current open shard count: 5, Target shard count: 11")
		wantError[*types.LimitExceededException](t, update(h, 2), "UpdateShardCount cannot scale down below half your current open shard count. Current open shard count: 5, Target shard count: 2")
		for i := range 10 {
			pass(time.Minute)
			if err := update(h, int32(5+i%2)); err != nil {
				t.Fatal(err)
			}
		}
		pass(time.Minute)
		wantError[*types.LimitExceededException](t, update(h, 5), "Stream orders under account 000000000000 was scaled 10 times in the last 24 hours, which is the limit.")
		pass(24*time.Hour - 10*time.Minute)
		if err := update(h, 5); err != nil {
			t.Errorf("a day after the first: %v", err)
		}
	})
}

func TestShardsOfAnOnDemandStreamAreNotTheClientsToChange(t *testing.T) {
	h := start(t, Config{})
	c, ctx := h.client(), t.Context()
	must(c.CreateStream(ctx, &kinesis.CreateStreamInput{StreamName: aws.String("orders"), StreamModeDetails: &types.StreamModeDetails{StreamMode: types.StreamModeOnDemand}}))(t)
	const message = "Request is invalid. Stream orders under account 000000000000 is in On-Demand mode."
	h.post("SplitShard", `{"StreamName":"orders","ShardToSplit":"0","NewStartingHashKey":"5"}`).wantFault(t, "ValidationException", message)
	h.post("MergeShards", `{"StreamName":"orders","ShardToMerge":"0","AdjacentShardToMerge":"1"}`).wantFault(t, "ValidationException", message)
	h.post("UpdateShardCount", `{"StreamName":"orders","TargetShardCount":8,"ScalingType":"UNIFORM_SCALING"}`).wantFault(t, "ValidationException", message)
}

func TestListShardsAnswersPageByPage(t *testing.T) {
	h := start(t, Config{})
	c, ctx := h.client(), t.Context()
	h.create(1100)
	out := must(c.ListShards(ctx, &kinesis.ListShardsInput{StreamName: aws.String("orders"), MaxResults: aws.Int32(10_000)}))(t)
	if len(out.Shards) != 1000 || out.NextToken == nil {
		t.Fatalf("%d shards, token %v", len(out.Shards), out.NextToken)
	}
	rest := must(c.ListShards(ctx, &kinesis.ListShardsInput{NextToken: out.NextToken, MaxResults: aws.Int32(60)}))(t)
	if len(rest.Shards) != 60 || *rest.Shards[0].ShardId != "shardId-000000001000" || rest.NextToken == nil {
		t.Fatalf("%d shards from %s", len(rest.Shards), *rest.Shards[0].ShardId)
	}
	rest = must(c.ListShards(ctx, &kinesis.ListShardsInput{NextToken: rest.NextToken}))(t)
	if len(rest.Shards) != 40 || *rest.Shards[39].ShardId != "shardId-000000001099" || rest.NextToken != nil {
		t.Fatalf("%d shards", len(rest.Shards))
	}
	some := must(c.ListShards(ctx, &kinesis.ListShardsInput{StreamName: aws.String("orders"), ExclusiveStartShardId: aws.String("shardId-000000001097")}))(t)
	if len(some.Shards) != 2 {
		t.Errorf("%d shards", len(some.Shards))
	}
	for member, value := range map[string]string{
		"StreamName": `"orders"`, "StreamARN": `"` + ordersARN + `"`, "StreamCreationTimestamp": "1", "ExclusiveStartShardId": `"1"`, "ShardFilter": `{"Type":"AT_LATEST"}`,
	} {
		h.post("ListShards", fmt.Sprintf(`{"NextToken":%q,%q:%s}`, *out.NextToken, member, value)).
			wantFault(t, "InvalidArgumentException", "NextToken and "+member+" cannot be provided together.")
	}
}

func TestListShardsFiltersShardsByWhenTheyTookRecords(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, h *harness) {
		c, ctx := h.client(), t.Context()
		h.create(2)
		split := func(shard, at string) {
			must(c.SplitShard(ctx, &kinesis.SplitShardInput{StreamName: aws.String("orders"), ShardToSplit: aws.String(shard), NewStartingHashKey: aws.String(at)}))(t)
		}
		began := time.Now()
		pass(10 * time.Hour)
		split("0", "100") // 2, 3
		first := time.Now()
		pass(10 * time.Hour)
		split("2", "50") // 4, 5
		second := time.Now()
		list := func(f *types.ShardFilter) string {
			out := must(c.ListShards(ctx, &kinesis.ListShardsInput{StreamName: aws.String("orders"), ShardFilter: f, MaxResults: aws.Int32(2)}))(t)
			shards := out.Shards
			for out.NextToken != nil {
				out = must(c.ListShards(ctx, &kinesis.ListShardsInput{NextToken: out.NextToken, MaxResults: aws.Int32(2)}))(t)
				shards = append(shards, out.Shards...)
			}
			text := ""
			for _, sh := range shards {
				text += (*sh.ShardId)[19:] + " "
			}
			return strings.TrimSpace(text)
		}
		at := func(kind types.ShardFilterType, when time.Time) *types.ShardFilter {
			return &types.ShardFilter{Type: kind, Timestamp: &when}
		}
		for _, x := range []struct {
			name   string
			filter *types.ShardFilter
			want   string
		}{
			{"none", nil, "0 1 2 3 4 5"},
			{"latest", &types.ShardFilter{Type: types.ShardFilterTypeAtLatest}, "1 3 4 5"},
			{"trim horizon", &types.ShardFilter{Type: types.ShardFilterTypeAtTrimHorizon}, "0 1"},
			{"from trim horizon", &types.ShardFilter{Type: types.ShardFilterTypeFromTrimHorizon}, "0 1 2 3 4 5"},
			{"after 2", &types.ShardFilter{Type: types.ShardFilterTypeAfterShardId, ShardId: aws.String("shardId-000000000002")}, "3 4 5"},
			{"at a time before the stream", at(types.ShardFilterTypeAtTimestamp, began.Add(-time.Hour)), "0 1"},
			{"at a time of the first shards", at(types.ShardFilterTypeAtTimestamp, began.Add(time.Hour)), "0 1"},
			{"at the time of a split", at(types.ShardFilterTypeAtTimestamp, first), "0 1 2 3"},
			{"after the first split", at(types.ShardFilterTypeAtTimestamp, first.Add(time.Millisecond)), "1 2 3"},
			{"at a time to come", at(types.ShardFilterTypeAtTimestamp, second.Add(time.Hour)), "1 3 4 5"},
			{"from a time before the stream", at(types.ShardFilterTypeFromTimestamp, began.Add(-time.Hour)), "0 1 2 3 4 5"},
			{"from the time of the first split", at(types.ShardFilterTypeFromTimestamp, first), "0 1 2 3 4 5"},
			{"from after the first split", at(types.ShardFilterTypeFromTimestamp, first.Add(time.Millisecond)), "1 2 3 4 5"},
			{"from a time to come", at(types.ShardFilterTypeFromTimestamp, second.Add(time.Hour)), "1 3 4 5"},
		} {
			if got := list(x.filter); got != x.want {
				t.Errorf("%s: %s, want %s", x.name, got, x.want)
			}
		}
		// What comes between two pages is not mixed into the list.
		page := must(c.ListShards(ctx, &kinesis.ListShardsInput{StreamName: aws.String("orders"), MaxResults: aws.Int32(2), ShardFilter: &types.ShardFilter{Type: types.ShardFilterTypeAtLatest}}))(t)
		pass(time.Second)
		split("5", "70") // 6, 7
		rest := must(c.ListShards(ctx, &kinesis.ListShardsInput{NextToken: page.NextToken}))(t)
		if n := len(rest.Shards); n != 2 || *rest.Shards[1].ShardId != "shardId-000000000005" {
			t.Errorf("the second page has %d shards", n)
		}
		pass(12 * time.Hour) // the first split lies 22 hours back, the horizon at 24
		if got := list(&types.ShardFilter{Type: types.ShardFilterTypeAtTrimHorizon}); got != "0 1" {
			t.Errorf("at the horizon of the first shards: %s", got)
		}
		pass(3 * time.Hour)
		if got := list(&types.ShardFilter{Type: types.ShardFilterTypeAtTrimHorizon}); got != "1 2 3" {
			t.Errorf("at the horizon after the first split: %s", got)
		}
	})
}

func TestListShardsRefusesWhatIsNoList(t *testing.T) {
	h := start(t, Config{})
	h.create(1)
	created := h.summary().StreamCreationTimestamp
	for _, x := range []struct{ body, name string }{
		{`{}`, "InvalidArgumentException"},
		{`{"StreamName":"absent"}`, "ResourceNotFoundException"},
		{`{"StreamName":"orders","StreamCreationTimestamp":1}`, "ResourceNotFoundException"},
		{`{"StreamName":"orders","MaxResults":0}`, "ValidationException"},
		{`{"StreamName":"orders","ExclusiveStartShardId":"x"}`, "ResourceNotFoundException"},
		{`{"StreamName":"orders","ShardFilter":{}}`, "ValidationException"},
		{`{"StreamName":"orders","ShardFilter":{"Type":"OTHER"}}`, "ValidationException"},
		{`{"StreamName":"orders","ShardFilter":{"Type":"AFTER_SHARD_ID"}}`, "InvalidArgumentException"},
		{`{"StreamName":"orders","ShardFilter":{"Type":"AT_TIMESTAMP"}}`, "InvalidArgumentException"},
		{`{"StreamName":"orders","ShardFilter":{"Type":"FROM_TIMESTAMP"}}`, "InvalidArgumentException"},
		{`{"NextToken":"x"}`, "InvalidArgumentException"},
	} {
		h.post("ListShards", x.body).wantFault(t, x.name, "")
	}
	if _, err := h.client().ListShards(t.Context(), &kinesis.ListShardsInput{StreamName: aws.String("orders"), StreamCreationTimestamp: created}); err != nil {
		t.Errorf("with the time at which it was created: %v", err)
	}
}

func TestTokensAreOfOneKindOneServerAndOneStream(t *testing.T) {
	h := start(t, Config{})
	h.create(3)
	token := h.server.nextPage("ListShards", page{Stream: "orders", Created: h.summary().StreamCreationTimestamp.UnixMilli(), After: "shardId-000000000000"})
	var out struct{ Shards []json.RawMessage }
	if a := h.post("ListShards", fmt.Sprintf(`{"NextToken":%q}`, token)); json.Unmarshal(a.body, &out) != nil || len(out.Shards) != 2 {
		t.Fatalf("%s", a.body)
	}
	for i := range token {
		b := []byte(token)
		if b[i]++; i == len(token)-1 {
			b[i] = '!' // the last digit has bits to spare
		}
		h.post("ListShards", fmt.Sprintf(`{"NextToken":%q}`, b)).wantFault(t, "InvalidArgumentException", "NextToken is invalid.")
	}
	h.post("ListStreams", fmt.Sprintf(`{"NextToken":%q}`, token)).wantFault(t, "InvalidArgumentException", "NextToken is invalid.")
	start(t, Config{}).post("ListShards", fmt.Sprintf(`{"NextToken":%q}`, token)).wantFault(t, "InvalidArgumentException", "NextToken is invalid.")
	// The stream goes, and another one comes.
	must(h.client().DeleteStream(t.Context(), &kinesis.DeleteStreamInput{StreamName: aws.String("orders")}))(t)
	h.create(3)
	h.post("ListShards", fmt.Sprintf(`{"NextToken":%q}`, token)).wantFault(t, "ResourceNotFoundException", "")
}

func TestShardIDsMayBeWrittenShort(t *testing.T) {
	for id, want := range map[string]string{
		"shardId-000000000001": "shardId-000000000001",
		"shardId-1":            "shardId-000000000001",
		"1":                    "shardId-000000000001",
		"000000000000000001":   "shardId-000000000001",
		"other-12":             "shardId-000000000012",
		"2147483647":           "shardId-002147483647",
		"2147483648":           "",
		"":                     "",
		"shardId-":             "",
		"shardId--1":           "",
		"shardId-1-2":          "",
		"x":                    "",
	} {
		got, ok := fullShardID(id)
		if got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v", id, got, ok)
		}
	}
}

func TestMoreShardsThanMayBeKeptAreALimitThatTellsWhatToDo(t *testing.T) {
	h := start(t, Config{})
	h.create(1)
	scale := func(n int32) error {
		_, err := h.client().UpdateShardCount(t.Context(), &kinesis.UpdateShardCountInput{
			StreamName: aws.String("orders"), TargetShardCount: aws.Int32(n), ScalingType: types.ScalingTypeUniformScaling,
		})
		return err
	}
	if err := scale(mostShards); err != nil {
		t.Fatal(err)
	}
	var err error
	for range 3 {
		if err = scale(1); err == nil {
			err = scale(mostShards)
		}
	}
	if limit, ok := errors.AsType[*types.LimitExceededException](err); !ok || !strings.Contains(limit.ErrorMessage(), "wait until closed ones leave retention") {
		t.Errorf("%v", err)
	}
}
