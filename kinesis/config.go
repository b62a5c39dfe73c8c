package kinesis

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
)

// Encoding is the form in which GetRecords is asked and answered.
type Encoding uint8

const (
	// Auto asks for CBOR, whose payloads need no decoding, and goes over to JSON
	// for good when the endpoint does not speak it.
	Auto Encoding = iota
	// JSON asks for JSON.
	JSON
	// CBOR asks for CBOR (application/x-amz-cbor-1.1, as the Java SDK does), and
	// fails where the endpoint does not speak it.
	CBOR
)

// String returns "auto", "json" or "cbor".
func (e Encoding) String() string {
	switch e {
	case Auto:
		return "auto"
	case JSON:
		return "json"
	case CBOR:
		return "cbor"
	}
	return fmt.Sprintf("Encoding(%d)", uint8(e))
}

// Config of a [Stream]. The zero value works.
type Config struct {
	// MinPoll is how long a reader that has caught up waits at least between two
	// reads of its shard. Kinesis takes five reads a second of each shard from
	// all its readers together: the default leaves one of them to others. Less
	// than 200 ms is for servers without that limit. Default: 250 ms.
	MinPoll time.Duration
	// MaxPoll is how long it waits at most. A shard is asked after an eighth of
	// the time since it last had a record, within these bounds: the quieter it
	// is the less it costs. A poll takes 0.3 ms of CPU in all, so that a
	// thousand shards at rest take 3 % of a core; a record that ends a silence
	// of minutes is noticed up to MaxPoll later. Default: 10 s, or MinPoll if that
	// is longer.
	MaxPoll time.Duration
	// PageBytes is about how much a reader asks for at a time while it has far
	// to go; readers of small batches ask for less. Kinesis counts reads in
	// records, so that it is a matter of their size so far, and nothing to rely
	// on: a page has 10 MiB at most. Default: 4 MiB.
	PageBytes int
	// ReceiveBytes bounds how much memory answers and events take while they are
	// received, in sum over all readers and subscriptions of the stream; a larger
	// one comes alone. An answer that does not tell its length counts for 16 MiB.
	// Default: 64 MiB.
	ReceiveBytes int
	// Encoding is the form of GetRecords. Default: Auto.
	Encoding Encoding
	// Timeout is how long one request may take, with the SDK's attempts.
	// Default: 30 s.
	Timeout time.Duration

	// Resubscribe is how long Kinesis wants to be left alone with a shard after a
	// subscription to it began, and what all waits of subscriptions are made of.
	// Less is for servers without that rule. Default: 5 s.
	Resubscribe time.Duration
	// Stall is how long a subscription may give no sign of life before another
	// one is begun. Kinesis sends an event every five seconds, so that less than
	// twice as long is too nervous. Default: 30 s.
	Stall time.Duration

	// Logger is told of what is tried again. Default: slog.Default().
	Logger *slog.Logger
	// MeterProvider gets the metrics; without one they cost nothing. Default:
	// that of package otel.
	MeterProvider metric.MeterProvider
}

func (c Config) withDefaults() Config {
	c.MinPoll = cmp.Or(c.MinPoll, 250*time.Millisecond)
	c.MaxPoll = cmp.Or(c.MaxPoll, max(c.MinPoll, 10*time.Second))
	c.PageBytes = cmp.Or(c.PageBytes, 4<<20)
	c.ReceiveBytes = cmp.Or(c.ReceiveBytes, 64<<20)
	c.Timeout = cmp.Or(c.Timeout, 30*time.Second)
	c.Resubscribe = cmp.Or(c.Resubscribe, 5*time.Second)
	c.Stall = cmp.Or(c.Stall, 30*time.Second)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.MeterProvider == nil {
		c.MeterProvider = otel.GetMeterProvider()
	}
	return c
}

// validate names the field, the value and the fix for everything that is wrong.
func (c Config) validate() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("kinesis: Config."+format, args...))
	}
	duration := func(field string, value time.Duration) {
		if value != 0 && value < time.Millisecond {
			bad("%s is %v: use at least 1 ms, or 0 for the default", field, value)
		}
	}
	duration("MinPoll", c.MinPoll)
	duration("MaxPoll", c.MaxPoll)
	duration("Timeout", c.Timeout)
	duration("Resubscribe", c.Resubscribe)
	duration("Stall", c.Stall)
	if d := c.withDefaults(); d.MaxPoll < d.MinPoll {
		bad("MaxPoll is %v, shorter than MinPoll, %v: raise it", c.MaxPoll, d.MinPoll)
	}
	bytes := func(field string, value, least int) {
		if value != 0 && value < least {
			bad("%s is %d: use at least %d, or 0 for the default", field, value, least)
		}
	}
	bytes("PageBytes", c.PageBytes, 1)
	bytes("ReceiveBytes", c.ReceiveBytes, 1<<20)
	if c.Encoding > CBOR {
		bad("Encoding is %v: use Auto, JSON or CBOR", c.Encoding)
	}
	return errors.Join(errs...)
}
