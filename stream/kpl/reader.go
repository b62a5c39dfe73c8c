package kpl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/millrace/millrace/stream"
)

// Options say how [Open] reads. The zero value is a good choice.
type Options struct {
	// Policy is what to do with aggregates. Default: Deliver.
	Policy Policy
	// Count is told, by each Next that unpacked something, how many records came
	// out of aggregates and how many of these do not belong to the shard, dropped
	// ones counted. It is called from the goroutine of Next. Default: nobody is told.
	Count func(unpacked, outOfRange int)
}

// Open opens a shard of s as [stream.Stream.Open] does, and gives the records
// inside of aggregates one by one.
//
// A position behind a record, and one inside an aggregate, is found by reading
// that record again and leaving out what lies before the position; so is
// After(n) of an aggregate n behind its first record only. Where the record has
// left retention, the rest of it is not missed. With [Keep], a position inside
// an aggregate is before that aggregate, so that nothing is skipped.
//
// Of the shard, its ID is needed, and Hash to tell what does not belong to it; a
// Hash that is zero tells nothing.
//
// Batches keep their limits, and a large aggregate comes in several of them. Their
// Footprint is that of what was read for them: a batch keeps no more alive than one of s.
func Open(ctx context.Context, s stream.Stream, shard stream.Shard, from stream.Position, o Options) (stream.Reader, error) {
	seq, after, numbered := from.Sequence()
	at := from
	if o.Policy == Keep {
		if numbered && seq.Sub() > 0 {
			at = stream.At(seq.WithSub(0))
		}
		return s.Open(ctx, shard.ID, at)
	}
	r := &reader{stream: s, shard: shard, options: o}
	if numbered && (after || seq.Sub() > 0) {
		at, r.from = stream.At(seq.WithSub(0)), from
	}
	if shard.Hash == (stream.HashRange{}) {
		r.shard.Hash = stream.FullRange
	}
	inner, err := s.Open(ctx, shard.ID, at)
	if err != nil {
		return nil, err
	}
	r.inner = inner
	return r, nil
}

// reader unpacks what another one reads. What it has read and not given yet:
//
//	raw  ■ ■ ▦▦▦▦▦▦ ■ ▦▦▦▦
//	         │ └ at: where in it the next record lies
//	         └ i: the aggregate that is open
type reader struct {
	stream  stream.Stream
	shard   stream.Shard
	options Options

	// from is where to begin, behind the beginning of the record that is read
	// first; no position as soon as a record behind it was seen. again says that
	// that record is gone, and the shard has to be opened there.
	from  stream.Position
	again bool

	raw       []stream.Record // from the first one on that may be an aggregate
	i         int
	behind    time.Duration // of the last of raw
	footprint int           // of the read that raw is from

	open      bool // raw[i] is aggregate
	aggregate Aggregate
	at        int
	sub       uint64

	mu     sync.Mutex // guards what follows: Close may come beside Next
	inner  stream.Reader
	closed bool
}

// Next implements [stream.Reader].
func (r *reader) Next(ctx context.Context, b *stream.Batch) error {
	for {
		if r.i == len(r.raw) {
			if err := r.read(ctx, b); err != nil {
				return err
			}
			if r.i == len(r.raw) {
				return nil // there is nothing to unpack
			}
		} else if err := r.usable(ctx); err != nil {
			return err
		} else {
			b.Reset()
		}
		if err := r.unpack(b); err != nil || len(b.Records) > 0 {
			return err
		}
	}
}

// read reads what comes next into b, and moves it from there to raw from the
// first record on that may be an aggregate.
func (r *reader) read(ctx context.Context, b *stream.Batch) error {
	r.release()
	if err := r.fill(ctx, b); err != nil {
		return err
	}
	first := 0
	if r.from.IsZero() {
		for first < len(b.Records) && !looksLike(b.Records[first].Data) {
			first++
		}
	}
	r.raw = append(r.raw, b.Records[first:]...)
	r.behind, r.footprint = b.Behind, b.Footprint
	for i := range r.raw {
		b.Bytes -= r.raw[i].Size()
	}
	clear(b.Records[first:])
	b.Records = b.Records[:first]
	return nil
}

// What a reader keeps of its memory while it waits: one batch of a shard at
// rest, and the tables of a common aggregate.
const (
	keptRecords = 32
	keptEntries = 1024
)

// release lets go of what was given.
func (r *reader) release() {
	clear(r.raw)
	r.raw, r.i = r.raw[:0], 0
	if cap(r.raw) > keptRecords {
		r.raw = nil
	}
	keys, hashes := r.aggregate.keys, r.aggregate.hashes
	if cap(keys) > keptEntries {
		keys = nil
	}
	if cap(hashes) > keptEntries {
		hashes = nil
	}
	r.aggregate = Aggregate{keys: keys, hashes: hashes}
}

