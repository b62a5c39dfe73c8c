package server

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/stream"
)

func TestGetRecordsGoesFromIteratorToIterator(t *testing.T) {
	h := start(t, Config{})
	st := h.stream("orders", engine.StreamConfig{})
	put(t, st, 0, 25)
	it := h.oldest()
	for _, want := range []struct{ from, n int }{{0, 10}, {10, 10}, {20, 5}, {25, 0}, {25, 0}} {
		out := h.get(it, 10)
		wantNumbered(t, out.Records, want.from, want.n)
		if *out.NextShardIterator == it || len(*out.NextShardIterator) > 512 {
			t.Errorf("the next iterator is %s", *out.NextShardIterator)
		}
		if atTip := want.from+want.n == 25; atTip != (*out.MillisBehindLatest == 0) {
			t.Errorf("after record %d it is %d ms behind", want.from+want.n, *out.MillisBehindLatest)
		}
		if len(out.ChildShards) != 0 {
			t.Error("an open shard has children")
		}
		it = *out.NextShardIterator
	}
	put(t, st, 25, 3)
	wantNumbered(t, h.get(it, 10).Records, 25, 3)
}

func TestEachKindOfIteratorBeginsInItsPlace(t *testing.T) {
	h := start(t, Config{})
	st := h.stream("orders", engine.StreamConfig{})
	results := put(t, st, 0, 10)
	latest := h.iterator(&kinesis.GetShardIteratorInput{ShardIteratorType: types.ShardIteratorTypeLatest})
	var between time.Time
	for between = time.Now(); time.Since(between) < 3*time.Millisecond; {
		time.Sleep(time.Millisecond)
	}
	between = between.Add(2 * time.Millisecond).Truncate(time.Millisecond)
	put(t, st, 10, 5)
	info, err := st.ShardInfo(t.Context(), shardID(0))
	if err != nil {
		t.Fatal(err)
	}
	seven := aws.String(results[7].Sequence.String())
	for name, c := range map[string]struct {
		in   kinesis.GetShardIteratorInput
		from int
	}{
		"at":              {kinesis.GetShardIteratorInput{ShardIteratorType: types.ShardIteratorTypeAtSequenceNumber, StartingSequenceNumber: seven}, 7},
		"after":           {kinesis.GetShardIteratorInput{ShardIteratorType: types.ShardIteratorTypeAfterSequenceNumber, StartingSequenceNumber: seven}, 8},
		"at the start":    {kinesis.GetShardIteratorInput{ShardIteratorType: types.ShardIteratorTypeAtSequenceNumber, StartingSequenceNumber: aws.String(info.First.String())}, 0},
		"after the start": {kinesis.GetShardIteratorInput{ShardIteratorType: types.ShardIteratorTypeAfterSequenceNumber, StartingSequenceNumber: aws.String(info.First.String())}, 0},
		"at a time":       {kinesis.GetShardIteratorInput{ShardIteratorType: types.ShardIteratorTypeAtTimestamp, Timestamp: &between}, 10},
		"long ago":        {kinesis.GetShardIteratorInput{ShardIteratorType: types.ShardIteratorTypeAtTimestamp, Timestamp: aws.Time(time.Unix(1, 0))}, 0},
		"oldest":          {kinesis.GetShardIteratorInput{ShardIteratorType: types.ShardIteratorTypeTrimHorizon}, 0},
	} {
		t.Run(name, func(t *testing.T) { wantNumbered(t, h.get(h.iterator(&c.in), 0).Records, c.from, 15-c.from) })
	}
	// LATEST was fixed when it was issued.
	wantNumbered(t, h.get(latest, 0).Records, 10, 5)
	now := h.iterator(&kinesis.GetShardIteratorInput{ShardIteratorType: types.ShardIteratorTypeLatest})
	wantNumbered(t, h.get(now, 0).Records, 15, 0)
	// With nothing behind a time, it answers all the same.
	late := h.iterator(&kinesis.GetShardIteratorInput{ShardIteratorType: types.ShardIteratorTypeAtTimestamp, Timestamp: aws.Time(time.Now())})
	out := h.get(late, 0)
	put(t, st, 15, 1)
	wantNumbered(t, h.get(*out.NextShardIterator, 0).Records, 15, 1)
}

