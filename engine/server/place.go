package server

import (
	"context"
	"errors"
	"time"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/stream"
)

// shard finds a shard of a stream, open or closed.
func (s *Server) shard(ctx context.Context, v view, id string) (engine.ShardInfo, error) {
	full, ok := fullShardID(id)
	if !ok {
		return engine.ShardInfo{}, s.noShard(v, id)
	}
	info, err := v.ShardInfo(ctx, full)
	if errors.Is(err, stream.ErrShardNotFound) || errors.Is(err, stream.ErrStreamNotFound) {
		err = s.shardGone(v.name, full)
	}
	return info, err
}

func (s *Server) shardGone(stream, id string) error {
	return notFound("Shard %s in stream %s under account %s does not exist", id, stream, s.config.Account)
}

// place is how a request names a place in a shard.
type place struct {
	kind     string // a ShardIteratorType
	sequence string
	time     *time.Time
}

// The kinds of iterators.
const (
	atSequence    = "AT_SEQUENCE_NUMBER"
	afterSequence = "AFTER_SEQUENCE_NUMBER"
	trimHorizon   = "TRIM_HORIZON"
	latest        = "LATEST"
	atTimestamp   = "AT_TIMESTAMP"
)

// position returns what a place is in a shard, for an operation of that name.
// LATEST is where the shard ends now.
func (s *Server) position(ctx context.Context, operation string, v view, shard *engine.ShardInfo, p place) (stream.Position, error) {
	bySequence := p.kind == atSequence || p.kind == afterSequence
	if bySequence != (p.sequence != "") && p.kind != atTimestamp {
		also := "also a"
		if bySequence {
			also = "no"
		}
		return stream.Position{}, invalidArgument("Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and StartingSequenceNumber or (2) TRIM_HORIZON or LATEST and no StartingSequenceNumber. Request specified %s and %s StartingSequenceNumber.", p.kind, also)
	}
	switch p.kind {
	case trimHorizon:
		return stream.TrimHorizon, nil
	case latest:
		return v.Pin(ctx, shard.ID)
	case atTimestamp:
		return atTime(p)
	default:
		return s.bySequence(operation, v, shard, p)
	}
}

func atTime(p place) (stream.Position, error) {
	if p.time == nil {
		return stream.Position{}, invalidArgument("Must specify timestampInMillis parameter for iterator of type AT_TIMESTAMP. Current value is null")
	}
	if p.sequence != "" {
		return stream.Position{}, invalidArgument("Must either specify a StartingSequenceNumber or a Timestamp. Request specified AT_TIMESTAMP and also a StartingSequenceNumber.")
	}
	if now := time.Now(); p.time.UnixMilli() > now.UnixMilli() {
		return stream.Position{}, invalidArgument("The timestampInMillis parameter cannot be greater than the currentTimestampInMillis. timestampInMillis: %d, currentTimestampInMillis: %d", p.time.UnixMilli(), now.UnixMilli())
	}
	return stream.AtTime(*p.time), nil
}

// bySequence takes the numbers that the shard's records have or may have.
func (s *Server) bySequence(operation string, v view, shard *engine.ShardInfo, p place) (stream.Position, error) {
	seq, err := stream.ParseSequence(p.sequence)
	switch {
	case err != nil:
		return stream.Position{}, invalidArgument("StartingSequenceNumber %s used in %s on shard %s in stream %s under account %s is invalid.", p.sequence, operation, shard.ID, v.name, s.config.Account)
	case seq.Less(shard.First) || shard.Last.Less(seq):
		if other, ok := shardOf(seq, shard); ok {
			return stream.Position{}, invalidArgument("Invalid StartingSequenceNumber. It encodes %s, while it was used in a call to a shard with %s", other, shard.ID)
		}
		return stream.Position{}, invalidArgument("StartingSequenceNumber %s used in %s on shard %s in stream %s under account %s is invalid because it did not come from this stream.", p.sequence, operation, shard.ID, v.name, s.config.Account)
	case seq == shard.Last:
		return stream.Position{}, invalidArgument("Invalid SequenceNumber for ShardIteratorType %s, SequenceNumber has reached max possible value for the shard.", p.kind)
	case p.kind == afterSequence:
		return stream.After(seq), nil
	}
	return stream.At(seq), nil
}

// shardOf returns which other shard of the same stream has given a number. What
// comes before a shard's number is the same in all of a stream.
func shardOf(seq stream.Sequence, shard *engine.ShardInfo) (id string, ok bool) {
	const before, digits = 15, 12
	text, first := seq.String(), shard.First.String()
	if len(text) != len(first) || text[:before] != first[:before] {
		return "", false
	}
	return "shardId-" + text[before:before+digits], true
}
