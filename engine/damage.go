package engine

import (
	"context"
	"fmt"
	"slices"

	"github.com/millrace/millrace/engine/internal/wal"
	"github.com/millrace/millrace/stream"
)

// Damage is a part of a file whose contents were durable once and cannot be
// trusted any more.
type Damage struct {
	File           string
	Offset, Length int64
	Detail         string
}

// Damage lists the damage that was found when the engine was opened.
func (e *Engine) Damage() []Damage {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return slices.Clone(e.damage)
}

// Loss is a run of records of one shard that damage has taken, or may have
// taken: First and Last bound their sequence numbers.
type Loss struct {
	Stream, Shard string
	First, Last   stream.Sequence
	File          string
	Offset        int64
	Detail        string
}

// withGaps adds gaps to what was accepted of a shard.
func withGaps(accepted [][2]uint64, gaps []wal.Gap) [][2]uint64 {
	var all []wal.Range
	for _, a := range accepted {
		all = append(all, wal.Range{First: a[0], Last: a[1]})
	}
	for _, g := range gaps {
		all = append(all, g.Range)
	}
	var merged [][2]uint64
	for _, r := range wal.Merge(all) {
		merged = append(merged, [2]uint64{r.First, r.Last})
	}
	return merged
}

func (s *Stream) losses(sh *shard, gaps []wal.Gap) []Loss {
	var all []Loss
	for _, g := range gaps {
		all = append(all, Loss{
			Stream: s.name, Shard: sh.id, First: sh.log.Base().Add(g.First), Last: sh.log.Base().Add(g.Last),
			File: g.File, Offset: g.Offset, Detail: g.Detail,
		})
	}
	return all
}

// Losses lists what readers of the stream cannot pass: see [Stream.AcceptLoss].
// What the disk failed to read (EIO) when it was last asked is listed, too: it
// leaves the list when the disk can read it again, since its readers try on.
// Damage that was found when the engine was opened stays on it.
func (s *Stream) Losses() []Loss {
	var all []Loss
	for _, m := range s.topology.Load().all {
		now := m.log.Status()
		all = append(all, s.losses(m.shard, slices.Concat(now.Gaps, now.Unread))...)
	}
	return all
}

// AcceptLoss gives up the damaged records of a shard, and those that the disk
// fails to read: its readers, who got [*stream.CorruptError] or an I/O error until
// now, go on behind them. Everything is read once more before, and what can be
// read again is not lost. When that is something which the disk could not read
// when the engine was opened, nothing is given up, and the error says to close and
// open it again: that brings those records back.
//
// It returns what was given up. The decision is durable when the call returns.
// Until then, or until retention is over, the damaged file is kept as it is: who
// can mend it, or has a copy, may put it back while the engine is closed. A disk
// may take minutes to fail; ctx, or Close, ends the reading before anything is
// given up.
func (s *Stream) AcceptLoss(ctx context.Context, shardID string) ([]Loss, error) {
	end, err := s.e.begin(ctx)
	if err != nil {
		return nil, fmt.Errorf("accept loss in %s of stream %s: %w", clip(shardID), s.name, err)
	}
	defer end()
	m, err := s.find(ctx, shardID)
	if err != nil {
		return nil, fmt.Errorf("accept loss: %w", err)
	}
	gaps, err := s.e.log.LookAgain(m.log, func() error { return s.usable(ctx) })
	if err != nil {
		return nil, fmt.Errorf("accept loss in %s of stream %s: %w", m.id, s.name, err)
	}
	if len(gaps) == 0 {
		return nil, nil
	}
	t := s.topology.Load()
	all := slices.Clone(t.all)
	for i := range all {
		if all[i].index == m.index {
			all[i].accepted = withGaps(all[i].accepted, gaps)
		}
	}
	next := newTopology(t.next, all)
	if err := s.e.save(ctx, &change{stream: s, topology: next}); err != nil {
		return nil, fmt.Errorf("accept loss in %s of stream %s: %w", m.id, s.name, err)
	}
	s.topology.Store(next)
	s.e.log.Accept(m.log, gaps)
	losses := s.losses(m.shard, gaps)
	for _, l := range losses {
		s.e.logger.Warn("loss accepted", "stream", l.Stream, "shard", l.Shard, "first", l.First.String(), "last", l.Last.String(), "file", l.File, "offset", l.Offset)
	}
	return losses, nil
}
