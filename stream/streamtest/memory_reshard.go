package streamtest

import (
	"context"
	"fmt"
	"slices"

	"github.com/millrace/millrace/stream"
)

// Split implements [stream.Resharder].
func (m *Memory) Split(ctx context.Context, shardID string, at stream.Hash) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.findOpen(ctx, shardID)
	if err == nil {
		err = m.split(s, at)
	}
	if err != nil {
		return fmt.Errorf("split %s: %w", shardID, err)
	}
	return nil
}

// Merge implements [stream.Resharder].
func (m *Memory) Merge(ctx context.Context, shardID, adjacentID string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	a, err := m.findOpen(ctx, shardID)
	if err != nil {
		return fmt.Errorf("merge %s: %w", shardID, err)
	}
	b, err := m.findOpen(ctx, adjacentID)
	if err == nil {
		_, err = m.merge(a, b)
	}
	if err != nil {
		return fmt.Errorf("merge %s with %s: %w", shardID, adjacentID, err)
	}
	return nil
}

// UpdateShardCount implements [stream.Resharder]: it splits at every border
// that is wanted and not there, and then merges what lies between two.
func (m *Memory) UpdateShardCount(ctx context.Context, n int) error {
	if n < 1 {
		return fmt.Errorf("update shard count to %d: want at least 1", n)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return fmt.Errorf("update shard count to %d: %w", n, err)
	}
	for _, want := range stream.SplitHashSpace(n) {
		if s := m.holder(want.Start); s.Hash.Start != want.Start {
			if err := m.split(s, want.Start); err != nil {
				return err
			}
		}
	}
	for _, want := range stream.SplitHashSpace(n) {
		for s := m.holder(want.Start); s.Hash.End != want.End; {
			merged, err := m.merge(s, m.holder(s.Hash.End.Next()))
			if err != nil {
				return err
			}
			s = merged
		}
	}
	return nil
}

func (m *Memory) findOpen(ctx context.Context, shardID string) (*memoryShard, error) {
	s, err := m.find(ctx, shardID)
	if err == nil && s.Closed {
		return nil, fmt.Errorf("%s is closed already; only open shards are split and merged", shardID)
	}
	return s, err
}

// holder returns the open shard that holds h: there always is one.
func (m *Memory) holder(h stream.Hash) *memoryShard {
	return m.shards[slices.IndexFunc(m.shards, func(s *memoryShard) bool { return !s.Closed && s.Hash.Contains(h) })]
}

func (m *Memory) split(s *memoryShard, at stream.Hash) error {
	low, high, err := s.Hash.SplitAt(at)
	if err != nil {
		return err
	}
	m.open(low, s.ID)
	m.open(high, s.ID)
	s.close()
	return nil
}

func (m *Memory) merge(a, b *memoryShard) (*memoryShard, error) {
	union, err := a.Hash.Join(b.Hash)
	if err != nil {
		return nil, err
	}
	child := m.open(union, a.ID, b.ID)
	a.close()
	b.close()
	return child, nil
}

// open adds an open shard.
func (m *Memory) open(r stream.HashRange, parents ...string) *memoryShard {
	s := &memoryShard{Shard: stream.Shard{ID: fmt.Sprintf("shardId-%012d", m.opened), Parents: parents, Hash: r}}
	m.opened++
	m.shards = append(m.shards, s)
	return s
}

func (s *memoryShard) close() {
	s.Closed = true
	s.wake()
}
