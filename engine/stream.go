package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/millrace/millrace/engine/internal/manifest"
	"github.com/millrace/millrace/engine/internal/wal"
	"github.com/millrace/millrace/stream"
)

// Stream is one stream of an engine. All methods may be called at the same
// time; after the stream was deleted they return [stream.ErrStreamNotFound],
// after the engine was closed [stream.ErrClosed].
type Stream struct {
	e       *Engine
	name    string
	created int64 // Unix ms

	// Both are replaced as a whole, by the holder of Engine.control.
	topology atomic.Pointer[topology]
	settings atomic.Pointer[settings]
	deleted  atomic.Bool
}

var (
	_ stream.Stream     = (*Stream)(nil)
	_ stream.Putter     = (*Stream)(nil)
	_ stream.Resharder  = (*Stream)(nil)
	_ stream.Subscriber = (*Stream)(nil)
)

// settings are what can be changed of a stream. A value is never changed.
type settings struct {
	retention time.Duration
	// floor is an arrival, Unix ms: what is older left retention before that
	// was lengthened, and does not come back.
	floor     int64
	maxRecord int
	limits    Limits
	tags      map[string]string
}

func (e *Engine) newStream(name string, created int64) *Stream {
	return &Stream{e: e, name: name, created: created}
}

// newShard makes a shard of a new handle. The caller has the control.
func (s *Stream) newShard(index uint64, hash stream.HashRange, parents []uint64, opened int64, set *settings) *shard {
	state := wal.ShardState{Handle: s.e.nextHandle, Base: sequenceBase(s.created, index), Arrival: set.floor}
	s.e.nextHandle++
	sh := &shard{
		index: index, id: shardID(index), handle: state.Handle, parents: parents, hash: hash, opened: opened,
		log: s.e.log.NewShard(state),
	}
	sh.in, sh.out = limiters(set.limits)
	return sh
}

// loadStream brings back what [Stream.saved] wrote.
func (e *Engine) loadStream(m *manifest.Stream) *Stream {
	s := e.newStream(m.Name, m.Created)
	set := &settings{
		retention: time.Duration(m.RetentionMs) * time.Millisecond, floor: m.TrimmedBefore,
		maxRecord: m.MaxRecordBytes, tags: m.Tags,
	}
	if m.Limits == KinesisLimits.String() {
		set.limits = KinesisLimits
	}
	var all []member
	for _, sh := range m.Shards {
		one := &shard{
			index: sh.Index, id: shardID(sh.Index), handle: sh.Handle, parents: sh.Parents,
			hash: stream.HashRange{Start: sh.Start, End: sh.End}, opened: opened(m, &sh), log: e.log.Shard(sh.Handle),
		}
		one.in, one.out = limiters(set.limits)
		all = append(all, member{shard: one, closed: sh.ClosedMs, accepted: sh.Accepted})
	}
	s.settings.Store(set)
	s.topology.Store(newTopology(m.NextShard, all))
	return s
}

// opened returns when a shard began to take records: what was noted, or else
// when the last of its parents ended, as far as they are still known.
func opened(m *manifest.Stream, sh *manifest.Shard) int64 {
	if sh.OpenedMs != 0 {
		return sh.OpenedMs
	}
	at := m.Created
	for i := range m.Shards {
		if slices.Contains(sh.Parents, m.Shards[i].Index) {
			at = max(at, m.Shards[i].ClosedMs)
		}
	}
	return at
}

// saved returns the stream as the manifest keeps it.
func (s *Stream) saved(t *topology, set *settings) manifest.Stream {
	m := manifest.Stream{
		Name: s.name, Created: s.created, NextShard: t.next,
		RetentionMs: set.retention.Milliseconds(), TrimmedBefore: set.floor,
		MaxRecordBytes: set.maxRecord, Limits: set.limits.String(), Tags: set.tags,
		Shards: make([]manifest.Shard, len(t.all)),
	}
	for i, sh := range t.all {
		committed, trimmed := sh.log.Counters()
		m.Shards[i] = manifest.Shard{
			Index: sh.index, Handle: sh.handle, Parents: sh.parents, Start: sh.hash.Start, End: sh.hash.End,
			OpenedMs: sh.opened, ClosedMs: sh.closed, Last: committed, Trimmed: trimmed,
			// Of what retention has dropped, nobody will ask again.
			Accepted: slices.DeleteFunc(slices.Clone(sh.accepted), func(a [2]uint64) bool { return a[1] <= trimmed }),
		}
	}
	return m
}

// usable returns why the stream cannot be used, or nil.
func (s *Stream) usable(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if s.deleted.Load() {
		return fmt.Errorf("stream %s: %w", s.name, stream.ErrStreamNotFound)
	}
	select {
	case <-s.e.done:
		return fmt.Errorf("stream %s: %w", s.name, stream.ErrClosed)
	default:
		return nil
	}
}