func TestShardsAreKnownByTheirNumbers(t *testing.T) {
	h := start(t, Config{})
	h.stream("orders", engine.StreamConfig{Shards: 2})
	for _, id := range []string{"shardId-000000000001", "shardId-1", "1", "any-1"} {
		h.iterator(&kinesis.GetShardIteratorInput{ShardId: &id, ShardIteratorType: types.ShardIteratorTypeLatest})
	}
	for id, message := range map[string]string{
		"shardId-2":           "Shard shardId-000000000002 in stream orders under account 000000000000 does not exist",
		"one":                 "Could not find shard one in stream orders under account 000000000000.",
		"shardId-99999999999": "Could not find shard shardId-99999999999 in stream orders under account 000000000000.",
	} {
		h.post("GetShardIterator", `{"StreamName":"orders","ShardId":"`+id+`","ShardIteratorType":"LATEST"}`).wantFault(t, "ResourceNotFoundException", message)
	}
}

func TestGetShardIteratorRefusesWhatIsNoPlace(t *testing.T) {
	h := start(t, Config{})
	st := h.stream("orders", engine.StreamConfig{Shards: 2})
	other := h.stream("other", engine.StreamConfig{})
	mine := put(t, st, 0, 20)
	foreign := put(t, other, 0, 1)[0].Sequence.String()
	i := 0
	for mine[i].Shard != shardID(1) {
		i++
	}
	sibling := mine[i].Sequence.String()
	if err := st.Split(t.Context(), shardID(0), stream.FullRange.Middle().Prev().Prev()); err == nil {
		info, _ := st.ShardInfo(t.Context(), shardID(0))
		for _, kind := range []string{"AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"} {
			h.post("GetShardIterator", fmt.Sprintf(`{"StreamName":"orders","ShardId":"0","ShardIteratorType":%q,"StartingSequenceNumber":%q}`, kind, info.Last)).
				wantFault(t, "InvalidArgumentException", "Invalid SequenceNumber for ShardIteratorType "+kind+", SequenceNumber has reached max possible value for the shard.")
		}
	} else {
		t.Fatal(err)
	}
	future := time.Now().Add(time.Hour).Unix()
	for _, c := range []struct{ body, name, message string }{
		{`"ShardIteratorType":"AT_SEQUENCE_NUMBER"`, "InvalidArgumentException", "Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and StartingSequenceNumber or (2) TRIM_HORIZON or LATEST and no StartingSequenceNumber. Request specified AT_SEQUENCE_NUMBER and no StartingSequenceNumber."},
		{`"ShardIteratorType":"LATEST","StartingSequenceNumber":"5"`, "InvalidArgumentException", "Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and StartingSequenceNumber or (2) TRIM_HORIZON or LATEST and no StartingSequenceNumber. Request specified LATEST and also a StartingSequenceNumber."},
		{`"ShardIteratorType":"AT_SEQUENCE_NUMBER","StartingSequenceNumber":"0"`, "InvalidArgumentException", "StartingSequenceNumber 0 used in GetShardIterator on shard shardId-000000000000 in stream orders under account 000000000000 is invalid because it did not come from this stream."},
		{`"ShardIteratorType":"AT_SEQUENCE_NUMBER","StartingSequenceNumber":"` + foreign + `"`, "InvalidArgumentException", "StartingSequenceNumber " + foreign + " used in GetShardIterator on shard shardId-000000000000 in stream orders under account 000000000000 is invalid because it did not come from this stream."},
		{`"ShardIteratorType":"AFTER_SEQUENCE_NUMBER","StartingSequenceNumber":"` + sibling + `"`, "InvalidArgumentException", "Invalid StartingSequenceNumber. It encodes shardId-000000000001, while it was used in a call to a shard with shardId-000000000000"},
		{`"ShardIteratorType":"AFTER_SEQUENCE_NUMBER","StartingSequenceNumber":"` + strings.Repeat("9", 70) + `"`, "InvalidArgumentException", ""},
		{`"ShardIteratorType":"AFTER_SEQUENCE_NUMBER","StartingSequenceNumber":"` + strings.Repeat("9", 130) + `"`, "ValidationException", ""},
		{`"ShardIteratorType":"AFTER_SEQUENCE_NUMBER","StartingSequenceNumber":"x"`, "ValidationException", ""},
		{`"ShardIteratorType":"AT_TIMESTAMP"`, "InvalidArgumentException", ""},
		{fmt.Sprintf(`"ShardIteratorType":"AT_TIMESTAMP","Timestamp":%d`, future), "InvalidArgumentException", ""},
		{`"ShardIteratorType":"AT_TIMESTAMP","Timestamp":1,"StartingSequenceNumber":"1"`, "InvalidArgumentException", ""},
		{`"ShardIteratorType":"NOWHERE"`, "ValidationException", "1 validation error detected: Value 'NOWHERE' at 'shardIteratorType' failed to satisfy constraint: Member must satisfy enum value set: [AFTER_SEQUENCE_NUMBER, TRIM_HORIZON, LATEST, AT_TIMESTAMP, AT_SEQUENCE_NUMBER]"},
		{`"ShardIteratorType":"LATEST","DryRun":true`, "DryRunOperationException", ""},
	} {
		h.post("GetShardIterator", `{"StreamName":"orders","ShardId":"shardId-000000000000",`+c.body+`}`).wantFault(t, c.name, c.message)
	}
}

