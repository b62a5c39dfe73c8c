package engine

import (
	"context"
	"fmt"
	"slices"

	"github.com/millrace/millrace/stream"
)

// Scale changes the number of open shards to n, 1 to 10,000, in the way of
// Kinesis' UpdateShardCount: every shard is halved until there are enough, and
// then neighbours are merged until n are left. That makes few generations of
// shards, and as many in all as users of Kinesis know, but equal ranges only
// where n is as much as before, or halved or doubled: [Stream.UpdateShardCount]
// makes them equal always. All of it takes effect together, or fails: as with every
// change of the shards, with [ErrTooManyShards] where more would have to be kept than
// a stream may have.
func (s *Stream) Scale(ctx context.Context, n int) error {
	err := s.reshard(ctx, func(t *topology) (*plan, error) {
		if n < 1 || n > maxShards {
			return nil, invalid("shard count", n, "use 1 to 10000")
		}
		return scalePlan(t, n)
	})
	if err != nil {
		return fmt.Errorf("scale stream %s: %w", s.name, err)
	}
	return nil
}

func scalePlan(t *topology, n int) (_ *plan, err error) {
	p := newPlan(t)
	var parts []part
	for _, sh := range t.open {
		parts = append(parts, part{sh.index, sh.hash, sh})
	}
	for len(parts) < n {
		if parts, err = p.halve(parts); err != nil {
			return nil, err
		}
	}
	for len(parts) > n {
		if parts, err = p.pair(parts, len(parts)-n); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// halve splits every part in its middle, if it has one.
func (p *plan) halve(parts []part) ([]part, error) {
	halves := make([]part, 0, 2*len(parts))
	for _, x := range parts {
		if x.hash.Start == x.hash.End {
			halves = append(halves, x) // a single point
			continue
		}
		low, high, err := p.split(x, x.hash.Middle())
		if err != nil {
			return nil, err
		}
		halves = append(halves, low, high)
	}
	return halves, nil
}

// pair merges neighbours, two and two, those first that make the smallest
// ranges, and at most that many pairs.
func (p *plan) pair(parts []part, most int) ([]part, error) {
	type couple struct {
		at   int // of the lower one
		size stream.Hash
	}
	var couples []couple
	for i := 0; i+1 < len(parts); i += 2 {
		joined, err := parts[i].hash.Join(parts[i+1].hash)
		if err != nil {
			return nil, err
		}
		couples = append(couples, couple{i, joined.Span()})
	}
	slices.SortStableFunc(couples, func(a, b couple) int { return a.size.Compare(b.size) })
	couples = couples[:min(most, len(couples))]
	slices.SortFunc(couples, func(a, b couple) int { return a.at - b.at })
	var left []part
	next := 0
	for _, c := range couples {
		left = append(left, parts[next:c.at]...)
		joined, err := p.merge(parts[c.at], parts[c.at+1])
		if err != nil {
			return nil, err
		}
		left = append(left, joined)
		next = c.at + 2
	}
	return append(left, parts[next:]...), nil
}
