package server

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/internal/wire"
	"github.com/millrace/millrace/stream"
)

func TestGetRecordsSpeaksCBOR(t *testing.T) {
	h := start(t, Config{})
	st := h.stream("orders", engine.StreamConfig{})
	put(t, st, 0, 3)
	status, out := h.postCBOR("GetRecords", map[string]any{"ShardIterator": h.oldest(), "Limit": 2})
	records := out["Records"].([]any)
	if status != 200 || len(records) != 2 || out["MillisBehindLatest"].(uint64) == 0 || out["NextShardIterator"] == nil {
		t.Fatalf("%d %v", status, out)
	}
	r := records[1].(map[any]any)
	at := r["ApproximateArrivalTimestamp"].(time.Time) // the oracle takes our milliseconds for seconds
	if string(r["Data"].([]byte)) != "data-1" || r["PartitionKey"] != "key-1" || time.Since(time.UnixMilli(at.Unix())).Abs() > time.Minute {
		t.Errorf("%v", r)
	}
}

func TestPutRecordsSpeaksCBOR(t *testing.T) {
	h := start(t, Config{})
	st := h.stream("orders", engine.StreamConfig{Shards: 2})
	status, out := h.postCBOR("PutRecords", map[string]any{
		"StreamName": "orders",
		"Records": []any{
			map[string]any{"Data": []byte("first"), "PartitionKey": "a", "ExplicitHashKey": "0", "Unknown": []any{1, nil}},
			map[string]any{"Data": []byte("second"), "PartitionKey": "b", "ExplicitHashKey": "340282366920938463463374607431768211455"},
		},
	})
	if status != 200 || out["FailedRecordCount"] != uint64(0) {
		t.Fatalf("%d %v", status, out)
	}
	for i, data := range []string{"first", "second"} {
		r := out["Records"].([]any)[i].(map[any]any)
		if r["ShardId"] != shardID(uint64(i)) {
			t.Errorf("record %d: %v", i, r)
		}
		var b stream.Batch
		if _, err := st.Read(t.Context(), shardID(uint64(i)), stream.TrimHorizon, &b); err != nil || len(b.Records) != 1 ||
			string(b.Records[0].Data) != data || b.Records[0].Sequence.String() != r["SequenceNumber"] {
			t.Errorf("record %d: %v, %v", i, b.Records, err)
		}
	}
	status, out = h.postCBOR("PutRecords", map[string]any{"StreamName": "orders", "Records": []any{map[string]any{"Data": "text"}}})
	if status != 400 || out["__type"] != "SerializationException" {
		t.Errorf("%d %v", status, out)
	}
}

func TestSubscriptionsSpeakCBOR(t *testing.T) {
	h := start(t, Config{})
	st := h.stream("orders", engine.StreamConfig{})
	put(t, st, 0, 3)
	arn := consumer(t, h.server, "orders", "app")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r := h.cborRequest("SubscribeToShard", map[string]any{"ConsumerARN": arn, "ShardId": "0", "StartingPosition": map[string]any{"Type": "TRIM_HORIZON"}}).WithContext(ctx)
	a, err := h.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	if a.StatusCode != 200 || a.Header.Get("Content-Type") != "application/vnd.amazon.eventstream" {
		t.Fatalf("%d %v", a.StatusCode, a.Header)
	}
	for _, want := range []string{"initial-response", "SubscribeToShardEvent"} {
		f := readFrame(t, a.Body)
		var out map[string]any
		if err := cbor.Unmarshal(f.Payload, &out); err != nil {
			t.Fatal(err)
		}
		if string(f.Header(":event-type")) != want || string(f.Header(":content-type")) != "application/x-amz-cbor-1.1" {
			t.Errorf("%s %s", f.Header(":event-type"), f.Header(":content-type"))
		}
		if want != "initial-response" {
			records := out["Records"].([]any)
			if len(records) != 3 || string(records[2].(map[any]any)["Data"].([]byte)) != "data-2" {
				t.Errorf("%v", out)
			}
		}
	}
}

// readFrame reads one frame of a body.
func readFrame(t testing.TB, body io.Reader) wire.Frame {
	t.Helper()
	prelude := make([]byte, 12)
	if _, err := io.ReadFull(body, prelude); err != nil {
		t.Fatal(err)
	}
	frame := append(prelude, make([]byte, binary.BigEndian.Uint32(prelude)-12)...)
	if _, err := io.ReadFull(body, frame[12:]); err != nil {
		t.Fatal(err)
	}
	f, err := wire.ParseFrame(frame)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// cborRequest is a request to an operation in CBOR, as somebody else's encoder
// writes it.
func (h *harness) cborRequest(operation string, in any) *http.Request {
	h.t.Helper()
	body, err := cbor.Marshal(in)
	if err != nil {
		h.t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(h.t.Context(), "POST", h.url+"/", bytes.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-amz-cbor-1.1")
	r.Header.Set("X-Amz-Target", "Kinesis_20131202."+operation)
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKID/20260101/us-east-1/kinesis/aws4_request, SignedHeaders=host, Signature=0")
	r.Header.Set("X-Amz-Date", "20260101T000000Z")
	return r
}

// postCBOR sends a value in CBOR to an operation, and returns the answer as it is
// read by somebody else's decoder.
func (h *harness) postCBOR(operation string, in any) (status int, out map[string]any) {
	h.t.Helper()
	r := h.cborRequest(operation, in)
	a := h.send(r)
	if got := a.header.Get("Content-Type"); got != "application/x-amz-cbor-1.1" {
		h.t.Errorf("the answer is %s", got)
	}
	if err := cbor.Unmarshal(a.body, &out); err != nil {
		h.t.Fatalf("%v: % x", err, a.body)
	}
	return a.status, out
}
