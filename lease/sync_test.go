package lease

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/stream"
)

var testStream = stream.Identity{Name: "s", Created: time.UnixMilli(5)}

func shardOf(id string, closed bool, parents ...string) stream.Shard {
	return stream.Shard{ID: id, Closed: closed, Parents: parents, Hash: stream.FullRange}
}

func rowOf(id string, at stream.Position, parents ...string) Lease {
	l := NewLease("s", testStream.ID(), shardOf(id, false, parents...), at)
	l.Term = 1
	return l
}

// created writes generations as "a@TRIM_HORIZON b@… | c@…".
func created(s Synced) string {
	var generations []string
	for _, g := range s.Create {
		var rows []string
		for _, l := range g {
			rows = append(rows, l.Shard+"@"+l.Checkpoint.Position.String())
		}
		generations = append(generations, strings.Join(rows, " "))
	}
	return strings.Join(generations, " | ")
}

func shardsOf(leases []Lease) string {
	var ids []string
	for _, l := range leases {
		ids = append(ids, l.Shard)
	}
	slices.Sort(ids)
	return strings.Join(ids, " ")
}

func TestSync(t *testing.T) {
	end, start := stream.ShardEnd, stream.TrimHorizon
	at := stream.AtTime(time.UnixMilli(7))
	family := []stream.Shard{ // a and b merged into c, which was split into d and e
		shardOf("e", false, "c"), shardOf("d", false, "c"), shardOf("c", true, "a", "b"), shardOf("b", true), shardOf("a", true),
	}
	for _, test := range []struct {
		name    string
		shards  []stream.Shard
		leases  []Lease
		initial stream.Position
		create  string
		retire  string
		gone    string
	}{
		{name: "FirstContactAtTrimHorizonTakesAllParentsFirst", shards: family, initial: start,
			create: "a@TRIM_HORIZON b@TRIM_HORIZON | c@TRIM_HORIZON | d@TRIM_HORIZON e@TRIM_HORIZON"},
		{name: "FirstContactAtATimeTakesAll", shards: family[3:], initial: at,
			create: "a@" + at.String() + " b@" + at.String()},
		{name: "FirstContactAtLatestTakesTheOpenOnes", shards: family, initial: stream.Latest, create: "d@LATEST e@LATEST"},
		{name: "LaterShardsBeginAtTrimHorizon", shards: family, initial: stream.Latest,
			leases: []Lease{rowOf("a", end), rowOf("b", after(3)), rowOf("c", start, "a", "b")},
			create: "d@TRIM_HORIZON e@TRIM_HORIZON"},
		{name: "WhatLiesBeforeTheFirstContactStaysThere", shards: family, initial: stream.Latest,
			leases: []Lease{rowOf("d", after(1), "c"), rowOf("e", after(1), "c")}},
		{name: "ARetiredShardIsNotCreatedAgain", shards: family, initial: start,
			leases: []Lease{rowOf("c", after(1), "a", "b")}, create: "d@TRIM_HORIZON e@TRIM_HORIZON"},
		{name: "AShardWhoseLineIsLostBeginsAtTrimHorizon", initial: stream.Latest,
			shards: []stream.Shard{shardOf("z", false, "y")}, leases: []Lease{rowOf("x", after(2))},
			create: "z@TRIM_HORIZON", gone: "x"},
		{name: "AParentStaysUntilAllChildrenHaveBegun", shards: family, initial: start,
			leases: []Lease{rowOf("c", end, "a", "b"), rowOf("d", after(1), "c"), rowOf("e", start, "c")}},
		{name: "AParentIsRetiredWhenAllChildrenHaveBegun", shards: family, initial: start,
			leases: []Lease{rowOf("c", end, "a", "b"), rowOf("d", after(1), "c"), rowOf("e", end, "c")}, retire: "c"},
		{name: "AParentIsRetiredBeforeItsChildren", shards: family, initial: start,
			leases: []Lease{rowOf("a", end), rowOf("b", end), rowOf("c", end, "a", "b"), rowOf("d", after(1), "c"), rowOf("e", end, "c")},
			retire: "a b"},
		{name: "AParentStaysUntilAllChildrenAreThere", shards: family, initial: start,
			leases: []Lease{rowOf("c", end, "a", "b"), rowOf("d", after(1), "c")}, create: "e@TRIM_HORIZON"},
		{name: "AFinishedShardWithoutChildrenStaysWhileItIsListed", shards: []stream.Shard{shardOf("a", true)}, initial: start,
			leases: []Lease{rowOf("a", end)}},
		{name: "AFinishedShardThatLeftTheStreamIsRetired", shards: []stream.Shard{shardOf("b", false)}, initial: start,
			leases: []Lease{rowOf("a", end), rowOf("b", start)}, retire: "a"},
		{name: "AnUnfinishedShardThatLeftTheStreamIsGone", shards: []stream.Shard{shardOf("b", false, "a")}, initial: start,
			leases: []Lease{rowOf("a", after(4)), rowOf("b", start, "a")}, gone: "a"},
		{name: "AFormerIncarnationIsRetiredAndNeverApplied", shards: []stream.Shard{shardOf("a", false)}, initial: start,
			leases: []Lease{{Key: "s:4/a", Stream: "s", StreamID: "s:4", Shard: "a", Checkpoint: saved(9)}},
			create: "a@TRIM_HORIZON", retire: "a"},
		{name: "ALaterIncarnationIsLeftAlone", shards: []stream.Shard{shardOf("a", false)}, initial: start,
			leases: []Lease{{Key: "s:6/a", Stream: "s", StreamID: "s:6", Shard: "a"}}, create: "a@TRIM_HORIZON"},
		{name: "OtherStreamsAreLeftAlone", shards: []stream.Shard{shardOf("a", false)}, initial: start,
			leases: []Lease{{Key: "t:1/a", Stream: "t", StreamID: "t:1", Shard: "a"}, rowOf("a", start)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := Sync(testStream, test.shards, test.leases, test.initial)
			if c := created(got); c != test.create {
				t.Errorf("creates %q, want %q", c, test.create)
			}
			if r := shardsOf(got.Retire); r != test.retire {
				t.Errorf("retires %q, want %q", r, test.retire)
			}
			if g := shardsOf(got.Gone); g != test.gone {
				t.Errorf("gone are %q, want %q", g, test.gone)
			}
			if len(got.Holes) != 0 && test.name != "AFinishedShardWithoutChildrenStaysWhileItIsListed" {
				t.Errorf("holes %v", got.Holes)
			}
		})
	}
}

