package server

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"go.uber.org/goleak"

	"github.com/millrace/millrace/engine"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// quiet is a logger for servers that are expected to complain.
var quiet = slog.New(slog.DiscardHandler)

func logTo(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

// harness is a server on loopback over an engine in memory, and who speaks to it.
type harness struct {
	t      testing.TB
	engine *engine.Engine
	server *Server
	url    string
	http   *http.Client
}

// start starts a server that ends with the test.
func start(t testing.TB, cfg Config) *harness {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = quiet
	}
	e, err := engine.OpenMemory(engine.Config{Logger: quiet, SegmentBytes: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	s, err := New(e, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	web := httptest.NewUnstartedServer(s)
	web.Config.Protocols = new(http.Protocols)
	web.Config.Protocols.SetHTTP1(true)
	web.Config.Protocols.SetUnencryptedHTTP2(true)
	web.Start()
	t.Cleanup(web.Close)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &harness{t, e, s, web.URL, &http.Client{Transport: plainBodies{transport}}}
}

// plainBodies hides from net/http that the bodies of Amazon's client can write
// themselves. The client closes a body when the answer begins, and the WriteTo of a
// closed body returns io.EOF; net/http may just then be looking whether there
// is more of it, takes that for a failed request, and closes the connection on
// which the answer comes. Only servers as near as this one are that fast.
type plainBodies struct{ http.RoundTripper }

func (p plainBodies) RoundTrip(r *http.Request) (*http.Response, error) {
	plain := *r
	if r.Body != nil {
		plain.Body = struct{ io.ReadCloser }{r.Body}
	}
	return p.RoundTripper.RoundTrip(&plain)
}

// stream makes a stream, not by way of the API.
func (h *harness) stream(name string, cfg engine.StreamConfig) *engine.Stream {
	h.t.Helper()
	st, err := h.engine.CreateStream(h.t.Context(), name, cfg)
	if err != nil {
		h.t.Fatal(err)
	}
	return st
}

// client is Amazon's own, which tries everything once.
func (h *harness) client(options ...func(*kinesis.Options)) *kinesis.Client {
	o := kinesis.Options{
		Region:       "us-east-1",
		BaseEndpoint: aws.String(h.url),
		Credentials:  credentials.NewStaticCredentialsProvider("AKID", "SECRET", ""),
		HTTPClient:   h.http,
		Retryer:      aws.NopRetryer{},
	}
	return kinesis.New(o, options...)
}

// anySignature is one that a server without access keys believes.
const anySignature = "AWS4-HMAC-SHA256 Credential=AKID/20260101/us-east-1/kinesis/aws4_request, SignedHeaders=host, Signature=0"

// reply is an answer as it came: for errors, name and message are its parts.
type reply struct {
	status  int
	header  http.Header
	body    []byte
	name    string
	message string
}

// post sends a body of JSON to an operation, well-formed or not.
func (h *harness) post(operation, body string) reply {
	h.t.Helper()
	return h.send(h.in(json11, operation, []byte(body)))
}

func (h *harness) send(r *http.Request) reply {
	h.t.Helper()
	a, err := h.http.Do(r)
	if err != nil {
		h.t.Fatal(err)
	}
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	var e struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
	}
	json.Unmarshal(body, &e)
	return reply{a.StatusCode, a.Header, body, e.Type, e.Message}
}

// wantFault checks that an answer is an error of that name and message; an
// empty message is any.
func (a reply) wantFault(t testing.TB, name, message string) {
	t.Helper()
	if a.status == http.StatusOK || a.name != name || message != "" && a.message != message {
		t.Errorf("answer is %d %s\nwant %s: %s", a.status, a.body, name, message)
	}
}
