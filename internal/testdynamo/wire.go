package testdynamo

import (
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
)

// Wire is a transport that counts the requests that it is given, and decides
// what becomes of them. It is safe for concurrent use.
type Wire struct {
	base http.RoundTripper

	mu     sync.Mutex
	fault  func(operation string, nth int) Fault
	counts map[string]int
}

// NewWire returns a wire on which nothing goes wrong yet.
func NewWire(base http.RoundTripper) *Wire { return &Wire{base: base, counts: map[string]int{}} }

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
	response, err := w.base.RoundTrip(request)
	if err != nil || what == Pass {
		return response, err
	}
	_, _ = io.Copy(io.Discard, response.Body) // it has taken place now
	_ = response.Body.Close()
	if what == LoseAnswer {
		return nil, errWire
	}
	return refuse(request, http.StatusInternalServerError, "InternalServerError"), nil
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
