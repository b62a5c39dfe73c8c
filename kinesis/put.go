package kinesis

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/millrace/millrace/internal/backoff"
	"github.com/millrace/millrace/stream"
)

// The limits of PutRecords. A request may have 10 MiB where records may; half of
// that is what every server takes, and enough to be worth a request. A record
// that is larger goes alone.
const (
	groupRecords  = 500
	groupBytes    = 5 << 20
	classicRecord = 1 << 20
	maxKey        = 256 // characters
)

// How long to wait before what was refused is put again.
const (
	putAgainMin = 50 * time.Millisecond
	putAgainMax = 2 * time.Second
)

// ErrEntry says that Kinesis would not take an entry, whatever the time.
var ErrEntry = errors.New("the entry cannot be put")

// Put stores the entries, in requests of up to 500 that go one after the other:
// see [stream.Putter]. What a shard refuses because too much is put into it, or
// because it fails inside, is put again until Config.Timeout is over; then its
// result says [stream.ErrThrottled], or what else it was, and what later requests
// are refused is not put again.
//
// Entries of one partition key keep their order from one request to the next:
// what is put again comes before those of later requests, and behind an entry
// that was given up none of its key is put, which their results say. Inside of a
// request they keep it as long as none is refused: what is put again comes behind
// those that were taken at once. The API promises no more; who needs more puts
// the next entry of a key when the one before is stored. A request whose answer
// is lost is sent again by the SDK, and then its records are there twice.
func (s *Stream) Put(ctx context.Context, entries ...stream.Entry) ([]stream.PutResult, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("kinesis: put to %s: %w", s.target.text, context.Cause(ctx))
	}
	results := make([]stream.PutResult, len(entries))
	taken := 0
	var lost givenUp
	var group []int // numbers of entries
	bytes := 0
	for i := range entries {
		if results[i].Err = s.refuse(ctx, &entries[i]); results[i].Err != nil {
			continue
		}
		if results[i].Err = lost.behind(entries[i].PartitionKey); results[i].Err != nil {
			continue
		}
		size := entries[i].Size()
		if len(group) == groupRecords || len(group) > 0 && bytes+size > groupBytes {
			if err := s.putGroup(ctx, entries, results, group, &lost); err != nil {
				return s.broken(entries, results, group[0], taken, err)
			}
			taken += len(group)
			group, bytes = group[:0], 0
			if results[i].Err = lost.behind(entries[i].PartitionKey); results[i].Err != nil {
				continue
			}
		}
		group = append(group, i)
		bytes += size
	}
	if len(group) > 0 {
		if err := s.putGroup(ctx, entries, results, group, &lost); err != nil {
			return s.broken(entries, results, group[0], taken, err)
		}
	}
	return results, nil
}

// givenUp are the keys of which an entry was refused until its time was over, and
// why. What lies behind it must not be stored before it is put again.
type givenUp map[string]error

// behind returns why an entry of that key is not put.
func (g givenUp) behind(key string) error {
	if why := g[key]; why != nil {
		return fmt.Errorf("kinesis: not put, as one of its key before it was not stored: %w", why)
	}
	return nil
}

// add notes entries that were given up.
func (g *givenUp) add(entries []stream.Entry, results []stream.PutResult, refused []int) {
	if *g == nil {
		*g = givenUp{}
	}
	for _, i := range refused {
		if key := entries[i].PartitionKey; (*g)[key] == nil {
			(*g)[key] = results[i].Err
		}
	}
}

// broken makes of the error of a request what Put returns: the error, when
// nothing was put before; else results, in which all that was not put has it.
func (s *Stream) broken(entries []stream.Entry, results []stream.PutResult, from, taken int, err error) ([]stream.PutResult, error) {
	if taken == 0 {
		return nil, err
	}
	for i := from; i < len(entries); i++ {
		if results[i].Err == nil && results[i].Shard == "" {
			results[i].Err = err
		}
	}
	return results, nil
}

// refuse returns why Kinesis would not take an entry. It would refuse the whole
// request, and the other entries with it.
func (s *Stream) refuse(ctx context.Context, e *stream.Entry) error {
	n := utf8.RuneCountInString(e.PartitionKey)
	switch {
	case n < 1 || n > maxKey:
		return fmt.Errorf("kinesis: %w: its partition key has %d characters, want 1 to %d", ErrEntry, n, maxKey)
	case !utf8.ValidString(e.PartitionKey):
		return fmt.Errorf("kinesis: %w: its partition key %q is not UTF-8", ErrEntry, clip(e.PartitionKey))
	}
	if most := s.largest(ctx, e.Size()); e.Size() > most {
		return fmt.Errorf("kinesis: %w: key and payload have %d bytes, and records of stream %s at most %d", ErrEntry, e.Size(), s.target.text, most)
	}
	return nil
}