// A store that does not create all rows at once may fail in the middle of the
// first contact. What is left of it must not begin with records of last week.
func TestAFirstContactThatBreaksOffGoesOnWhereItWasToBegin(t *testing.T) {
	ranges := stream.SplitHashSpace(3)
	shards := []stream.Shard{
		{ID: "a", Hash: ranges[0]}, {ID: "b", Hash: ranges[1]}, {ID: "c", Hash: ranges[2], Parents: []string{"old"}},
		{ID: "old", Hash: ranges[2], Closed: true},
	}
	there := NewLease("s", testStream.ID(), shards[0], after(3))
	at := stream.AtTime(time.UnixMilli(7))
	for initial, want := range map[stream.Position]string{
		stream.Latest:      "b@LATEST c@LATEST",
		at:                 "b@" + at.String() + " old@" + at.String() + " | c@" + at.String(),
		stream.TrimHorizon: "b@TRIM_HORIZON old@TRIM_HORIZON | c@TRIM_HORIZON",
	} {
		if got := created(Sync(testStream, shards, []Lease{there}, initial)); got != want {
			t.Errorf("%v: creates %q, want %q", initial, got, want)
		}
	}
}

func TestAHoleInTheHashSpaceIsNoticed(t *testing.T) {
	ranges := stream.SplitHashSpace(3)
	var shards []stream.Shard
	var leases []Lease
	for i, r := range ranges {
		sh := stream.Shard{ID: string(rune('a' + i)), Hash: r}
		shards = append(shards, sh)
		leases = append(leases, NewLease("s", testStream.ID(), sh, stream.TrimHorizon))
	}
	leases[1].Checkpoint = checkpoint.State{Position: stream.ShardEnd} // and no child
	if got := Sync(testStream, shards, leases, stream.TrimHorizon).Holes; !slices.Equal(got, ranges[1:2]) {
		t.Errorf("holes %v, want %v", got, ranges[1:2])
	}
	if got := Sync(testStream, shards, nil, stream.TrimHorizon).Holes; len(got) != 0 {
		t.Errorf("holes at the first contact: %v", got)
	}
}
