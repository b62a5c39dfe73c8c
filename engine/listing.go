package engine

import (
	"context"
	"time"

	"github.com/millrace/millrace/stream"
)

// ShardInfo is a shard with what lists of shards tell of it in Kinesis.
type ShardInfo struct {
	stream.Shard
	// First is smaller, and Last greater, than the sequence number of every
	// record that the shard has or will have, and both lie in what is the
	// shard's alone: a reader may begin at either. The First of a child is greater
	// than the Last of its parents.
	First, Last stream.Sequence
	// Opened and Ended are when the shard began and ceased to take records, to
	// the millisecond; Ended is zero while it is open. A child is opened when the
	// last of its parents has ended, never before. Shards that a change of the
	// shard count closed at once have both at one moment.
	Opened, Ended time.Time
}

// OpenAt reports whether the shard took records at a time.
func (i *ShardInfo) OpenAt(t time.Time) bool {
	return !t.Before(i.Opened) && (i.Ended.IsZero() || t.Before(i.Ended))
}

// ShardInfos returns what [Stream.Shards] does, and more of each.
func (s *Stream) ShardInfos(ctx context.Context) ([]ShardInfo, error) {
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	t := s.topology.Load()
	cutoff := s.cutoff()
	infos := make([]ShardInfo, 0, len(t.all))
	for _, m := range t.all {
		if m.closed == 0 || m.closed >= cutoff {
			infos = append(infos, m.info())
		}
	}
	return infos, nil
}

// ShardInfo returns one shard; [stream.ErrShardNotFound] when there is none
// that can be read.
func (s *Stream) ShardInfo(ctx context.Context, shardID string) (ShardInfo, error) {
	m, err := s.find(ctx, shardID)
	if err != nil {
		return ShardInfo{}, err
	}
	return m.info(), nil
}

// Horizon returns the time since when records are kept: those that arrived
// earlier have left retention.
func (s *Stream) Horizon() time.Time { return time.UnixMilli(max(s.created, s.cutoff())) }

func (m member) info() ShardInfo {
	info := ShardInfo{
		Shard: m.model(), Opened: time.UnixMilli(m.opened),
		First: m.log.Base(), Last: m.log.Base().Add(counters - 1),
	}
	if m.closed != 0 {
		info.Ended = time.UnixMilli(m.closed)
	}
	return info
}