// largest returns how large records of the stream may be. Who puts small ones
// need not be allowed to ask.
func (s *Stream) largest(ctx context.Context, size int) int {
	if known := int(s.maxRecord.Load()); size <= max(known, classicRecord) {
		return max(known, classicRecord)
	}
	// It may have been raised since.
	if _, err := s.incarnation.confirm(ctx); err != nil {
		return size // the service will say
	}
	return max(int(s.maxRecord.Load()), classicRecord)
}

// putGroup puts one request's entries, and again those that were refused, until
// none is left or the time is over: which it is when an earlier request has used
// it up. The error is that of a request as a whole.
func (s *Stream) putGroup(ctx context.Context, entries []stream.Entry, results []stream.PutResult, group []int, lost *givenUp) error {
	over := time.Now()
	if len(*lost) == 0 {
		over = over.Add(s.cfg.Timeout)
	}
	var wait time.Duration
	for {
		left, err := s.putOnce(ctx, entries, results, group)
		if err != nil || len(left) == 0 {
			return err
		}
		wait = backoff.Next(nil, wait, putAgainMin, putAgainMax)
		if time.Now().Add(wait).After(over) {
			lost.add(entries, results, left)
			return nil // the results say why
		}
		if err := pause(ctx, wait); err != nil {
			for _, i := range left {
				results[i].Err = fmt.Errorf("%w, and was not put again: %w", results[i].Err, err)
			}
			lost.add(entries, results, left)
			return nil
		}
		group = left
	}
}

// putOnce sends one request, and returns the entries that were refused: all of
// them, when the request was.
func (s *Stream) putOnce(ctx context.Context, entries []stream.Entry, results []stream.PutResult, group []int) (left []int, err error) {
	in := &sdk.PutRecordsInput{StreamName: s.target.name, StreamARN: s.target.arn, Records: make([]types.PutRecordsRequestEntry, len(group))}
	for at, i := range group {
		e, r := &entries[i], &in.Records[at]
		r.PartitionKey, r.Data = &e.PartitionKey, e.Data
		if r.Data == nil {
			r.Data = []byte{} // which the API demands
		}
		if e.HasHashKey {
			r.ExplicitHashKey = aws.String(e.HashKey.String())
		}
	}
	ctx, cancel := s.request(ctx)
	defer cancel()
	done := s.tel.begin(ctx, putRecords)
	out, err := s.client.PutRecords(ctx, in, sturdily)
	if err == nil && len(out.Records) != len(group) {
		err = fmt.Errorf("%w: %d results for %d records", errAnswer, len(out.Records), len(group))
	}
	done(err)
	if err != nil {
		if err = s.explain(ctx, "PutRecords", err); !errors.Is(err, stream.ErrThrottled) {
			return nil, err
		}
		for _, i := range group {
			results[i].Err = err
		}
		return group, nil
	}
	left = group[:0:0]
	for at, i := range group {
		if results[i] = s.resultOf(&out.Records[at]); results[i].Err != nil {
			left = append(left, i)
		}
	}
	s.tel.sent.Add(ctx, int64(len(group)-len(left)), s.tel.ofStream)
	return left, nil
}

func (s *Stream) resultOf(r *types.PutRecordsResultEntry) stream.PutResult {
	switch failure := aws.ToString(r.ErrorCode); failure {
	case "":
	case "ProvisionedThroughputExceededException":
		return stream.PutResult{Err: fmt.Errorf("kinesis: put to %s: %w: %s", s.target.text, stream.ErrThrottled, aws.ToString(r.ErrorMessage))}
	default:
		return stream.PutResult{Err: fmt.Errorf("kinesis: put to %s: %s: %s", s.target.text, failure, aws.ToString(r.ErrorMessage))}
	}
	seq, err := stream.ParseSequence(aws.ToString(r.SequenceNumber))
	if err != nil {
		// It is stored. Who puts it again stores it twice.
		return stream.PutResult{Shard: aws.ToString(r.ShardId)}
	}
	return stream.PutResult{Shard: aws.ToString(r.ShardId), Sequence: seq}
}
