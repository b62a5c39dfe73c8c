package streamtest

import (
	"context"
	"fmt"
	"sync"

	"github.com/millrace/millrace/stream"
)

// What a read takes at most when the batch does not say.
const (
	defaultMaxRecords = 1000
	defaultMaxBytes   = 1 << 20
)

// memoryReader reads one shard of a [Memory]. Records are found by position at
// every call, so that trimming and resharding need not know of readers.
type memoryReader struct {
	memory *Memory
	shard  *memoryShard
	at     stream.Position // where the next record is looked for

	closeOnce sync.Once
	closed    chan struct{}
}

// Next implements [stream.Reader].
func (r *memoryReader) Next(ctx context.Context, b *stream.Batch) error {
	b.Reset()
	for {
		select {
		case <-r.closed:
			return fmt.Errorf("read %s: %w", r.shard.ID, stream.ErrClosed)
		default:
		}
		changed, err := r.fill(ctx, b)
		if changed == nil {
			return err
		}
		select {
		case <-changed:
		case <-r.closed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Close implements [stream.Reader].
func (r *memoryReader) Close() error {
	r.closeOnce.Do(func() { close(r.closed) })
	return nil
}

// fill puts what is there into b, or returns why it cannot, or the channel to
// wait for when nothing is there yet.
func (r *memoryReader) fill(ctx context.Context, b *stream.Batch) (changed <-chan struct{}, err error) {
	m, s := r.memory, r.shard
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return nil, err
	}
	if s.gone {
		return nil, fmt.Errorf("read %s: %w", s.ID, stream.ErrShardNotFound)
	}
	first, missing := s.index(r.at)
	if missing {
		trimmed := &stream.TrimmedError{Shard: s.ID, From: r.at, Horizon: m.horizon(s)}
		r.at = stream.At(trimmed.Horizon)
		return nil, trimmed
	}
	if first < len(s.records) {
		take(b, s.records[first:])
		last := &b.Records[len(b.Records)-1]
		b.Behind = max(0, s.records[len(s.records)-1].Arrival.Sub(last.Arrival))
		r.at = stream.After(last.Sequence)
		return nil, nil
	}
	if s.Closed || r.at == stream.ShardEnd {
		return nil, &stream.ShardEndError{Shard: s.ID, Children: m.children(s.ID)}
	}
	return s.wait(), nil
}

// take copies records into b, within its limits, and at least one.
func take(b *stream.Batch, records []stream.Record) {
	maxRecords, maxBytes := b.MaxRecords, b.MaxBytes
	if maxRecords <= 0 {
		maxRecords = defaultMaxRecords
	}
	if maxBytes <= 0 {
		maxBytes = defaultMaxBytes
	}
	for i := range records {
		size := records[i].Size()
		if i > 0 && (i == maxRecords || b.Bytes+size > maxBytes) {
			break
		}
		b.Records = append(b.Records, records[i])
		b.Bytes += size
	}
	b.Footprint = b.Bytes
}

// horizon is the oldest record that is left, or the next one to come.
func (m *Memory) horizon(s *memoryShard) stream.Sequence {
	if len(s.records) > 0 {
		return s.records[0].Sequence
	}
	return m.nextSequence()
}

// children returns the shards whose parent that one is.
func (m *Memory) children(shardID string) []stream.Shard {
	var children []stream.Shard
	for _, s := range m.shards {
		for _, parent := range s.Parents {
			if parent == shardID {
				children = append(children, s.describe())
			}
		}
	}
	return children
}