func TestGetRecordsRefusesWhatIsNoIterator(t *testing.T) {
	h := start(t, Config{})
	st := h.stream("orders", engine.StreamConfig{})
	put(t, st, 0, 1)
	good := h.oldest()
	const invalid = "Invalid ShardIterator."
	v, err := h.server.lookAt("orders")
	if err != nil {
		t.Fatal(err)
	}
	mine := iterator{time.Now(), v.name, v.created.UnixMilli(), shardID(0), stream.TrimHorizon}
	forged := base64.RawURLEncoding.EncodeToString(append(mine.append(nil), make([]byte, tokenSum)...))
	for _, c := range []struct{ body, name, message string }{
		{`{}`, "ValidationException", "1 validation error detected: Value null at 'shardIterator' failed to satisfy constraint: Member must not be null"},
		{`{"ShardIterator":""}`, "ValidationException", ""},
		{`{"ShardIterator":"` + strings.Repeat("x", 513) + `"}`, "ValidationException", ""},
		{`{"ShardIterator":"AAAA"}`, "InvalidArgumentException", invalid},
		{`{"ShardIterator":"!"}`, "InvalidArgumentException", invalid},
		{`{"ShardIterator":"` + forged + `"}`, "InvalidArgumentException", invalid},
		{`{"ShardIterator":"` + good[:len(good)-1] + `"}`, "InvalidArgumentException", invalid},
		{`{"ShardIterator":"` + h.server.seal("ListShards", []byte("x")) + `"}`, "InvalidArgumentException", invalid},
		{`{"ShardIterator":"` + h.server.seal(iteratorKind, []byte{9}) + `"}`, "InvalidArgumentException", invalid},
		{`{"ShardIterator":"` + good + `","Limit":0}`, "ValidationException", "1 validation error detected: Value '0' at 'limit' failed to satisfy constraint: Member must have value greater than or equal to 1"},
		{`{"ShardIterator":"` + good + `","Limit":10001}`, "ValidationException", "1 validation error detected: Value '10001' at 'limit' failed to satisfy constraint: Member must have value less than or equal to 10000"},
		{`{"ShardIterator":"` + good + `","DryRun":true}`, "DryRunOperationException", ""},
		{`{"ShardIterator":"` + good + `","StreamARN":"arn:aws:kinesis:us-east-1:000000000000:stream/other"}`, "InvalidArgumentException", ""},
	} {
		h.post("GetRecords", c.body).wantFault(t, c.name, c.message)
	}
	if a := h.post("GetRecords", `{"ShardIterator":"\"`+good+`\""}`); a.status != 200 {
		t.Errorf("an iterator in quotes: %d %s", a.status, a.body)
	}
	// A stream of the same name is another one.
	if err := h.engine.DeleteStream(t.Context(), "orders"); err != nil {
		t.Fatal(err)
	}
	h.post("GetRecords", `{"ShardIterator":"`+good+`"}`).wantFault(t, "ResourceNotFoundException", "")
	h.stream("orders", engine.StreamConfig{})
	h.post("GetRecords", `{"ShardIterator":"`+good+`"}`).wantFault(t, "ResourceNotFoundException", "")
}

