package testdynamo

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
)

// Fault is what becomes of one request.
type Fault int

const (
	// Pass lets it through.
	Pass Fault = iota
	// Throttle answers that there is no capacity left. Nothing takes place.
	Throttle
	// Deny answers that access is denied. Nothing takes place.
	Deny
	// Break lets the connection fail before the request has arrived.
	Break
	// LoseAnswer lets it take place, and the connection fail before the answer.
	LoseAnswer
	// FailAfter lets it take place, and answers with an internal error.
	FailAfter
	// Stale lets a read that is not strongly consistent see what the same one saw
	// last before; all else passes.
	Stale
)

// Wire is a transport that counts the requests that it is given, and decides
// what becomes of them. It is safe for concurrent use.
type Wire struct {
	base http.RoundTripper

	mu     sync.Mutex
	fault  func(operation string, nth int) Fault
	counts map[string]int
	seen   map[string]*answer // what reads saw that are not strongly consistent
}

// answer is that of a request, to be given again.
type answer struct {
	header http.Header
	body   []byte
}

func (a *answer) response(request *http.Request) *http.Response {
	return &http.Response{
		StatusCode: http.StatusOK, Status: http.StatusText(http.StatusOK),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: a.header.Clone(), Body: io.NopCloser(bytes.NewReader(a.body)), ContentLength: int64(len(a.body)),
		Request: request,
	}
}

// NewWire returns a wire on which nothing goes wrong yet.
func NewWire(base http.RoundTripper) *Wire {
	return &Wire{base: base, counts: map[string]int{}, seen: map[string]*answer{}}
}

// SetFault lets fault decide from now on. It is given the operation, as
// "UpdateItem", and how many of that kind there were since SetFault, this one
// with them. nil lets everything pass.
func (w *Wire) SetFault(fault func(operation string, nth int) Fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fault, w.counts = fault, map[string]int{}
}

// Counts returns how many requests there were of each kind since SetFault.
func (w *Wire) Counts() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.counts)
}

var errWire = errors.New("the wire is cut")

// RoundTrip implements [http.RoundTripper].
func (w *Wire) RoundTrip(request *http.Request) (*http.Response, error) {
	_, operation, _ := strings.Cut(request.Header.Get("X-Amz-Target"), ".")
	w.mu.Lock()
	w.counts[operation]++
	fault, nth := w.fault, w.counts[operation]
	w.mu.Unlock()
	what := Pass
	if fault != nil {
		what = fault(operation, nth)
	}
	switch what {
	case Throttle:
		return refuse(request, http.StatusBadRequest, "ProvisionedThroughputExceededException"), nil
	case Deny:
		return refuse(request, http.StatusBadRequest, "AccessDeniedException"), nil
	case Break:
		return nil, errWire
	}
	switch operation {
	case "Query", "Scan", "GetItem", "BatchGetItem":
		return w.read(request, what)
	}
	return spoil(w.base, request, what)
}

// spoil sends a request, and does something with its answer.
func spoil(base http.RoundTripper, request *http.Request, what Fault) (*http.Response, error) {
	response, err := base.RoundTrip(request)
	if err != nil || what == Pass || what == Stale {
		return response, err
	}
	_, _ = io.Copy(io.Discard, response.Body) // it has taken place now
	_ = response.Body.Close()
	if what == LoseAnswer {
		return nil, errWire
	}
	return refuse(request, http.StatusInternalServerError, "InternalServerError"), nil
}

// read sends a read, and keeps what it saw for the next one of the same words, unless
// it has to see what is there.
func (w *Wire) read(request *http.Request, what Fault) (*http.Response, error) {
	words, err := io.ReadAll(request.Body)
	if err == nil {
		err = request.Body.Close()
	}
	if err != nil {
		return nil, err
	}
	present := request.Clone(request.Context())
	present.Body = io.NopCloser(bytes.NewReader(words))
	if bytes.Contains(words, []byte(`"ConsistentRead":true`)) {
		return spoil(w.base, present, what)
	}
	key := request.Header.Get("X-Amz-Target") + string(words)
	w.mu.Lock()
	seen := w.seen[key]
	w.mu.Unlock()
	if what == Stale && seen != nil {
		return seen.response(request), nil
	}
	response, err := spoil(w.base, present, what)
	if err != nil || response.StatusCode != http.StatusOK {
		return response, err
	}
	body, err := io.ReadAll(response.Body)
	if err == nil {
		err = response.Body.Close()
	}
	if err != nil {
		return nil, err
	}
	seen = &answer{response.Header, body}
	w.mu.Lock()
	w.seen[key] = seen
	w.mu.Unlock()
	return seen.response(request), nil
}

func refuse(request *http.Request, status int, code string) *http.Response {
	if request.Body != nil {
		_ = request.Body.Close()
	}
	body := `{"__type":"com.amazonaws.dynamodb.v20120810#` + code + `","message":"injected"}`
	return &http.Response{
		StatusCode: status, Status: http.StatusText(status),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        http.Header{"Content-Type": {"application/x-amz-json-1.0"}},
		Body:          io.NopCloser(strings.NewReader(body)),
		ContentLength: int64(len(body)),
		Request:       request,
	}
}
