package streamtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/millrace/millrace/stream"
)

const (
	// MaxPartitionKey and MaxData are the largest partition key and payload
	// that [Memory] takes, in bytes.
	MaxPartitionKey = 256
	MaxData         = 1 << 20
)

// ErrRefused is the error of an entry that [Memory] does not take: its
// partition key is empty or too long, or its payload too large.
var ErrRefused = errors.New("entry refused")

// Memory is a stream in memory, with all seams of package stream. It forgets
// nothing unless it is told to ([Memory.Trim], [Memory.Expire]), limits
// nothing, and is lost with the process. All methods may be called at the same
// time.
//
// Times are those of package time, so that they are virtual in a bubble of
// testing/synctest. Sequence numbers are given out by one counter for all
// shards, with gaps between them.
type Memory struct {
	// mu guards everything below. Nothing waits while holding it: who waits for
	// a shard takes its channel under mu and waits outside.
	mu       sync.Mutex
	identity stream.Identity
	shards   []*memoryShard // in the order of their numbers
	opened   int            // how many shards there have ever been
	puts     uint64         // how many records there have ever been
	deleted  bool
}

var (
	_ stream.Stream     = (*Memory)(nil)
	_ stream.Putter     = (*Memory)(nil)
	_ stream.Subscriber = (*Memory)(nil)
	_ stream.Resharder  = (*Memory)(nil)
)

// memoryShard is one shard and its records.
type memoryShard struct {
	stream.Shard
	records []stream.Record
	// dropped is the last record that was trimmed, meaningful when trimmed.
	dropped stream.Sequence
	trimmed bool
	gone    bool
	// changed is closed at the next change; nil while nobody waits.
	changed chan struct{}
}

// NewMemory returns an empty stream whose hash space is divided evenly among
// that many shards. It panics when shards is less than 1.
func NewMemory(name string, shards int) *Memory {
	return newMemory(stream.Identity{Name: name, Created: time.Now().Truncate(time.Millisecond)}, shards)
}

func newMemory(identity stream.Identity, shards int) *Memory {
	m := &Memory{identity: identity}
	for _, r := range stream.SplitHashSpace(shards) {
		m.open(r)
	}
	return m
}

// Identity implements [stream.Stream].
func (m *Memory) Identity(ctx context.Context) (stream.Identity, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.identity, m.usable(ctx)
}

// Shards implements [stream.Stream].
func (m *Memory) Shards(ctx context.Context) ([]stream.Shard, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return nil, err
	}
	shards := make([]stream.Shard, len(m.shards))
	for i, s := range m.shards {
		shards[i] = s.describe()
	}
	return shards, nil
}

// Pin implements [stream.Stream].
func (m *Memory) Pin(ctx context.Context, shardID string) (stream.Position, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.find(ctx, shardID); err != nil {
		return stream.Position{}, fmt.Errorf("pin %s: %w", shardID, err)
	}
	return stream.At(m.nextSequence()), nil
}

// Open implements [stream.Stream].
func (m *Memory) Open(ctx context.Context, shardID string, from stream.Position) (stream.Reader, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.find(ctx, shardID)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", shardID, err)
	}
	switch from {
	case stream.Position{}:
		return nil, fmt.Errorf("open %s: no position is given; stream.TrimHorizon is the beginning", shardID)
	case stream.Latest:
		from = stream.At(m.nextSequence())
	}
	return &memoryReader{memory: m, shard: s, at: from, closed: make(chan struct{})}, nil
}

// Put implements [stream.Putter]. Entries that are refused get an error that
// wraps [ErrRefused]; the others are stored.
func (m *Memory) Put(ctx context.Context, entries ...stream.Entry) ([]stream.PutResult, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return nil, fmt.Errorf("put %d records: nothing was stored: %w", len(entries), err)
	}
	now := time.Now().Truncate(time.Millisecond)
	results := make([]stream.PutResult, len(entries))
	for i := range entries {
		results[i] = m.put(&entries[i], now)
	}
	return results, nil
}

func (m *Memory) put(e *stream.Entry, now time.Time) stream.PutResult {
	if n := len(e.PartitionKey); n == 0 || n > MaxPartitionKey {
		return stream.PutResult{Err: fmt.Errorf("%w: partition key of %d bytes: want 1 to %d", ErrRefused, n, MaxPartitionKey)}
	}
	if n := len(e.Data); n > MaxData {
		return stream.PutResult{Err: fmt.Errorf("%w: data of %d bytes: want at most %d", ErrRefused, n, MaxData)}
	}
	s := m.holder(e.Hash())
	r := stream.Record{
		Sequence:     m.nextSequence(),
		PartitionKey: e.PartitionKey,
		Data:         slices.Clone(e.Data),
		Arrival:      now,
		HashKey:      e.HashKey,
		HasHashKey:   e.HasHashKey,
	}
	m.puts++
	s.records = append(s.records, r)
	s.wake()
	return stream.PutResult{Shard: s.ID, Sequence: r.Sequence}
}