func TestAnIteratorExpiresAfterFiveMinutes(t *testing.T) {
	h := start(t, Config{})
	st := h.stream("orders", engine.StreamConfig{})
	v, err := h.server.lookAt("orders")
	if err != nil {
		t.Fatal(err)
	}
	put(t, st, 0, 1)
	aged := func(age time.Duration) string {
		it := iterator{time.Now().Add(-age), v.name, v.created.UnixMilli(), shardID(0), stream.TrimHorizon}
		return h.server.seal(iteratorKind, it.append(nil))
	}
	wantNumbered(t, h.get(aged(299*time.Second), 0).Records, 0, 1)
	var expired *types.ExpiredIteratorException
	_, err = h.client().GetRecords(t.Context(), &kinesis.GetRecordsInput{ShardIterator: aws.String(aged(301 * time.Second))})
	if !errors.As(err, &expired) {
		t.Fatal(err)
	}
	var created, now string
	if i := strings.Index(*expired.Message, " while right now it is "); i > 0 {
		created = strings.TrimPrefix((*expired.Message)[:i], "Iterator expired. The iterator was created at time ")
		now, _, _ = strings.Cut((*expired.Message)[i+len(" while right now it is "):], " which is further in the future than the tolerated delay of 300000 milliseconds.")
	}
	for _, text := range []string{created, now} {
		if _, err := time.Parse("Mon Jan 02 15:04:05 MST 2006", text); err != nil {
			t.Errorf("%s: %v", *expired.Message, err)
		}
	}
}

func TestIteratorsSurviveARestart(t *testing.T) {
	dir := t.TempDir()
	h, stop := open(t, dir, Config{})
	st := h.stream("orders", engine.StreamConfig{})
	put(t, st, 0, 10)
	out := h.get(h.oldest(), 4)
	latest := h.iterator(&kinesis.GetShardIteratorInput{ShardIteratorType: types.ShardIteratorTypeLatest})
	stop()
	h, _ = open(t, dir, Config{})
	st, err := h.engine.Stream("orders")
	if err != nil {
		t.Fatal(err)
	}
	put(t, st, 10, 2)
	wantNumbered(t, h.get(*out.NextShardIterator, 0).Records, 4, 8)
	wantNumbered(t, h.get(latest, 0).Records, 10, 2)
	// Another server does not take them.
	other := start(t, Config{})
	other.stream("orders", engine.StreamConfig{})
	other.post("GetRecords", `{"ShardIterator":"`+latest+`"}`).wantFault(t, "InvalidArgumentException", "Invalid ShardIterator.")
}

func TestAShardEndsWithItsChildrenAndWithoutAnIterator(t *testing.T) {
	h := start(t, Config{})
	st := h.stream("orders", engine.StreamConfig{Shards: 2})
	put(t, st, 0, 40)
	if err := st.Split(t.Context(), shardID(0), stream.Hash{Hi: 1 << 62}); err != nil {
		t.Fatal(err)
	}
	if err := st.Merge(t.Context(), shardID(1), shardID(3)); err != nil {
		t.Fatal(err)
	}
	children := map[string][]string{ // by shard
		"shardId-000000000000": {"shardId-000000000002", "shardId-000000000003"},
		"shardId-000000000001": {"shardId-000000000004"},
		"shardId-000000000003": {"shardId-000000000004"},
	}
	parents := map[string]int{"shardId-000000000002": 1, "shardId-000000000003": 1, "shardId-000000000004": 2}
	for id, want := range children {
		for _, kind := range []types.ShardIteratorType{types.ShardIteratorTypeTrimHorizon, types.ShardIteratorTypeLatest} {
			it := h.iterator(&kinesis.GetShardIteratorInput{ShardId: &id, ShardIteratorType: kind})
			for range 100 {
				out := h.get(it, 7)
				if out.NextShardIterator != nil {
					if len(out.ChildShards) > 0 {
						t.Fatalf("%s: children before the end", id)
					}
					it = *out.NextShardIterator
					continue
				}
				it = ""
				if len(out.ChildShards) != len(want) || *out.MillisBehindLatest != 0 {
					t.Fatalf("%s: %+v", id, out)
				}
				for i, child := range out.ChildShards {
					if *child.ShardId != want[i] || len(child.ParentShards) != parents[want[i]] || child.HashKeyRange == nil {
						t.Errorf("%s ends with %+v", id, child)
					}
				}
				break
			}
			if it != "" {
				t.Errorf("%s does not end", id)
			}
		}
	}
}

func TestReadsBeyondTheLimitsAreToldSo(t *testing.T) {
	h := start(t, Config{Limits: engine.KinesisLimits})
	h.stream("orders", engine.StreamConfig{Limits: engine.KinesisLimits})
	it := h.oldest()
	exceeded := 0
	for n := 0; n < 1000 && exceeded == 0; n++ {
		a := h.post("GetRecords", `{"ShardIterator":"`+it+`"}`)
		if a.status != 200 {
			a.wantFault(t, "ProvisionedThroughputExceededException", "Rate exceeded for shard shardId-000000000000 in stream orders under account 000000000000.")
			exceeded++
		}
	}
	if exceeded == 0 {
		t.Error("1000 reads at once are within five a second")
	}
	exceeded = 0
	for n := 0; n < 1000 && exceeded == 0; n++ {
		if a := h.post("GetShardIterator", `{"StreamName":"orders","ShardId":"0","ShardIteratorType":"LATEST"}`); a.status != 200 {
			a.wantFault(t, "ProvisionedThroughputExceededException", "")
			exceeded++
		}
	}
	if exceeded == 0 {
		t.Error("1000 iterators at once are within five a second")
	}
}

