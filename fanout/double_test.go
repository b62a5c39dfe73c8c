package fanout_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/millrace/millrace/fanout"
	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/stream/streamtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// silent is a logger for what is expected to be complained of.
var silent = slog.New(slog.NewTextHandler(io.Discard, nil))

// registry is a stream that pushes to registered consumers only, and counts what
// it is asked for.
type registry struct {
	stream.Stream
	stream.Putter
	stream.Resharder
	below stream.Subscriber

	mu        sync.Mutex
	places    int // how many consumers it takes
	consumers map[string]context.CancelCauseFunc
	contexts  map[string]context.Context
	asked     int     // how often Register was called
	failing   []error // what Register returns next

	// exclusive, when it is there, holds the subscriptions: a consumer has one for
	// each shard, and a later one takes over. disputes counts how often one did.
	exclusive map[string]context.CancelCauseFunc
	disputes  int
}

func newRegistry(m *streamtest.Memory, places int) *registry {
	return &registry{Stream: m, Putter: m, Resharder: m, below: m, places: places, consumers: map[string]context.CancelCauseFunc{}, contexts: map[string]context.Context{}}
}

func (r *registry) Register(ctx context.Context, consumer string) (stream.Subscriber, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	r.asked++
	if len(r.failing) > 0 {
		err := r.failing[0]
		r.failing = r.failing[1:]
		return nil, err
	}
	if _, known := r.consumers[consumer]; !known {
		if len(r.consumers) == r.places {
			return nil, fmt.Errorf("%d consumers: %w", r.places, stream.ErrTooManyConsumers)
		}
		r.contexts[consumer], r.consumers[consumer] = context.WithCancelCause(context.Background())
	}
	return subscriptions{r, consumer, r.contexts[consumer]}, nil
}

func (r *registry) Deregister(ctx context.Context, consumer string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if cancel, known := r.consumers[consumer]; known {
		cancel(fmt.Errorf("%s: %w", consumer, stream.ErrConsumerNotFound))
		delete(r.consumers, consumer)
	}
	return ctx.Err()
}

func (r *registry) timesAsked() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked
}

// subscriptions are those of one consumer, until it is deregistered.
type subscriptions struct {
	*registry
	consumer   string
	registered context.Context
}

var errTakenOver = errors.New("a later subscription took over")

// take makes cancel the subscription of a shard, until give is called.
func (s subscriptions) take(shardID string, cancel context.CancelCauseFunc) (give func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.exclusive == nil {
		return func() {}
	}
	key, ended := s.consumer+"/"+shardID, false
	if former := s.exclusive[key]; former != nil {
		s.disputes++
		former(errTakenOver)
	}
	s.exclusive[key] = func(cause error) {
		ended = true
		cancel(cause)
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !ended {
			delete(s.exclusive, key)
		}
	}
}

func (s subscriptions) Subscribe(ctx context.Context, shardID string, from stream.Position, limits stream.Batch, handle func(*stream.Batch) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer s.take(shardID, cancel)()
	defer context.AfterFunc(s.registered, func() { cancel(context.Cause(s.registered)) })()
	return s.below.Subscribe(ctx, shardID, from, limits, handle)
}

// pushing is a stream whose subscription is a function.
type pushing struct {
	stream.Stream
	subscribe func(ctx context.Context, from stream.Position, handle func(*stream.Batch) error) error
}

func (p pushing) Subscribe(ctx context.Context, _ string, from stream.Position, _ stream.Batch, handle func(*stream.Batch) error) error {
	return p.subscribe(ctx, from, handle)
}

const shard0 = "shardId-000000000000"

func use(t testing.TB, s stream.Stream, cfg fanout.Config) fanout.Stream {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = silent
	}
	f, err := fanout.Use(s, "tester", cfg)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func open(t testing.TB, s stream.Stream, from stream.Position) stream.Reader {
	t.Helper()
	r, err := s.Open(t.Context(), shard0, from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func put(t testing.TB, s stream.Putter, data ...string) {
	t.Helper()
	for _, d := range data {
		if results, err := s.Put(t.Context(), stream.Entry{PartitionKey: "k", Data: []byte(d)}); err != nil || results[0].Err != nil {
			t.Fatal(err, results)
		}
	}
}