// fill reads into b. That the record before from is gone is no loss: all that
// is wanted lies behind its beginning, so the shard is opened there.
func (r *reader) fill(ctx context.Context, b *stream.Batch) error {
	for {
		if r.again {
			if err := r.reopen(ctx); err != nil {
				return err
			}
		}
		err := r.current().Next(ctx, b)
		if err == nil || r.from.IsZero() || !trimmed(err) {
			return err
		}
		r.again = true
	}
}

func trimmed(err error) bool {
	var gap *stream.TrimmedError
	return errors.As(err, &gap)
}

func (r *reader) reopen(ctx context.Context) error {
	inner, err := r.stream.Open(ctx, r.shard.ID, r.from)
	if err != nil {
		return err
	}
	r.mu.Lock()
	closed, former := r.closed, r.inner
	r.inner = inner
	r.mu.Unlock()
	r.from, r.again = stream.Position{}, false
	if closed {
		return errors.Join(r.usable(ctx), inner.Close())
	}
	return former.Close()
}

// unpack moves records from raw to b, one by one out of aggregates, as far as
// the limits of b allow.
func (r *reader) unpack(b *stream.Batch) (err error) {
	var unpacked, outOfRange int
	for ; r.i < len(r.raw); r.i++ {
		raw := &r.raw[r.i]
		if !r.open && !r.aggregate.decode(raw.Data) {
			if !r.passed(raw.Sequence) && !add(b, *raw) {
				break
			}
			continue
		}
		if !r.open {
			r.open, r.at, r.sub = true, 0, 0
		}
		var u, o int
		u, o, err = r.unpackOne(b, raw)
		unpacked, outOfRange = unpacked+u, outOfRange+o
		if r.open {
			break
		}
	}
	if n := len(b.Records); n > 0 {
		err = nil // it comes again
		b.Footprint, b.Behind = max(r.footprint, b.Bytes), r.behind
		if r.i < len(r.raw) {
			b.Behind += max(time.Millisecond, r.raw[len(r.raw)-1].Arrival.Sub(b.Records[n-1].Arrival))
		}
	}
	if r.options.Count != nil && unpacked > 0 {
		r.options.Count(unpacked, outOfRange)
	}
	return err
}

// unpackOne moves records out of the aggregate that is open, and closes it when
// none is left.
func (r *reader) unpackOne(b *stream.Batch, raw *stream.Record) (unpacked, outOfRange int, err error) {
	for {
		u, after, ok := r.aggregate.next(r.at)
		if !ok {
			r.open = false
			return unpacked, outOfRange, nil
		}
		record := stream.Record{
			Sequence: raw.Sequence.WithSub(r.sub), PartitionKey: u.PartitionKey, Data: u.Data,
			Arrival: raw.Arrival, HashKey: u.HashKey, HasHashKey: u.HasHashKey,
		}
		if !r.passed(record.Sequence) {
			stranger := r.shard.Hash != stream.FullRange && !r.shard.Hash.Contains(record.Hash())
			switch {
			case stranger && r.options.Policy == Fail:
				return unpacked, outOfRange, &OutOfRangeError{r.shard.ID, record.Sequence, record.Hash(), r.shard.Hash}
			case stranger && r.options.Policy == Drop:
			case !add(b, record):
				return unpacked, outOfRange, nil
			}
			unpacked++
			if stranger {
				outOfRange++
			}
		}
		r.at, r.sub = after, r.sub+1
	}
}

// passed reports whether a record lies before where reading is to begin.
func (r *reader) passed(s stream.Sequence) bool {
	if r.from.IsZero() || r.from.Includes(s) {
		return !r.from.IsZero()
	}
	r.from = stream.Position{}
	return false
}

// The limits of a batch that has none.
const (
	defaultRecords = 1000
	defaultBytes   = 1 << 20
)

// add appends a record to b, unless that is full. A record always has room in
// an empty one.
func add(b *stream.Batch, record stream.Record) bool {
	size := record.Size()
	full := len(b.Records) >= cmp.Or(max(0, b.MaxRecords), defaultRecords) || b.Bytes+size > cmp.Or(max(0, b.MaxBytes), defaultBytes)
	if full && len(b.Records) > 0 {
		return false
	}
	b.Records = append(b.Records, record)
	b.Bytes += size
	return true
}

// usable returns why nothing more is given.
func (r *reader) usable(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return fmt.Errorf("read %s: %w", r.shard.ID, stream.ErrClosed)
	}
	return context.Cause(ctx)
}

func (r *reader) current() stream.Reader {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.inner
}

// Close implements [stream.Reader].
func (r *reader) Close() error {
	r.mu.Lock()
	r.closed = true
	inner := r.inner
	r.mu.Unlock()
	return inner.Close()
}