// Subscribe implements [stream.Subscriber]. Records that were trimmed before
// they were given end the subscription with [*stream.TrimmedError].
func (m *Memory) Subscribe(ctx context.Context, shardID string, from stream.Position, limits stream.Batch, handle func(*stream.Batch) error) error {
	r, err := m.Open(ctx, shardID, from)
	if err != nil {
		return err
	}
	defer r.Close()
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

// Trim drops the records of a shard before that sequence number, as retention
// would.
func (m *Memory) Trim(ctx context.Context, shardID string, before stream.Sequence) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.find(ctx, shardID)
	if err != nil {
		return fmt.Errorf("trim %s: %w", shardID, err)
	}
	n, _ := s.index(stream.At(before))
	s.drop(n)
	return nil
}

// Expire drops all records, and with them the closed shards, as if nothing was
// put or resharded for longer than retention lasts.
func (m *Memory) Expire(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return fmt.Errorf("expire: %w", err)
	}
	m.shards = slices.DeleteFunc(m.shards, func(s *memoryShard) bool {
		s.drop(len(s.records))
		s.gone = s.Closed
		s.wake()
		return s.Closed
	})
	return nil
}

// Forget drops a closed shard and what is left of its records, as retention
// would in the end.
func (m *Memory) Forget(ctx context.Context, shardID string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.find(ctx, shardID)
	if err != nil {
		return fmt.Errorf("forget %s: %w", shardID, err)
	}
	if !s.Closed {
		return fmt.Errorf("forget %s: it is open; only closed shards are forgotten", shardID)
	}
	s.drop(len(s.records))
	s.gone = true
	s.wake()
	m.shards = slices.DeleteFunc(m.shards, func(other *memoryShard) bool { return other == s })
	return nil
}

// Delete ends the stream: every method, and every reader, returns
// [stream.ErrStreamNotFound] from then on.
func (m *Memory) Delete() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.deleted = true
	for _, s := range m.shards {
		s.wake()
	}
}

// Recreate deletes the stream and returns a new one of the same name, with
// that many shards. Its shards have the same IDs, and its sequence numbers
// begin again, so that whoever takes it for the old one skips records.
func (m *Memory) Recreate(shards int) *Memory {
	m.Delete()
	identity := m.identity // never changes
	identity.Created = identity.Created.Add(time.Millisecond)
	if now := time.Now().Truncate(time.Millisecond); now.After(identity.Created) {
		identity.Created = now
	}
	return newMemory(identity, shards)
}

// usable returns why nothing can be done: ctx is done, or the stream is deleted.
func (m *Memory) usable(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if m.deleted {
		return fmt.Errorf("%s: %w", m.identity.Name, stream.ErrStreamNotFound)
	}
	return nil
}

func (m *Memory) find(ctx context.Context, shardID string) (*memoryShard, error) {
	if err := m.usable(ctx); err != nil {
		return nil, err
	}
	for _, s := range m.shards {
		if s.ID == shardID {
			return s, nil
		}
	}
	return nil, stream.ErrShardNotFound
}

// nextSequence is the number that the next record will have. As in Kinesis it
// is 56 digits long and begins with 49; numbers lie three apart, so that there
// are some that no record has.
func (m *Memory) nextSequence() stream.Sequence {
	return stream.MakeSequence(1<<57, 0, 0).Add(3 * (m.puts + 1))
}

// describe returns a copy that the caller may keep.
func (s *memoryShard) describe() stream.Shard {
	d := s.Shard
	d.Parents = slices.Clone(d.Parents)
	return d
}

// index returns the index of the first record that a reader at that position
// gets, and whether records that it should have got before were trimmed.
func (s *memoryShard) index(at stream.Position) (i int, missing bool) {
	if t, ok := at.Time(); ok {
		i = slices.IndexFunc(s.records, func(r stream.Record) bool { return !r.Arrival.Before(t) })
		if i < 0 {
			i = len(s.records)
		}
		return i, false
	}
	i, _ = slices.BinarySearchFunc(s.records, at, func(r stream.Record, at stream.Position) int {
		if at.Includes(r.Sequence) {
			return -1
		}
		return 1
	})
	_, _, numbered := at.Sequence()
	return i, numbered && s.trimmed && !at.Includes(s.dropped)
}

// drop trims the first n records.
func (s *memoryShard) drop(n int) {
	if n == 0 {
		return
	}
	s.dropped, s.trimmed = s.records[n-1].Sequence, true
	s.records = s.records[n:]
}

// wait returns a channel that is closed at the next change of the shard.
func (s *memoryShard) wait() <-chan struct{} {
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.changed
}

// wake wakes everybody who waits.
func (s *memoryShard) wake() {
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}
