package server

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
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

// open opens an engine in a directory and serves it, until stop is called or the
// test ends.
func open(t testing.TB, dir string, cfg Config) (h *harness, stop func()) {
	t.Helper()
	cfg.Logger = quiet
	e, err := engine.Open(dir, engine.Config{SegmentBytes: 4 << 20, MinRetention: time.Millisecond, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(e, cfg)
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(s)
	transport := &http.Transport{}
	stop = func() {
		transport.CloseIdleConnections()
		web.Close()
		s.Close()
		e.Close()
	}
	t.Cleanup(stop)
	return &harness{t, e, s, web.URL, &http.Client{Transport: plainBodies{transport}}}, stop
}

// put stores records, not by way of the API.
func put(t testing.TB, st *engine.Stream, from, n int) []stream.PutResult {
	t.Helper()
	entries := make([]stream.Entry, n)
	for i := range entries {
		entries[i] = stream.Entry{PartitionKey: fmt.Sprintf("key-%d", from+i), Data: fmt.Appendf(nil, "data-%d", from+i)}
	}
	results, err := st.Put(t.Context(), entries...)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	return results
}

// iterator asks for one by the SDK.
func (h *harness) iterator(in *kinesis.GetShardIteratorInput) string {
	h.t.Helper()
	if in.ShardId == nil {
		in.ShardId = aws.String("shardId-000000000000")
	}
	if in.StreamName == nil {
		in.StreamName = aws.String("orders")
	}
	out, err := h.client().GetShardIterator(h.t.Context(), in)
	if err != nil {
		h.t.Fatal(err)
	}
	return *out.ShardIterator
}

func (h *harness) oldest() string {
	h.t.Helper()
	return h.iterator(&kinesis.GetShardIteratorInput{ShardIteratorType: types.ShardIteratorTypeTrimHorizon})
}

// get reads once by the SDK.
func (h *harness) get(iterator string, limit int32) *kinesis.GetRecordsOutput {
	h.t.Helper()
	in := &kinesis.GetRecordsInput{ShardIterator: &iterator}
	if limit > 0 {
		in.Limit = &limit
	}
	out, err := h.client().GetRecords(h.t.Context(), in)
	if err != nil {
		h.t.Fatal(err)
	}
	return out
}

// wantNumbered checks that records are those of put, in order.
func wantNumbered(t testing.TB, records []types.Record, from, n int) {
	t.Helper()
	if len(records) != n {
		t.Errorf("%d records, want %d", len(records), n)
		return
	}
	last := ""
	for i, r := range records {
		if string(r.Data) != fmt.Sprintf("data-%d", from+i) || *r.PartitionKey != fmt.Sprintf("key-%d", from+i) {
			t.Errorf("record %d is %s %s", i, *r.PartitionKey, r.Data)
		}
		if len(*r.SequenceNumber) != 56 || *r.SequenceNumber <= last {
			t.Errorf("record %d has the sequence number %s after %s", i, *r.SequenceNumber, last)
		}
		if age := time.Since(*r.ApproximateArrivalTimestamp); age < -time.Second || age > time.Minute {
			t.Errorf("record %d arrived %v ago", i, age)
		}
		last = *r.SequenceNumber
	}
}

// text is n times a character, in base64.
func text(n int) string { return base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", n))) }

func patient(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Second, fmt.Errorf("not in time"))
	t.Cleanup(cancel)
	return ctx
}

// shardID is the engine's ID of a shard.
func shardID(n uint64) string { return fmt.Sprintf("shardId-%012d", n) }
