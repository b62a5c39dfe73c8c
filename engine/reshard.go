package engine

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/millrace/millrace/stream"
)

// reshard closes shards and opens others in their place, all at once: after a
// crash the stream is as before or as planned, never in between.
//
//	hold back puts ─► wait until what the ─► write the ─► let puts find
//	to the parents    parents have is        manifest     the children
//	                  durable
//
// Reading goes on all the time; puts to other shards, too.
func (s *Stream) reshard(ctx context.Context, plan func(*topology) (*plan, error)) error {
	end, err := s.e.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	if err := s.usable(ctx); err != nil {
		return err
	}
	t := s.topology.Load()
	p, err := plan(t)
	if err != nil || p.empty() {
		return err
	}
	if err := s.roomFor(t, len(p.steps)); err != nil {
		return err
	}
	log := s.e.log
	for _, sh := range p.close {
		log.Seal(sh.log)
	}
	done := false
	defer func() {
		for _, sh := range p.close {
			log.Resume(sh.log, !done)
		}
	}()
	if err := log.Flush(ctx); err != nil {
		return err
	}
	next := s.apply(t, p)
	if err := s.e.save(ctx, &change{stream: s, topology: next}); err != nil {
		for _, m := range next.all[len(t.all):] {
			log.Forget(m.log)
		}
		return err
	}
	done = true
	s.topology.Store(next)
	for _, m := range next.all {
		if old, ok := t.find(m.index); m.closed != 0 && (!ok || old.closed == 0) {
			log.End(m.log)
		}
	}
	s.e.logger.Info("resharded", "stream", s.name, "closed", len(p.close), "opened", len(next.open)-len(t.open)+len(p.close), "open", len(next.open))
	return nil
}

// roomFor refuses more shards than may be kept.
func (s *Stream) roomFor(t *topology, more int) error {
	if len(t.all)+more <= maxKept {
		return nil
	}
	closed := len(t.all) - len(t.open)
	if closed == 0 {
		return fmt.Errorf("%w: %d would be added to %d: take a smaller step", ErrTooManyShards, more, len(t.all))
	}
	first := int64(math.MaxInt64)
	for _, m := range t.all {
		if m.closed != 0 {
			first = min(first, m.closed)
		}
	}
	leaves := time.UnixMilli(first).Add(s.settings.Load().retention)
	return fmt.Errorf("%w: %d would be added to %d open ones and %d that are closed and can still be read, and %d are the limit: "+
		"take smaller steps, or wait until closed ones leave retention (the first at %s), or shorten it",
		ErrTooManyShards, more, len(t.open), closed, maxKept, leaves.UTC().Format(time.RFC3339))
}

// plan is a reshard that has not happened: which shards close, and what comes
// of them. New shards have the indexes from the topology's next on.
type plan struct {
	first, next uint64 // indexes of the first new shard, and of the one after the last
	close       []*shard
	steps       []step // new shards, in order
}

// step is one new shard. Those that are closed at once are the ones in
// between, when several splits and merges are done together.
type step struct {
	index   uint64
	hash    stream.HashRange
	parents []uint64
	closed  bool
}

func newPlan(t *topology) *plan { return &plan{first: t.next, next: t.next} }

func (p *plan) empty() bool { return len(p.steps) == 0 }

// part is an open shard in the middle of planning.
type part struct {
	index uint64
	hash  stream.HashRange
	old   *shard // nil when it is one of the plan's steps
}

// end closes a part, since others follow it.
func (p *plan) end(x part) {
	if x.old != nil {
		p.close = append(p.close, x.old)
		return
	}
	p.steps[x.index-p.first].closed = true
}

func (p *plan) open(hash stream.HashRange, parents ...uint64) part {
	x := part{index: p.next, hash: hash}
	p.next++
	p.steps = append(p.steps, step{index: x.index, hash: hash, parents: parents})
	return x
}

func (p *plan) split(x part, at stream.Hash) (low, high part, err error) {
	a, b, err := x.hash.SplitAt(at)
	if err != nil {
		return low, high, err
	}
	p.end(x)
	return p.open(a, x.index), p.open(b, x.index), nil
}

func (p *plan) merge(x, y part) (part, error) {
	hash, err := x.hash.Join(y.hash)
	if err != nil {
		return part{}, err
	}
	p.end(x)
	p.end(y)
	return p.open(hash, x.index, y.index), nil
}

// apply makes the topology that the plan leads to.
func (s *Stream) apply(t *topology, p *plan) *topology {
	set := s.settings.Load()
	now := max(time.Now().UnixMilli(), set.floor)
	for _, sh := range p.close {
		// A clock that was set back must not let a shard be over before its records.
		now = max(now, sh.log.Status().Newest)
	}
	all := slices.Clone(t.all)
	for i := range all {
		if slices.Contains(p.close, all[i].shard) {
			all[i].closed = now
		}
	}
	for _, st := range p.steps {
		m := member{shard: s.newShard(st.index, st.hash, st.parents, now, set)}
		if st.closed {
			m.closed = now
		}
		all = append(all, m)
	}
	return newTopology(p.next, all)
}

