package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/millrace/millrace/engine/internal/wal"
	"github.com/millrace/millrace/stream"
)

// cutoff is the arrival, Unix ms, from which on records are visible.
func (s *Stream) cutoff() int64 {
	set := s.settings.Load()
	return max(set.floor, time.Now().UnixMilli()-set.retention.Milliseconds())
}

// Pin returns the position after the newest durable record.
func (s *Stream) Pin(ctx context.Context, shardID string) (stream.Position, error) {
	m, err := s.find(ctx, shardID)
	if err != nil {
		return stream.Position{}, fmt.Errorf("pin: %w", err)
	}
	committed, _ := m.log.Counters()
	return stream.At(m.log.Base().Add(committed + 1)), nil
}

// Open starts reading a shard at a position: see [stream.Stream]. A sequence
// number of another shard, or of another incarnation of the stream, gives
// [ErrForeignPosition].
func (s *Stream) Open(ctx context.Context, shardID string, from stream.Position) (stream.Reader, error) {
	r, err := s.reader(ctx, shardID, from)
	if err != nil {
		return nil, fmt.Errorf("open a reader: %w", err)
	}
	return r, nil
}

func (s *Stream) reader(ctx context.Context, shardID string, from stream.Position) (*reader, error) {
	m, err := s.find(ctx, shardID)
	if err != nil {
		return nil, err
	}
	start, err := s.start(m, from)
	if err != nil {
		return nil, err
	}
	return &reader{
		s: s, sh: m.shard, out: m.out, at: from, ended: from == stream.ShardEnd,
		cursor: s.e.log.NewCursor(m.log, start), closed: make(chan struct{}),
	}, nil
}

// start returns where in the log a position is.
func (s *Stream) start(m member, from stream.Position) (start wal.Start, err error) {
	seq, after, isSequence := from.Sequence()
	since, isTime := from.Time()
	switch {
	case isSequence:
		n, ok := m.counterOf(seq)
		if !ok && !before(seq, m.log.Base()) {
			return start, fmt.Errorf("%s of stream %s: position %v: %w: %s", m.id, s.name, from, ErrForeignPosition, describeOwner(seq))
		}
		if !ok {
			n = 0
		}
		if after || ok && seq.Sub() > 0 {
			n++
		}
		start.Counter = n
	case isTime:
		start.Oldest, start.Since = true, since.UnixMilli()
	case from == stream.TrimHorizon:
		start.Oldest = true
	case from == stream.Latest:
		committed, _ := m.log.Counters()
		start.Counter = committed + 1
	case from == stream.ShardEnd:
	default:
		return start, invalid("position", from.String(), "use TRIM_HORIZON, LATEST, a time, a sequence number or SHARD_END")
	}
	return start, nil
}

// reader reads one shard: see [stream.Reader].
type reader struct {
	s      *Stream
	sh     *shard
	out    *limiter // nil without limits
	cursor *wal.Cursor
	at     stream.Position // where the next record is looked for
	ended  bool            // opened at the shard's end
	closed chan struct{}
	once   sync.Once
}

func (r *reader) Close() error {
	r.once.Do(func() { close(r.closed) })
	return nil
}

func (r *reader) Next(ctx context.Context, b *stream.Batch) error {
	b.Reset()
	for {
		if err := r.usable(ctx); err != nil {
			return err
		}
		if r.ended {
			return r.end()
		}
		if out := r.out; out != nil {
			out.await(ctx, r.closed, r.s.e.done)
			if err := r.usable(ctx); err != nil {
				return err
			}
		}
		wait, err := r.cursor.Read(b, r.s.cutoff())
		if err != nil {
			return r.explain(ctx, err)
		}
		if wait == nil {
			if out := r.out; out != nil {
				out.spend(1, b.Bytes)
			}
			r.at = stream.After(b.Records[len(b.Records)-1].Sequence)
			return nil
		}
		select {
		case <-wait:
		case <-ctx.Done():
		case <-r.closed:
		case <-r.s.e.done:
		}
	}
}

// usable returns why reading is over.
func (r *reader) usable(ctx context.Context) error {
	select {
	case <-r.closed:
		return fmt.Errorf("read %s of stream %s: %w", r.sh.id, r.s.name, stream.ErrClosed)
	default:
	}
	if err := r.s.usable(ctx); err != nil {
		return fmt.Errorf("read %s: %w", r.sh.id, err)
	}
	return nil
}

func (r *reader) end() error { return r.s.endOf(r.sh) }

// explain says in the words of package stream why there are no records.
func (r *reader) explain(ctx context.Context, err error) error {
	return r.s.explain(r.sh, r.at, err, func() error { return r.usable(ctx) })
}

// endOf says that a shard has ended.
func (s *Stream) endOf(sh *shard) *stream.ShardEndError {
	return &stream.ShardEndError{Shard: sh.id, Children: s.topology.Load().children(sh.index)}
}

// explain says in the words of package stream why the log gave no records to
// who wanted them from a position; usable tells whether reading is over.
func (s *Stream) explain(sh *shard, from stream.Position, err error, usable func() error) error {
	var trimmed *wal.Trimmed
	var lost *wal.Lost
	switch {
	case errors.Is(err, wal.ErrEnd):
		return s.endOf(sh)
	case errors.Is(err, wal.ErrGone):
		return fmt.Errorf("read %s of stream %s: %w", sh.id, s.name, stream.ErrStreamNotFound)
	case errors.As(err, &trimmed):
		return &stream.TrimmedError{Shard: sh.id, From: from, Horizon: sh.log.Base().Add(trimmed.Horizon)}
	case errors.As(err, &lost):
		return &stream.CorruptError{Shard: sh.id, File: lost.File, Offset: lost.Offset, Detail: lost.Detail}
	}
	if over := usable(); over != nil {
		return over // files were closed under the read
	}
	return fmt.Errorf("read %s of stream %s: %w", sh.id, s.name, err)
}

// Subscribe pushes the records of a shard to handle, the moment they are
// durable: see [stream.Subscriber]. Where the stream has limits, each subscription
// has a throughput of its own.
func (s *Stream) Subscribe(ctx context.Context, shardID string, from stream.Position, limits stream.Batch, handle func(*stream.Batch) error) error {
	r, err := s.reader(ctx, shardID, from)
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	defer r.Close()
	r.out = subscriptionLimiter(s.settings.Load().limits)
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