// Identity returns the name and the time of creation. Creation times of one
// engine differ and grow, even for streams created in the same millisecond.
func (s *Stream) Identity(ctx context.Context) (stream.Identity, error) {
	if err := s.usable(ctx); err != nil {
		return stream.Identity{}, err
	}
	return stream.Identity{Name: s.name, Created: time.UnixMilli(s.created)}, nil
}

// Shards returns all shards that are open, or were closed within retention.
func (s *Stream) Shards(ctx context.Context) ([]stream.Shard, error) {
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	t := s.topology.Load()
	cutoff := s.cutoff()
	shards := make([]stream.Shard, 0, len(t.all))
	for _, m := range t.all {
		if m.closed == 0 || m.closed >= cutoff {
			shards = append(shards, m.model())
		}
	}
	return shards, nil
}

// find returns a shard that can be read.
func (s *Stream) find(ctx context.Context, shardID string) (member, error) {
	if err := s.usable(ctx); err != nil {
		return member{}, err
	}
	m, ok := s.topology.Load().byID(shardID)
	if !ok || m.closed != 0 && m.closed < s.cutoff() {
		return member{}, fmt.Errorf("shard %q of stream %s: %w", clip(shardID), s.name, stream.ErrShardNotFound)
	}
	return m, nil
}

// Description is a stream at some moment.
type Description struct {
	stream.Identity
	// OpenShards and Shards count those that take records, and those that can be read.
	OpenShards, Shards int
	Retention          time.Duration
	MaxRecordBytes     int
	Limits             Limits
	Tags               map[string]string
	// Durability is the engine's.
	Durability Durability
}

// Describe returns the stream as it is now.
func (s *Stream) Describe() (Description, error) {
	ctx := context.Background()
	id, err := s.Identity(ctx)
	if err != nil {
		return Description{}, err
	}
	shards, err := s.Shards(ctx)
	if err != nil {
		return Description{}, err
	}
	set := s.settings.Load()
	return Description{
		Identity: id, OpenShards: len(s.topology.Load().open), Shards: len(shards),
		Retention: set.retention, MaxRecordBytes: set.maxRecord, Limits: set.limits,
		Tags: maps.Clone(set.tags), Durability: s.e.cfg.Durability,
	}, nil
}

// change replaces the settings, durably.
func (s *Stream) change(ctx context.Context, what string, f func(*settings) error) error {
	end, err := s.e.begin(ctx)
	if err != nil {
		return fmt.Errorf("%s of stream %s: %w", what, s.name, err)
	}
	defer end()
	if err := s.usable(ctx); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	next := *s.settings.Load()
	next.tags = maps.Clone(next.tags)
	if err := f(&next); err != nil {
		return fmt.Errorf("%s of stream %s: %w", what, s.name, err)
	}
	if err := s.e.save(ctx, &change{stream: s, settings: &next}); err != nil {
		return fmt.Errorf("%s of stream %s: %w", what, s.name, err)
	}
	s.settings.Store(&next)
	return nil
}

// Delete removes this stream, as [Engine.DeleteStream] does, and no other one
// that may have its name by now: then it returns [stream.ErrStreamNotFound].
func (s *Stream) Delete(ctx context.Context) error {
	end, err := s.e.begin(ctx)
	if err != nil {
		return fmt.Errorf("delete stream %s: %w", s.name, err)
	}
	defer end()
	if err := s.usable(ctx); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	return s.remove(ctx)
}

// SetMaxRecordBytes changes how large records may be from now on.
func (s *Stream) SetMaxRecordBytes(ctx context.Context, n int) error {
	return s.change(ctx, "set the record size", func(set *settings) error {
		set.maxRecord = n
		return checkMaxRecord("MaxRecordBytes", n, s.e.cfg)
	})
}

// MaxRecordBytes is how large a record may be now, payload and partition key
// together.
func (s *Stream) MaxRecordBytes() int {
	// Segments may have been larger when the stream was made.
	return min(s.settings.Load().maxRecord, wal.MaxRecord(s.e.cfg.SegmentBytes))
}

// Tag adds tags, in place of those of the same name.
func (s *Stream) Tag(ctx context.Context, tags map[string]string) error {
	return s.change(ctx, "tag", func(set *settings) error {
		if set.tags == nil {
			set.tags = map[string]string{}
		}
		maps.Copy(set.tags, tags)
		return checkTags("tags", set.tags)
	})
}

// Untag removes tags. Names that are not there are left aside.
func (s *Stream) Untag(ctx context.Context, names ...string) error {
	return s.change(ctx, "untag", func(set *settings) error {
		for _, name := range names {
			delete(set.tags, name)
		}
		return nil
	})
}
