package stream

import (
	"cmp"
	"fmt"
	"strings"
	"time"
)

// Position is a place in a shard between two records: where to begin reading,
// or how far somebody has got. It is a comparable value; the zero value is no
// position at all ([Position.IsZero]) and means "the default" in configurations.
//
// A checkpoint is a Position, too: After(s) says that everything up to and
// including s is done, ShardEnd that there is nothing left.
type Position struct {
	kind positionKind
	seq  Sequence
	ms   int64 // AtTime: Unix milliseconds
}

type positionKind uint8

const (
	kindNone positionKind = iota
	kindTime
	kindTrimHorizon
	kindLatest
	kindAt
	kindAfter
	kindShardEnd
)

var (
	// TrimHorizon is before the oldest record that the shard still has.
	TrimHorizon = Position{kind: kindTrimHorizon}
	// Latest is after the newest record at the moment of asking. It moves, so
	// it is never stored: see [Stream.Pin].
	Latest = Position{kind: kindLatest}
	// ShardEnd is after the last record of a closed shard.
	ShardEnd = Position{kind: kindShardEnd}
)

// At returns the position just before the record with that sequence number,
// or, where there is none, before the first one that is greater.
func At(s Sequence) Position { return Position{kind: kindAt, seq: s} }

// After returns the position just after that sequence number.
func After(s Sequence) Position { return Position{kind: kindAfter, seq: s} }

// AtTime returns the position before the first record that arrived at t or
// later. Times are kept to the millisecond, as streams stamp their records, and
// within the years 1 to 9999, so that every position has a text form.
func AtTime(t time.Time) Position {
	if t.Before(minTime) {
		t = minTime
	}
	if t.After(maxTime) {
		t = maxTime
	}
	return Position{kind: kindTime, ms: t.UnixMilli()}
}

var (
	minTime = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	maxTime = time.Date(9999, 12, 31, 23, 59, 59, 999_000_000, time.UTC)
)

// IsZero reports whether p is the zero value, which is no position.
func (p Position) IsZero() bool { return p == Position{} }

// Sequence returns the sequence number of an At or After position; after tells
// which of the two it is, and ok is false for every other kind.
func (p Position) Sequence() (seq Sequence, after, ok bool) {
	return p.seq, p.kind == kindAfter, p.kind == kindAt || p.kind == kindAfter
}

// Time returns the time of an AtTime position.
func (p Position) Time() (t time.Time, ok bool) {
	return time.UnixMilli(p.ms), p.kind == kindTime
}

// Includes reports whether the record with that sequence number lies behind
// the position, so that a reader who starts there skips it. Only At, After and
// ShardEnd can tell; the other kinds skip nothing by number.
func (p Position) Includes(s Sequence) bool {
	switch p.kind {
	case kindAt:
		return s.Less(p.seq)
	case kindAfter:
		return !p.seq.Less(s)
	case kindShardEnd:
		return true
	default:
		return false
	}
}

// Compare orders positions of one shard as progress: no position, then where
// one may start (a time, TRIM_HORIZON, LATEST), then sequence numbers, then
// SHARD_END. At(s) comes before After(s). A checkpoint never goes back in this
// order.
func (p Position) Compare(q Position) int {
	if c := cmp.Compare(p.rank(), q.rank()); c != 0 {
		return c
	}
	switch p.kind {
	case kindTime:
		return cmp.Compare(p.ms, q.ms)
	case kindAt, kindAfter:
		if c := p.seq.Compare(q.seq); c != 0 {
			return c
		}
		return cmp.Compare(p.kind, q.kind)
	default:
		return 0
	}
}

func (p Position) rank() positionKind {
	if p.kind == kindAfter {
		return kindAt
	}
	return p.kind
}

// String returns the form that [ParsePosition] reads: "TRIM_HORIZON", "LATEST",
// "SHARD_END", "AT_TIMESTAMP:2026-11-23T04:05:06.789Z", "AT:4959…", "AFTER:4959…/3",
// and "" for no position.
func (p Position) String() string {
	switch p.kind {
	case kindTrimHorizon:
		return "TRIM_HORIZON"
	case kindLatest:
		return "LATEST"
	case kindShardEnd:
		return "SHARD_END"
	case kindTime:
		return "AT_TIMESTAMP:" + time.UnixMilli(p.ms).UTC().Format(timeForm)
	case kindAt:
		return "AT:" + p.seq.String()
	case kindAfter:
		return "AFTER:" + p.seq.String()
	default:
		return ""
	}
}

const timeForm = "2006-01-02T15:04:05.000Z07:00"

// ParsePosition reads what [Position.String] writes.
func ParsePosition(text string) (Position, error) {
	kind, rest, has := strings.Cut(text, ":")
	switch {
	case text == "":
		return Position{}, nil
	case text == "TRIM_HORIZON":
		return TrimHorizon, nil
	case text == "LATEST":
		return Latest, nil
	case text == "SHARD_END":
		return ShardEnd, nil
	case kind == "AT_TIMESTAMP" && has:
		t, err := time.Parse(time.RFC3339, rest)
		if err != nil {
			return Position{}, fmt.Errorf("position %q: %w", clip(text), err)
		}
		return AtTime(t), nil
	case (kind == "AT" || kind == "AFTER") && has:
		s, err := ParseSequence(rest)
		if err != nil {
			return Position{}, fmt.Errorf("position %q: %w", clip(text), err)
		}
		if kind == "AT" {
			return At(s), nil
		}
		return After(s), nil
	}
	return Position{}, fmt.Errorf("position %q: want TRIM_HORIZON, LATEST, SHARD_END, AT_TIMESTAMP:<RFC 3339 time>, AT:<sequence number> or AFTER:<sequence number>", clip(text))
}

// MarshalText implements [encoding.TextMarshaler].
func (p Position) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (p *Position) UnmarshalText(text []byte) (err error) {
	*p, err = ParsePosition(string(text))
	return err
}