func TestALargeAnswerComesInPieces(t *testing.T) {
	h, _ := open(t, t.TempDir(), Config{})
	st := h.stream("orders", engine.StreamConfig{})
	const n = 3000
	for i := range n / 500 {
		entries := make([]stream.Entry, 500)
		for j := range entries {
			entries[j] = stream.Entry{PartitionKey: "k", Data: fmt.Appendf(nil, "%d %s", i*500+j, strings.Repeat("x", 1000))}
		}
		if _, err := st.Put(t.Context(), entries...); err != nil {
			t.Fatal(err)
		}
	}
	a := h.post("GetRecords", `{"ShardIterator":"`+h.oldest()+`"}`)
	var out struct{ Records []struct{ Data []byte } }
	if err := json.Unmarshal(a.body, &out); err != nil {
		t.Fatal(err)
	}
	if len(out.Records) != n || a.header.Get("Content-Length") != "" {
		t.Errorf("%d records, of a length of %s", len(out.Records), a.header.Get("Content-Length"))
	}
	for i, r := range out.Records {
		if !strings.HasPrefix(string(r.Data), fmt.Sprintf("%d x", i)) {
			t.Fatalf("record %d is %s", i, r.Data[:10])
		}
	}
	wantAllFree(t, h.server)
}

func TestRecordsOutOfRetentionArePassedOver(t *testing.T) {
	h, _ := open(t, t.TempDir(), Config{})
	st := h.stream("orders", engine.StreamConfig{})
	results := put(t, st, 0, 10)
	in := kinesis.GetShardIteratorInput{ShardIteratorType: types.ShardIteratorTypeAfterSequenceNumber, StartingSequenceNumber: aws.String(results[2].Sequence.String())}
	wantNumbered(t, h.get(h.iterator(&in), 0).Records, 3, 7)
	for _, retention := range []time.Duration{time.Millisecond, 24 * time.Hour} { // the second fixes what has left by then
		if err := st.SetRetention(t.Context(), retention); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Millisecond)
	}
	put(t, st, 10, 2)
	wantNumbered(t, h.get(h.iterator(&in), 0).Records, 10, 2)
	wantNumbered(t, h.get(h.oldest(), 0).Records, 10, 2)
}

func TestReadsThatBeginWithWhatWasTrimmedCountOnceAndWithTheirBytes(t *testing.T) {
	inBubble(t, Config{Limits: engine.KinesisLimits}, func(t *testing.T, s *Server) {
		st, err := s.engine.Stream("orders")
		if err != nil {
			t.Fatal(err)
		}
		old := put(t, st, 0, 5)
		time.Sleep(25 * time.Hour)
		for range 3 {
			if r, err := st.Put(t.Context(), stream.Entry{PartitionKey: "k", Data: make([]byte, 1<<20-1)}); err != nil || r[0].Err != nil {
				t.Fatal(err, r)
			}
			time.Sleep(2 * time.Second)
		}
		v, err := s.lookAt("orders")
		if err != nil {
			t.Fatal(err)
		}
		read := func(limit int) (status int, text string) {
			body := fmt.Sprintf(`{"ShardIterator":%q,"Limit":%d}`, s.issue(v, shardID(0), stream.After(old[1].Sequence)), limit)
			w := httptest.NewRecorder()
			r := asking(t.Context(), "GetRecords", strings.NewReader(body), len(body))
			r.RemoteAddr = "127.0.0.1:1"
			s.ServeHTTP(w, r)
			return w.Code, w.Body.String()
		}
		if status, text := read(3); status != 200 || strings.Count(text, `"PartitionKey"`) != 3 {
			t.Fatalf("%d %.200s", status, text)
		}
		if status, text := read(1); status != 400 || !strings.Contains(text, "ProvisionedThroughputExceededException") {
			t.Errorf("after 3 MiB, at once: %d %.200s", status, text)
		}
		time.Sleep(10 * time.Second)
		if status, text := read(1); status != 200 {
			t.Errorf("later: %d %.200s", status, text)
		}
	})
}
