package dynamodb

import (
	"fmt"
	"strconv"

	"github.com/millrace/millrace/stream"
)

// The KCL has one kind of position, "this record is done", and four words. It
// resumes AT the record and passes over what is at or before it.
//
//	here                          there: checkpoint, sub-sequence
//	After(n/s)                    n, s
//	TRIM_HORIZON, LATEST          the same words, 0
//	SHARD_END                     the same word, 0
//	AtTime(Config.Timestamp)      AT_TIMESTAMP, 0
//	At(n/s), s > 0                n, s-1           the same place, said otherwise
//	At(n), AtTime, none           TRIM_HORIZON, 0  before it, so that nothing is missed
const (
	trimHorizon = "TRIM_HORIZON"
	latest      = "LATEST"
	shardEnd    = "SHARD_END"
	atTimestamp = "AT_TIMESTAMP"
)

// none stands for no position where a text may not be empty.
const none = "NONE"

// kclPosition returns what the KCL is told of a position. same says that it
// means to us, too, what it means to the KCL; otherwise the position itself has
// to be kept beside.
func (f *layout) kclPosition(p stream.Position) (checkpoint string, sub uint64, same bool) {
	switch p {
	case stream.TrimHorizon:
		return trimHorizon, 0, true
	case stream.Latest:
		return latest, 0, true
	case stream.ShardEnd:
		return shardEnd, 0, true
	}
	if _, isTime := p.Time(); isTime && p == f.at {
		return atTimestamp, 0, true
	}
	seq, after, numbered := p.Sequence()
	switch {
	case numbered && after:
		return decimal(seq), seq.Sub(), true
	case numbered && seq.Sub() > 0:
		return decimal(seq), seq.Sub() - 1, false
	default:
		return trimHorizon, 0, false
	}
}

// position reads what the KCL wrote.
func (f *layout) position(checkpoint string, sub uint64) (stream.Position, error) {
	switch checkpoint {
	case trimHorizon:
		return stream.TrimHorizon, nil
	case latest:
		return stream.Latest, nil
	case shardEnd:
		return stream.ShardEnd, nil
	case atTimestamp:
		return f.at, nil
	}
	seq, err := stream.ParseSequence(checkpoint)
	if err == nil && seq.Sub() != 0 {
		err = fmt.Errorf("sequence number %q has a sub-sequence of its own", checkpoint)
	}
	return stream.After(seq.WithSub(sub)), err
}

func decimal(s stream.Sequence) string { return string(s.AppendDecimal(nil)) }

func parseSub(s string) (uint64, error) { return strconv.ParseUint(s, 10, 64) }

func positionText(p stream.Position) string {
	if p.IsZero() {
		return none
	}
	return p.String()
}

func parsePosition(s string) (stream.Position, error) {
	if s == none {
		return stream.Position{}, nil
	}
	return stream.ParsePosition(s)
}
