package server

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/stream"
)

// What a request costs without the network: these benchmarks call the handler in
// the same process, over an engine in a directory. cpu-µs/record is all of the
// process, the engine's share and the disk's system calls included.

// sink is a client that takes everything and keeps nothing.
type sink struct {
	header http.Header
	status int
	bytes  int
}

func (s *sink) Header() http.Header { return s.header }
func (s *sink) WriteHeader(n int)   { s.status = n }
func (s *sink) Write(b []byte) (int, error) {
	s.bytes += len(b)
	return len(b), nil
}

func request(operation, contentType string, body []byte) *http.Request {
	r := httptest.NewRequest("POST", "/", bytes.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("X-Amz-Target", "Kinesis_20131202."+operation)
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKID/20260101/us-east-1/kinesis/aws4_request, SignedHeaders=host, Signature=0")
	r.Header.Set("X-Amz-Date", "20260101T000000Z")
	r.RemoteAddr = "127.0.0.1:1"
	return r
}

func cpu(b testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func perRecord(b *testing.B, began time.Duration, records int) {
	b.ReportMetric(float64((cpu(b)-began).Nanoseconds())/1000/float64(records), "cpu-µs/record")
	b.ReportMetric(0, "ns/op")
}

func benchServer(b *testing.B, shards int) (*Server, *engine.Stream) {
	e, err := engine.Open(b.TempDir(), engine.Config{Logger: quiet})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { e.Close() })
	s, err := New(e, Config{Logger: quiet})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	st, err := e.CreateStream(b.Context(), "orders", engine.StreamConfig{Shards: shards})
	if err != nil {
		b.Fatal(err)
	}
	return s, st
}

// putBody is a request of 500 records of 1 KiB.
func putBody(b *testing.B, form string) []byte {
	const n = 500
	data := bytes.Repeat([]byte("0123456789abcdef"), 64)
	if form == "json" {
		var text strings.Builder
		text.WriteString(`{"Records":[`)
		for i := range n {
			if i > 0 {
				text.WriteByte(',')
			}
			fmt.Fprintf(&text, `{"Data":"%s","PartitionKey":"customer-%06d"}`, base64.StdEncoding.EncodeToString(data), i)
		}
		text.WriteString(`],"StreamName":"orders"}`)
		return []byte(text.String())
	}
	var records []map[string]any
	for i := range n {
		records = append(records, map[string]any{"Data": data, "PartitionKey": fmt.Sprintf("customer-%06d", i)})
	}
	body, err := cbor.Marshal(map[string]any{"Records": records, "StreamName": "orders"})
	if err != nil {
		b.Fatal(err)
	}
	return body
}

func mediaOf(form string) string {
	if form == "json" {
		return "application/x-amz-json-1.1"
	}
	return "application/x-amz-cbor-1.1"
}

func BenchmarkPutRecords(b *testing.B) {
	for _, form := range []string{"json", "cbor"} {
		b.Run(form, func(b *testing.B) {
			s, _ := benchServer(b, 4)
			body := putBody(b, form)
			w := &sink{header: http.Header{}}
			b.ReportAllocs()
			began := cpu(b)
			for b.Loop() {
				s.ServeHTTP(w, request("PutRecords", mediaOf(form), body))
				if w.status != 200 {
					b.Fatal(w.status)
				}
			}
			perRecord(b, began, 500*b.N)
		})
	}
}

func BenchmarkGetRecords(b *testing.B) {
	for _, form := range []string{"json", "cbor"} {
		b.Run(form, func(b *testing.B) {
			s, st := benchServer(b, 1)
			const n = 5000
			for range n / 500 {
				entries := make([]stream.Entry, 500)
				for i := range entries {
					entries[i] = stream.Entry{PartitionKey: fmt.Sprintf("customer-%06d", i), Data: bytes.Repeat([]byte("0123456789abcdef"), 64)}
				}
				if _, err := st.Put(b.Context(), entries...); err != nil {
					b.Fatal(err)
				}
			}
			v, err := s.lookAt("orders")
			if err != nil {
				b.Fatal(err)
			}
			it := s.issue(v, shardID(0), stream.TrimHorizon)
			body := []byte(`{"ShardIterator":"` + it + `","Limit":5000}`)
			if form == "cbor" {
				if body, err = cbor.Marshal(map[string]any{"ShardIterator": it, "Limit": n}); err != nil {
					b.Fatal(err)
				}
			}
			w := &sink{header: http.Header{}}
			b.ReportAllocs()
			began := cpu(b)
			for b.Loop() {
				w.bytes = 0
				s.ServeHTTP(w, request("GetRecords", mediaOf(form), body))
				if w.bytes < n<<10 {
					b.Fatal(w.bytes)
				}
			}
			perRecord(b, began, n*b.N)
		})
	}
}

// The same over loopback, with a client that only moves bytes: what it costs is
// in the figure, too.
func BenchmarkPutRecordsOverLoopback(b *testing.B) {
	s, _ := benchServer(b, 4)
	web := httptest.NewServer(s)
	defer web.Close()
	transport := &http.Transport{WriteBufferSize: 1 << 20}
	defer transport.CloseIdleConnections()
	body := putBody(b, "json")
	began := cpu(b)
	for b.Loop() {
		r, err := http.NewRequest("POST", web.URL, bytes.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		r.Header = request("PutRecords", mediaOf("json"), nil).Header
		a, err := transport.RoundTrip(r)
		if err != nil {
			b.Fatal(err)
		}
		if a.StatusCode != 200 {
			b.Fatal(a.Status)
		}
		io.Copy(io.Discard, a.Body)
		a.Body.Close()
	}
	perRecord(b, began, 500*b.N)
}
