package server

import (
	"context"
	"errors"
	"net/http"
	"sync"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/stream"
)

type getRecordsInput struct {
	StreamARN     string `wire:"len=1..2048,pattern=streamARN"`
	StreamId      string `wire:"len=1..24"`
	ShardIterator string `wire:"required,len=1..512"`
	Limit         *int   `wire:"range=1..10000"`
	DryRun        bool
}

const (
	mostRecords = 10_000
	// mostRead is how much one answer has, in bytes of data and partition keys.
	mostRead = 10 << 20
	// leastRead is how much one gets, however much others have under way; one record
	// at least, however large that is.
	leastRead = 64 << 10
	// sharedBytes is what the records of a read may keep alive beside themselves:
	// blocks in memory that they share with others, instead of being copied.
	sharedBytes = 4 << 20
	// aroundRecord is what an answer has of a record beside its data, roughly.
	aroundRecord = 256
	// answerStep is from where on an answer is written in pieces. With one record
	// more of usual size it fits into a buffer of 256 KiB.
	answerStep = 192 << 10
)

// getRecords reads a shard from an iterator on.
func (s *Server) getRecords(c *call, in *getRecordsInput) error {
	it, err := s.openIterator(in.ShardIterator)
	if err != nil {
		return err
	}
	v, err := s.iterated(&it, in.StreamARN)
	if err != nil {
		return err
	}
	if in.DryRun {
		return wouldSucceed()
	}
	granted := s.budget.answers.portion(mostRead, leastRead)
	one := v.MaxRecordBytes()
	need := max(max(granted+sharedBytes, 2*granted)+bufferSize(answerStep*4/3), one+bufferSize(answerStep+inBase64(one)))
	if err := c.reserve(&c.out, s.budget.answers, requestBytes+need); err != nil {
		return err
	}
	b := batches.Get().(*stream.Batch)
	defer giveBatch(b)
	b.MaxRecords, b.MaxBytes, b.MaxFootprint = mostRecords, granted, granted+sharedBytes
	if in.Limit != nil {
		b.MaxRecords = *in.Limit
	}
	page, err := s.read(c.ctx, v.Read, v, it.shard, it.from, b)
	if err != nil {
		return err
	}
	next := ""
	if page.End == nil {
		next = s.issue(v, it.shard, page.Next)
	}
	c.sendRecords(b, next, page.End, v.known.KeyID != "")
	return nil
}

// iterated finds the stream of an iterator: the same incarnation of it.
func (s *Server) iterated(it *iterator, arn string) (view, error) {
	if arn != "" {
		name, err := s.streamName(streamRef{StreamARN: arn})
		if err != nil {
			return view{}, err
		}
		if name != it.stream {
			return view{}, invalidArgument("StreamARN %s does not name the stream of the ShardIterator.", arn)
		}
	}
	v, err := s.ready(streamRef{StreamName: it.stream})
	if err == nil && v.created.UnixMilli() != it.created {
		err = s.shardGone(it.stream, it.shard)
	}
	return v, err
}

// reader is one of the engine's reads that do not wait.
type reader func(context.Context, string, stream.Position, *stream.Batch) (engine.Page, error)

// read fills b, by one of the reads of v. Records that have left retention are passed over, as in Kinesis.
func (s *Server) read(ctx context.Context, read reader, v view, shard string, from stream.Position, b *stream.Batch) (engine.Page, error) {
	for {
		page, err := read(ctx, shard, from, b)
		switch trimmed, ok := errors.AsType[*stream.TrimmedError](err); {
		case ok:
			from = stream.At(trimmed.Horizon)
			continue
		case errors.Is(err, stream.ErrThrottled):
			err = s.rateExceeded(v.name, shard)
		case errors.Is(err, stream.ErrShardNotFound), errors.Is(err, stream.ErrStreamNotFound):
			err = s.shardGone(v.name, shard)
		}
		return page, err
	}
}

// sendRecords writes the answer: at once when it is small, with its length, so that
// nothing is kept of the records; else piece by piece, since memory is for other
// requests, too, while a client is slow.
func (c *call) sendRecords(b *stream.Batch, next string, end *stream.ShardEndError, encrypted bool) {
	c.label()
	size := min(answerSize(b), answerStep+pieceSize(b))
	c.out.resize(requestBytes + b.Footprint + bufferSize(size))
	d := document{p: c.protocol, buf: borrow(size)}
	d.begin('{')
	if next != "" {
		d.name("NextShardIterator")
		d.text(next)
	}
	d.name("MillisBehindLatest")
	d.int(behind(b))
	if end != nil {
		d.children(end)
	}
	d.name("Records")
	d.begin('[')
	for i := range b.Records {
		d.record(&b.Records[i], encrypted)
		if len(d.buf) >= answerStep {
			if !c.begun {
				c.begin(http.StatusOK)
			}
			if c.write(d.buf) != nil {
				return // the client has gone
			}
			d.buf = d.buf[:0]
		}
	}
	d.end(']')
	d.end('}')
	if !c.begun {
		b.Reset()
		c.answer(http.StatusOK, d.buf)
	} else if c.write(d.buf) == nil {
		giveBack(d.buf)
	}
}

// answerSize is how much records will likely take: in base64 a third more than
// they have, and some for what is around each.
func answerSize(b *stream.Batch) int { return 1<<10 + inBase64(b.Bytes) + len(b.Records)*aroundRecord }

func inBase64(n int) int { return n * 4 / 3 }

// pieceSize is what the largest record will likely take, or a third of a step if
// all are smaller.
func pieceSize(b *stream.Batch) int {
	largest := answerStep / 4
	for i := range b.Records {
		largest = max(largest, len(b.Records[i].Data))
	}
	return inBase64(largest)
}

// batches are used again, so that no read allocates for each of its records.
var batches = sync.Pool{New: func() any { return new(stream.Batch) }}

// giveBatch lets go of what the records point to.
func giveBatch(b *stream.Batch) {
	b.Reset()
	batches.Put(b)
}
