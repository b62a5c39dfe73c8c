package engine

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/engine/internal/manifest"
	"github.com/millrace/millrace/engine/internal/vfs"
	"github.com/millrace/millrace/stream"
)

func infos(t testing.TB, s *Stream) []ShardInfo {
	t.Helper()
	all, err := s.ShardInfos(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestShardsTellWhenTheyTookRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.Memory()
		cfg := small().withDefaults(true)
		e, err := open(fs, cfg)
		if err != nil {
			t.Fatal(err)
		}
		s := ensure(t, e, "orders", StreamConfig{Shards: 2})
		made := time.Now()
		time.Sleep(time.Hour)
		if err := s.Merge(t.Context(), shardID(0), shardID(1)); err != nil {
			t.Fatal(err)
		}
		merged := time.Now()
		time.Sleep(time.Hour)
		if err := s.UpdateShardCount(t.Context(), 4); err != nil {
			t.Fatal(err)
		}
		four := time.Now()
		check := func(s *Stream) {
			t.Helper()
			all := infos(t, s)
			if len(all) != 9 {
				t.Fatalf("%d shards, want 9", len(all))
			}
			for i, info := range all {
				opened, ended := four, time.Time{}
				switch {
				case i < 2:
					opened, ended = made, merged
				case i == 2:
					opened, ended = merged, four
				case info.Closed:
					ended = four
				}
				if !info.Opened.Equal(opened) || !info.Ended.Equal(ended) {
					t.Errorf("%s is from %v to %v, want %v to %v", info.ID, info.Opened, info.Ended, opened, ended)
				}
				at := info.OpenAt(made) && i < 2 || info.OpenAt(merged) && i == 2 || info.OpenAt(four) && !info.Closed
				if !at && i < 3 || at != !info.Closed && i >= 3 {
					t.Errorf("%s does not know when it was open", info.ID)
				}
			}
		}
		check(s)
		e.Close()
		// What was written by a version that noted no such times says the same,
		// as long as the parents are known.
		m, _, err := manifest.Load(fs)
		if err != nil {
			t.Fatal(err)
		}
		for _, without := range []bool{false, true} {
			for i := range m.Streams[0].Shards {
				if without {
					m.Streams[0].Shards[i].OpenedMs = 0
				}
			}
			if err := manifest.Save(fs, m); err != nil {
				t.Fatal(err)
			}
			e, err = open(fs, cfg)
			if err != nil {
				t.Fatal(err)
			}
			check(ensure(t, e, "orders", StreamConfig{}))
			e.Close()
		}
	})
}

func TestRecordsLieBetweenTheFirstAndTheLastOfTheirShard(t *testing.T) {
	e := openMemory(t, small())
	s := ensure(t, e, "orders", StreamConfig{Shards: 2})
	mustPut(t, s, number(0, 20)...)
	if err := s.UpdateShardCount(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	mustPut(t, s, number(20, 20)...)
	byID := map[string]ShardInfo{}
	for _, info := range infos(t, s) {
		byID[info.ID] = info
		for _, parent := range info.Parents {
			if !byID[parent].Last.Less(info.First) {
				t.Errorf("%s begins with %v, its parent %s ends with %v", info.ID, info.First, parent, byID[parent].Last)
			}
		}
		records := mustRead(t, s, info.ID, stream.At(info.First))
		if len(records) == 0 {
			t.Errorf("%s has no records", info.ID)
		}
		for _, r := range records {
			if !info.First.Less(r.Sequence) || !r.Sequence.Less(info.Last) {
				t.Errorf("%s: %v lies not between %v and %v", info.ID, r.Sequence, info.First, info.Last)
			}
		}
		if len(info.Last.String()) != digitsAll || len(info.First.String()) != digitsAll {
			t.Errorf("%s: %v to %v, want 56 digits", info.ID, info.First, info.Last)
		}
	}
}

func TestScalingMakesAsManyShardsAsKinesis(t *testing.T) {
	for _, step := range []struct{ from, to, all int }{
		{1, 1, 1}, {1, 2, 3}, {1, 3, 8}, {2, 4, 6}, {4, 5, 15}, {10, 13, 37}, {4, 2, 6}, {5, 3, 7}, {7, 1, 13}, {1, 100, 283},
	} {
		e := openMemory(t, small())
		s := ensure(t, e, "orders", StreamConfig{Shards: step.from})
		if err := s.Scale(t.Context(), step.to); err != nil {
			t.Fatal(err)
		}
		all := infos(t, s)
		var open []stream.HashRange
		least, most := stream.MaxHash, stream.Hash{}
		for _, info := range all {
			if info.Closed {
				continue
			}
			open = append(open, info.Hash)
			if n := info.Hash.Span(); n.Compare(least) < 0 {
				least = n
			}
			if n := info.Hash.Span(); n.Compare(most) > 0 {
				most = n
			}
		}
		if len(open) != step.to || len(all) != step.all {
			t.Errorf("%d to %d: %d open shards of %d, want %d of %d", step.from, step.to, len(open), len(all), step.to, step.all)
		}
		if holes := stream.Holes(open); len(holes) > 0 {
			t.Errorf("%d to %d leaves holes: %v", step.from, step.to, holes)
		}
		if most.Hi/2 > least.Hi+1 && step.to > 1 && step.from != 7 {
			t.Errorf("%d to %d: ranges of %v to %v points", step.from, step.to, least, most)
		}
		e.Close()
	}
}

func TestMoreShardsThanMayBeKeptAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, err := OpenMemory(Config{Logger: slog.New(slog.DiscardHandler), MinRetention: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		s, err := e.CreateStream(t.Context(), "s", StreamConfig{Retention: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{10_000, 1} {
			if err := s.Scale(t.Context(), n); err != nil {
				t.Fatal(err)
			}
		}
		before := len(s.topology.Load().all)
		err = s.Scale(t.Context(), 10_000)
		if !errors.Is(err, ErrTooManyShards) || !strings.Contains(err.Error(), "leave retention (the first at 20") {
			t.Errorf("%d shards are kept, and then: %v", before, err)
		}
		if n := len(s.topology.Load().all); n != before {
			t.Errorf("there are %d shards, and were %d", n, before)
		}
		if err := s.Scale(t.Context(), 2); err != nil {
			t.Errorf("a small step: %v", err)
		}
		time.Sleep(2 * time.Minute)
		if err := s.Scale(t.Context(), 3); err != nil {
			t.Errorf("when the closed ones have left: %v", err)
		}
	})
}
