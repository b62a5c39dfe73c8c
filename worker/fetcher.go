package worker

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stream"
)

// fetcher reads a shard one batch ahead of its processor. Two batches at most
// are under way between the two: while one is processed the other is filled, so
// that memory is bounded and a slow processor slows its reader.
type fetcher struct {
	reader  stream.Reader
	limits  func() limits
	batches *batches
	log     *slog.Logger
	random  *rand.Rand
	tel     *shardTelemetry
	backoff processors.Backoff

	ready chan fetched
	free  chan struct{} // holds a token for each batch that may be taken

	// large says that the next read will find much. A read that waits at the end
	// of its shard can wait for long, and by then the worker may hold a thousand
	// shards: so it is small, until there is more to read than fits. size is how
	// many bytes the next batch may have; it doubles while there is more.
	large bool
	size  int
}

// fetched is a batch, or the error that ends the reading.
type fetched struct {
	batch *stream.Batch
	err   error
}

func newFetcher(reader stream.Reader, limits func() limits, batches *batches, log *slog.Logger, random *rand.Rand, tel *shardTelemetry) *fetcher {
	f := &fetcher{
		reader: reader, limits: limits, batches: batches, log: log, random: random, tel: tel,
		ready: make(chan fetched),
		free:  make(chan struct{}, 2),
		size:  leastBatch,
	}
	f.free <- struct{}{}
	f.free <- struct{}{}
	return f
}

// run reads until ctx is done, or until it has handed over an error that ends
// the reading.
func (f *fetcher) run(ctx context.Context) {
	for {
		select {
		case <-f.free:
		case <-ctx.Done():
			return
		}
		b := f.batches.get(f.large)
		next := fetched{batch: b, err: f.read(ctx, b)}
		select {
		case f.ready <- next:
		case <-ctx.Done():
			return
		}
		if next.err != nil {
			return
		}
	}
}

// read fills b, however long that takes. It returns only errors that end the
// reading: the shard's end, a stream or shard that is gone, and the cause of ctx.
func (f *fetcher) read(ctx context.Context, b *stream.Batch) error {
	err := f.next(ctx, b)
	if err == nil || ends(ctx, err) {
		return err
	}
	blocked := f.tel.standstill.begin("reading", lot{}, err)
	defer f.tel.standstill.end(blocked)
	var wait time.Duration
	for {
		wait = f.backoff.Next(f.random, wait)
		if corrupt := (*stream.CorruptError)(nil); errors.As(err, &corrupt) {
			f.log.ErrorContext(ctx, "stored records are corrupt: the shard waits until somebody decides", "err", err, "wait", wait)
		} else {
			f.log.WarnContext(ctx, "reading the shard failed, trying again: the shard waits", "err", err, "wait", wait)
		}
		if !pause(ctx, wait, nil) {
			return context.Cause(ctx)
		}
		if err = f.next(ctx, b); err == nil || ends(ctx, err) {
			return err
		}
		f.tel.standstill.again(blocked, lot{}, err)
	}
}

// ends reports whether an error ends the reading.
func ends(ctx context.Context, err error) bool {
	var end *stream.ShardEndError
	return ctx.Err() != nil || errors.As(err, &end) || hopeless(err)
}

var errNothing = errors.New("the reader gave no records and no error")

// next fills b by one read. Records that are gone are told of and passed over.
func (f *fetcher) next(ctx context.Context, b *stream.Batch) error {
	for {
		l := f.limits()
		b.MaxRecords, b.MaxBytes, b.MaxFootprint = l.records, min(l.bytes, f.size), l.memory
		if !f.large {
			b.MaxRecords = min(l.records, fewRecords)
		}
		if err := f.reader.Next(ctx, b); err != nil {
			if f.missed(ctx, err) {
				continue
			}
			return err
		}
		if len(b.Records) == 0 {
			return errNothing
		}
		f.size, f.large = leastBatch, b.Behind > 0
		if f.large {
			f.size = min(2*max(b.Bytes, leastBatch), l.bytes)
		}
		return nil
	}
}

// missed reports whether an error only tells of records that are gone.
func (f *fetcher) missed(ctx context.Context, err error) bool {
	var gap *stream.TrimmedError
	if !errors.As(err, &gap) {
		return false
	}
	f.log.ErrorContext(ctx, "records left retention before they were processed", "from", gap.From, "horizon", gap.Horizon)
	f.tel.gap()
	return true
}

// recycle takes back a batch that is processed, and lets go of its records.
func (f *fetcher) recycle(b *stream.Batch) {
	f.batches.put(b)
	f.free <- struct{}{}
}

// fewRecords is how many a read at the end of its shard asks for, so that a
// thousand shards at rest cost little memory.
const fewRecords = 32

// batches are the batches of all shards of a worker that are not in use: few
// are needed at a time, and those stay in the processor's caches.
type batches struct{ small, large sync.Pool }

func (p *batches) get(large bool) *stream.Batch {
	if large {
		if b, ok := p.large.Get().(*stream.Batch); ok {
			return b
		}
	}
	if b, ok := p.small.Get().(*stream.Batch); ok {
		return b
	}
	return new(stream.Batch)
}

// put lets go of the records of a batch, and keeps their place.
func (p *batches) put(b *stream.Batch) {
	b.Reset()
	if cap(b.Records) > 2*fewRecords {
		p.large.Put(b)
	} else {
		p.small.Put(b)
	}
}

// pause waits for d; it returns false at once when ctx is done or stop closed.
func pause(ctx context.Context, d time.Duration, stop <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	case <-stop:
		return false
	}
}
