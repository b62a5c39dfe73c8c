package lease_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/millrace/millrace/stream"
)

// script is a stream whose shards hold nothing but numbers: record n of a
// shard has the sequence number n, from 1 on.
type script struct {
	id     stream.Identity
	mu     sync.Mutex // guards what follows
	shards []stream.Shard
	counts map[string]uint64
	fails  bool // Shards and Identity fail
}

func newScript(name string, shards int) *script {
	s := &script{id: stream.Identity{Name: name, Created: time.Now()}, counts: map[string]uint64{}}
	for i, r := range stream.SplitHashSpace(shards) {
		s.shards = append(s.shards, stream.Shard{ID: fmt.Sprintf("shard-%04d", i), Hash: r})
	}
	return s
}

var errScript = errors.New("the stream does not answer")

func (s *script) Identity(context.Context) (stream.Identity, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails {
		return stream.Identity{}, errScript
	}
	return s.id, nil
}

func (s *script) Shards(context.Context) ([]stream.Shard, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails {
		return nil, errScript
	}
	return slices.Clone(s.shards), nil
}

func (s *script) Pin(_ context.Context, shard string) (stream.Position, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return stream.After(sequence(s.counts[shard])), nil
}

func (s *script) Open(context.Context, string, stream.Position) (stream.Reader, error) {
	return nil, errScript
}

func sequence(n uint64) stream.Sequence { return stream.MakeSequence(0, 0, n) }

// number returns how many records lie behind a position.
func number(p stream.Position) uint64 {
	s, _, _ := p.Sequence()
	_, _, n := s.Words()
	return n
}

// put adds a record to an open shard, and returns its number.
func (s *script) put(pick int) (shard string, n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	open := s.open()
	shard = open[pick%len(open)].ID
	s.counts[shard]++
	return shard, s.counts[shard]
}

func (s *script) open() []stream.Shard {
	return slices.DeleteFunc(slices.Clone(s.shards), func(sh stream.Shard) bool { return sh.Closed })
}

// read returns how many records a shard has, and whether it is closed.
func (s *script) read(shard string) (count uint64, closed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.IndexFunc(s.shards, func(sh stream.Shard) bool { return sh.ID == shard })
	return s.counts[shard], s.shards[at].Closed
}

func (s *script) children(shard string) []stream.Shard {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.shards), func(sh stream.Shard) bool { return !slices.Contains(sh.Parents, shard) })
}

func (s *script) close(id string) {
	at := slices.IndexFunc(s.shards, func(sh stream.Shard) bool { return sh.ID == id })
	s.shards[at].Closed = true
}

func (s *script) add(r stream.HashRange, parents ...string) {
	s.shards = append(s.shards, stream.Shard{ID: fmt.Sprintf("shard-%04d", len(s.shards)), Hash: r, Parents: parents})
}

// split divides one of the open shards.
func (s *script) split(pick int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	open := s.open()
	sh := open[pick%len(open)]
	low, high, err := sh.Hash.SplitAt(sh.Hash.Middle())
	if err != nil {
		return
	}
	s.close(sh.ID)
	s.add(low, sh.ID)
	s.add(high, sh.ID)
}

// merge joins one of the open shards with its neighbour, if there is one.
func (s *script) merge(pick int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	open := s.open()
	sh := open[pick%len(open)]
	for _, other := range open {
		if joined, err := sh.Hash.Join(other.Hash); err == nil {
			s.close(sh.ID)
			s.close(other.ID)
			s.add(joined, sh.ID, other.ID)
			return
		}
	}
}