// openPart finds a shard that can be split or merged.
func (t *topology) openPart(id string) (part, error) {
	m, ok := t.byID(id)
	if !ok {
		return part{}, fmt.Errorf("shard %q: %w", clip(id), stream.ErrShardNotFound)
	}
	if m.closed != 0 {
		return part{}, fmt.Errorf("%s was split or merged already: %w", id, ErrShardClosed)
	}
	return part{m.index, m.hash, m.shard}, nil
}

// Split closes a shard and opens two, the second of which begins with the hash
// key at. It is durable when the call returns.
func (s *Stream) Split(ctx context.Context, shardID string, at stream.Hash) error {
	err := s.reshard(ctx, func(t *topology) (*plan, error) {
		x, err := t.openPart(shardID)
		if err != nil {
			return nil, err
		}
		if len(t.open) >= maxShards {
			return nil, invalid("open shards", len(t.open)+1, "use at most 10000")
		}
		p := newPlan(t)
		_, _, err = p.split(x, at)
		return p, err
	})
	if err != nil {
		return fmt.Errorf("split %s of stream %s: %w", clip(shardID), s.name, err)
	}
	return nil
}

// Merge closes two shards whose hash ranges lie side by side, in whichever
// order, and opens one. It is durable when the call returns.
func (s *Stream) Merge(ctx context.Context, shardID, adjacentID string) error {
	err := s.reshard(ctx, func(t *topology) (*plan, error) {
		x, err := t.openPart(shardID)
		if err != nil {
			return nil, err
		}
		y, err := t.openPart(adjacentID)
		if err != nil {
			return nil, err
		}
		p := newPlan(t)
		_, err = p.merge(x, y)
		return p, err
	})
	if err != nil {
		return fmt.Errorf("merge %s and %s of stream %s: %w", clip(shardID), clip(adjacentID), s.name, err)
	}
	return nil
}

// UpdateShardCount divides the hash space anew into n equal open shards, 1 to
// 10,000, by splits and merges that take effect together. Shards whose range
// is right stay; those in between are listed as closed shards without records.
// [Stream.Scale] makes fewer of those.
func (s *Stream) UpdateShardCount(ctx context.Context, n int) error {
	err := s.reshard(ctx, func(t *topology) (*plan, error) {
		if n < 1 || n > maxShards {
			return nil, invalid("shard count", n, "use 1 to 10000")
		}
		return evenPlan(t, n)
	})
	if err != nil {
		return fmt.Errorf("update the shard count of stream %s: %w", s.name, err)
	}
	return nil
}

// evenPlan cuts the open shards wherever one of n equal ranges begins, and
// joins what lies in one of those.
func evenPlan(t *topology, n int) (*plan, error) {
	p := newPlan(t)
	targets := stream.SplitHashSpace(n)
	var parts []part
	for _, sh := range t.open {
		var cuts []stream.Hash
		for _, r := range targets {
			if sh.hash.Contains(r.Start) && r.Start != sh.hash.Start {
				cuts = append(cuts, r.Start)
			}
		}
		pieces, err := p.splitAll(part{sh.index, sh.hash, sh}, cuts)
		if err != nil {
			return nil, err
		}
		parts = append(parts, pieces...)
	}
	for _, r := range targets {
		in := 0
		for in < len(parts) && r.Contains(parts[in].hash.Start) {
			in++
		}
		if err := p.mergeAll(parts[:in]); err != nil {
			return nil, err
		}
		parts = parts[in:]
	}
	return p, nil
}

// splitAll cuts at the middle one first, so that few generations of shards
// come to lie between the first and the last.
func (p *plan) splitAll(x part, cuts []stream.Hash) ([]part, error) {
	if len(cuts) == 0 {
		return []part{x}, nil
	}
	mid := len(cuts) / 2
	low, high, err := p.split(x, cuts[mid])
	if err != nil {
		return nil, err
	}
	a, err := p.splitAll(low, cuts[:mid])
	if err != nil {
		return nil, err
	}
	b, err := p.splitAll(high, cuts[mid+1:])
	return append(a, b...), err
}

func (p *plan) mergeAll(parts []part) error {
	for len(parts) > 1 {
		var joined []part
		for i := 0; i+1 < len(parts); i += 2 {
			x, err := p.merge(parts[i], parts[i+1])
			if err != nil {
				return err
			}
			joined = append(joined, x)
		}
		if len(parts)%2 == 1 {
			joined = append(joined, parts[len(parts)-1])
		}
		parts = joined
	}
	return nil
}
