package fanout

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/millrace/millrace/stream"
)

// Config says how a stream is read by push. The zero value works.
type Config struct {
	// BufferBytes bounds the pushed batch that each reader holds, in bytes of
	// records and of what they keep alive; a larger record comes alone.
	// Default: 256 KiB, which lasts an eighth of a second at the 2 MiB/s that a
	// shard of Kinesis sends.
	BufferBytes int
	// Fallback reads by polling while the stream takes no further consumers
	// ([stream.ErrTooManyConsumers]), and says so in the log; whether there is
	// room again is asked every ten minutes at most, when a shard is opened.
	// Default: false: it is an error.
	Fallback bool
	// Logger gets what a person would want to know. Default: slog.Default().
	Logger *slog.Logger
}

const (
	defaultBuffer = 256 << 10
	// pushRecords bounds the records of a pushed batch, so that many small ones
	// take no more memory than they are worth.
	pushRecords = 1000
	// longestName is what Kinesis takes for the name of a consumer.
	longestName = 128
)

// Stream is a stream that is read by push. Identity, Shards and Pin are those of
// the stream below; the readers of Open get what a subscription pushes. Where the
// stream below is a [stream.Putter] or a [stream.Resharder], this one is too.
//
// Subscribe is the push itself, for who wants no reader.
type Stream interface {
	stream.Stream
	stream.Subscriber
	// Register registers the consumer, unless it is already, and returns when it
	// may subscribe. Open does so by itself; doing it before tells early what is
	// wrong, and takes the time that the stream needs, seconds in Kinesis, when
	// nobody waits for records yet.
	Register(ctx context.Context) error
	// Deregister makes the stream forget the consumer. Its subscriptions end,
	// those of other programs too; a reader that goes on registers it again.
	Deregister(ctx context.Context) error
}

// Use returns s, read by push as that consumer. It does no I/O. The name is 1 to
// 128 letters, digits, and any of "_.-"; a stream that pushes to anybody has no
// use for it.
func Use(s stream.Stream, consumer string, cfg Config) (Stream, error) {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("fanout: "+format, args...)) }
	_, pushes := s.(stream.Subscriber)
	_, registers := s.(stream.Registrar)
	switch {
	case s == nil:
		bad("the stream is nil: give one of the engine, or of package kinesis")
	case !pushes && !registers:
		bad("%T does not push: it is neither a stream.Subscriber nor a stream.Registrar; read it as it is", s)
	}
	if n := len(consumer); n == 0 || n > longestName || strings.ContainsFunc(consumer, unfit) {
		bad("consumer %.200q: want 1 to %d letters, digits, and any of \"_.-\", for example the name of the application", consumer, longestName)
	}
	if cfg.BufferBytes < 0 {
		bad("Config.BufferBytes is %d: want a number of bytes, or 0 for %d", cfg.BufferBytes, defaultBuffer)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	cfg.BufferBytes = cmp.Or(cfg.BufferBytes, defaultBuffer)
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return withSeams(&pushed{
		Stream:    s,
		consumer:  consumer,
		cfg:       cfg,
		enrolment: enrolment{turn: make(chan struct{}, 1)},
	}), nil
}

// unfit reports whether a character does not belong into a consumer's name.
func unfit(r rune) bool {
	letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
	return !letter && (r < '0' || r > '9') && !strings.ContainsRune("_.-", r)
}

// withSeams returns s with the optional seams of the stream below, and no others.
func withSeams(s *pushed) Stream {
	putter, puts := s.Stream.(stream.Putter)
	resharder, reshards := s.Stream.(stream.Resharder)
	switch {
	case puts && reshards:
		return struct {
			*pushed
			stream.Putter
			stream.Resharder
		}{s, putter, resharder}
	case puts:
		return struct {
			*pushed
			stream.Putter
		}{s, putter}
	case reshards:
		return struct {
			*pushed
			stream.Resharder
		}{s, resharder}
	}
	return s
}

// pushed is a stream that is read by push.
type pushed struct {
	stream.Stream
	consumer  string
	cfg       Config
	enrolment enrolment
}

var _ Stream = (*pushed)(nil)

// Open starts reading a shard: see [stream.Stream]. What the stream below would
// refuse is refused in the same words: its own Open is asked first.
func (p *pushed) Open(ctx context.Context, shardID string, from stream.Position) (_ stream.Reader, err error) {
	if from == stream.Latest {
		// The subscription begins later, and again after an error.
		if from, err = p.Pin(ctx, shardID); err != nil {
			return nil, err
		}
	}
	probe, err := p.Stream.Open(ctx, shardID, from)
	if err != nil {
		return nil, err
	}
	if from == stream.ShardEnd {
		return probe, nil // there is nothing to push
	}
	if err := probe.Close(); err != nil {
		return nil, fmt.Errorf("fan-out: close a reader of %s: %w", shardID, err)
	}
	if _, err := p.subscriber(ctx); err != nil {
		return nil, err
	}
	return newReader(ctx, p, shardID, from), nil
}

// Subscribe implements [stream.Subscriber].
func (p *pushed) Subscribe(ctx context.Context, shardID string, from stream.Position, limits stream.Batch, handle func(*stream.Batch) error) error {
	s, err := p.subscriber(ctx)
	if err != nil {
		return err
	}
	err = s.Subscribe(ctx, shardID, from, limits, handle)
	if errors.Is(err, stream.ErrConsumerNotFound) {
		p.forget(s)
	}
	return err
}

// polling is the push of a stream that is polled.
type polling struct{ stream.Stream }

// Subscribe implements [stream.Subscriber].
func (p *polling) Subscribe(ctx context.Context, shardID string, from stream.Position, limits stream.Batch, handle func(*stream.Batch) error) error {
	r, err := p.Open(ctx, shardID, from)
	if err != nil {
		return err
	}
	defer r.Close()
	b := stream.Batch{MaxRecords: limits.MaxRecords, MaxBytes: limits.MaxBytes, MaxFootprint: limits.MaxFootprint}
	for {
		if err := r.Next(ctx, &b); err != nil {
			return err
		}
		if err := handle(&b); err != nil {
			return err
		}
	}
}

// askAgain is how long polling goes on before a shard that is opened asks again
// whether there is room for a consumer.
const askAgain = 10 * time.Minute
