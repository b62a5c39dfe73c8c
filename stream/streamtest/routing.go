package streamtest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/millrace/millrace/stream"
)

// ShardsDivideTheHashSpace looks at the shards of a new stream.
func ShardsDivideTheHashSpace(t testing.TB, s Subject) {
	open := openShards(t, s)
	if all := shards(t, s); len(open) != Shards || len(all) != Shards {
		t.Fatalf("a new stream has %d shards, %d of them open; want %d", len(all), len(open), Shards)
	}
	for i, wanted := range stream.SplitHashSpace(Shards) {
		if open[i].Hash != wanted {
			t.Errorf("%s has the range %v, want %v", open[i].ID, open[i].Hash, wanted)
		}
		if len(open[i].Parents) != 0 {
			t.Errorf("%s has parents: %v", open[i].ID, open[i].Parents)
		}
	}
}

// APartitionKeyGoesToTheShardOfItsMD5 puts many keys.
func APartitionKeyGoesToTheShardOfItsMD5(t testing.TB, s Subject) {
	open := openShards(t, s)
	var entries []stream.Entry
	for i := range 100 {
		entries = append(entries, stream.Entry{PartitionKey: fmt.Sprintf("customer-%d", i), Data: []byte("x")})
	}
	for i, r := range put(t, s, entries...) {
		hash := stream.HashOf(entries[i].PartitionKey)
		holder := open[slices.IndexFunc(open, func(s stream.Shard) bool { return s.Hash.Contains(hash) })]
		if r.Shard != holder.ID {
			t.Fatalf("%q, whose hash is %v, went to %s, want %s", entries[i].PartitionKey, hash, r.Shard, holder.ID)
		}
	}
}

// AHashKeyGoesToTheShardThatHoldsIt puts explicit hash keys at both ends of
// every shard, all with one partition key.
func AHashKeyGoesToTheShardThatHoldsIt(t testing.TB, s Subject) {
	for _, shard := range openShards(t, s) {
		ends := []stream.Hash{shard.Hash.Start, shard.Hash.End}
		for _, hash := range ends {
			r := put(t, s, stream.Entry{PartitionKey: "everywhere", Data: []byte("x"), HashKey: hash, HasHashKey: true})[0]
			if r.Shard != shard.ID {
				t.Errorf("hash key %v went to %s, want %s, whose range is %v", hash, r.Shard, shard.ID, shard.Hash)
			}
		}
		for i, r := range read(t, open(t, s, shard.ID, stream.TrimHorizon), 2) {
			if r.PartitionKey != "everywhere" {
				t.Errorf("the partition key is %q", r.PartitionKey)
			}
			if r.HasHashKey && r.HashKey != ends[i] {
				t.Errorf("the record has the hash key %v, want %v", r.HashKey, ends[i])
			}
		}
	}
}

// ARefusedEntryLeavesTheOthersAlone mixes entries that are refused with good
// ones.
func ARefusedEntryLeavesTheOthersAlone(t testing.TB, s Subject) {
	if len(s.Refused) == 0 {
		t.Skip("the stream refuses no single entries")
	}
	shard := openShards(t, s)[0]
	key := keyFor(t, shard)
	var entries []stream.Entry
	for i, refused := range s.Refused {
		entries = append(entries, stream.Entry{PartitionKey: key, Data: fmt.Appendf(nil, "good %d", i)}, refused)
	}
	results, err := s.putter(t).Put(patient(t), entries...)
	if err != nil || len(results) != len(entries) {
		t.Fatalf("put: %d results, %v", len(results), err)
	}
	var sequences []stream.Sequence
	for i, r := range results {
		switch refused := i%2 == 1; {
		case refused && r.Err == nil:
			t.Errorf("entry %d is taken, want an error", i)
		case !refused && r.Err != nil:
			t.Errorf("entry %d: %v", i, r.Err)
		case !refused:
			sequences = append(sequences, r.Sequence)
		}
	}
	want(t, read(t, open(t, s, shard.ID, stream.TrimHorizon), len(sequences)), sequences, "good", 0)
}
