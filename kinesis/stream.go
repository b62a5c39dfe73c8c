package kinesis

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/millrace/millrace/internal/given"
	"github.com/millrace/millrace/stream"
)

// Stream is a stream of Kinesis Data Streams. It is a [stream.Stream], a
// [stream.Putter], a [stream.Resharder], and a [stream.Registrar], by which
// package fanout reads it by push; all methods may be called at the same time.
// It holds nothing that must be closed.
type Stream struct {
	client      Client
	target      target
	cfg         Config
	incarnation *incarnation
	tel         *telemetry

	receiving *semaphore.Weighted // bytes of answers, of Config.ReceiveBytes
	form      form
	pacing    limits
	maxRecord atomic.Int64 // how large records of the stream may be; 0 while unknown
}

var (
	_ stream.Stream    = (*Stream)(nil)
	_ stream.Putter    = (*Stream)(nil)
	_ stream.Resharder = (*Stream)(nil)
)

// New returns the stream of that name or ARN. A stream of another account is
// named by its ARN. Nothing is asked of the service yet, so that a stream that
// does not exist shows with the first call.
func New(client Client, nameOrARN string, cfg Config) (*Stream, error) {
	if !given.Is(client) {
		return nil, errors.New("kinesis: client is nil: give a kinesis.Client of aws-sdk-go-v2, for example kinesis.NewFromConfig(cfg)")
	}
	t, err := parseTarget(nameOrARN)
	if err := errors.Join(err, cfg.validate()); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	s := &Stream{client: client, target: t, cfg: cfg, receiving: semaphore.NewWeighted(int64(cfg.ReceiveBytes))}
	s.incarnation = newIncarnation(s.describe, min(askEvery, cfg.MinPoll))
	if s.tel, err = newTelemetry(cfg.MeterProvider, t.text); err != nil {
		return nil, err
	}
	return s, nil
}

// Identity tells the ARN and the creation time of the stream.
func (s *Stream) Identity(ctx context.Context) (stream.Identity, error) {
	id, err := s.incarnation.confirm(ctx)
	if err != nil {
		return stream.Identity{}, fmt.Errorf("identity: %w", err)
	}
	return id, nil
}

// request bounds one request in time.
func (s *Stream) request(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, s.cfg.Timeout, fmt.Errorf("kinesis: no answer in %v (Config.Timeout)", s.cfg.Timeout))
}

// pause waits for d, or returns the cause of ctx.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return context.Cause(ctx)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
