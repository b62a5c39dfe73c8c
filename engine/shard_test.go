package engine

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/millrace/millrace/stream"
)

func TestEveryHashFallsIntoTheShardWhoseRangeHoldsIt(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		hash := rapid.Custom(func(rt *rapid.T) stream.Hash {
			return stream.Hash{Hi: rapid.Uint64().Draw(rt, "hi"), Lo: rapid.Uint64Range(0, 2).Draw(rt, "lo")}
		})
		starts := rapid.SliceOfDistinct(hash, func(h stream.Hash) stream.Hash { return h }).Draw(rt, "starts")
		if rapid.Bool().Draw(rt, "equal") {
			starts = nil
			ranges := stream.SplitHashSpace(rapid.IntRange(1, 5000).Draw(rt, "shards"))
			for _, r := range ranges {
				starts = append(starts, r.Start)
			}
		}
		starts = append(starts, stream.Hash{})
		slices.SortFunc(starts, stream.Hash.Compare)
		starts = slices.Compact(starts)
		var all []member
		for i, start := range starts {
			all = append(all, member{shard: &shard{index: uint64(i), hash: stream.HashRange{Start: start}}})
		}
		topology := newTopology(uint64(len(all)), all)
		probe := append(rapid.SliceOf(hash).Draw(rt, "hashes"), stream.Hash{}, stream.MaxHash)
		for _, h := range append(probe, starts...) {
			i := topology.at(h)
			if starts[i].Compare(h) > 0 || i+1 < len(starts) && starts[i+1].Compare(h) <= 0 {
				rt.Fatalf("%v is given to shard %d of %d, which begins at %v", h, i, len(starts), starts[i])
			}
		}
	})
}
