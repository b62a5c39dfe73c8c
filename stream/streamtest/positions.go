package streamtest

import (
	"errors"
	"testing"
	"time"

	"github.com/millrace/millrace/stream"
)

// TrimHorizonIsTheBeginning opens a shard before and after records are put.
func TrimHorizonIsTheBeginning(t testing.TB, s Subject) {
	shard := openShards(t, s)[0]
	early := open(t, s, shard.ID, stream.TrimHorizon)
	sequences := fill(t, s, shard, 5, "old")
	want(t, read(t, early, 5), sequences, "old", 0)
	late := open(t, s, shard.ID, stream.TrimHorizon)
	want(t, read(t, late, 5), sequences, "old", 0)
	nothingMore(t, late)
}

// LatestBeginsWithWhatIsPutNext opens a shard at its end, empty and not.
func LatestBeginsWithWhatIsPutNext(t testing.TB, s Subject) {
	shard := openShards(t, s)[0]
	empty := open(t, s, shard.ID, stream.Latest)
	old := fill(t, s, shard, 3, "old")
	r := open(t, s, shard.ID, stream.Latest)
	nothingMore(t, r)
	sequences := fill(t, s, shard, 3, "new")
	want(t, read(t, r, 3), sequences, "new", 0)
	all := read(t, empty, 6)
	want(t, all[:3], old, "old", 0)
	want(t, all[3:], sequences, "new", 0)
}

// AtBeginsWithThatRecordAndAfterWithTheNext opens a shard at and after each of
// its records.
func AtBeginsWithThatRecordAndAfterWithTheNext(t testing.TB, s Subject) {
	shard := openShards(t, s)[0]
	sequences := fill(t, s, shard, 8, "numbered")
	for i, seq := range sequences {
		want(t, read(t, open(t, s, shard.ID, stream.At(seq)), 8-i), sequences, "numbered", i)
		if i < 7 {
			want(t, read(t, open(t, s, shard.ID, stream.After(seq)), 7-i), sequences, "numbered", i+1)
		}
	}
	end := open(t, s, shard.ID, stream.After(sequences[7]))
	nothingMore(t, end)
	later := fill(t, s, shard, 2, "later")
	want(t, read(t, end, 2), later, "later", 0)
}

// AtAMissingNumberBeginsWithTheNextRecord opens a shard at numbers that no
// record has.
func AtAMissingNumberBeginsWithTheNextRecord(t testing.TB, s Subject) {
	shard := openShards(t, s)[0]
	sequences := fill(t, s, shard, 4, "numbered")
	want(t, read(t, open(t, s, shard.ID, stream.At(stream.Sequence{})), 4), sequences, "numbered", 0)
	for i, seq := range sequences[:3] {
		missing := []stream.Sequence{seq.WithSub(1)}
		if seq.Add(1).Less(sequences[i+1]) {
			missing = append(missing, seq.Add(1))
		}
		for _, m := range missing {
			for _, from := range []stream.Position{stream.At(m), stream.After(m)} {
				want(t, read(t, open(t, s, shard.ID, from), 3-i), sequences, "numbered", i+1)
			}
		}
	}
}

// AtTimeBeginsWithWhatArrivedThen opens a shard before, between and after the
// arrivals of its records.
func AtTimeBeginsWithWhatArrivedThen(t testing.TB, s Subject) {
	shard := openShards(t, s)[0]
	sequences := fill(t, s, shard, 2, "timed")
	anotherMillisecond()
	key := keyFor(t, shard)
	sequences = append(sequences, put(t, s, stream.Entry{PartitionKey: key, Data: []byte("timed 2")})[0].Sequence)
	records := read(t, open(t, s, shard.ID, stream.TrimHorizon), 3)
	first, last := records[0].Arrival, records[2].Arrival
	if !last.After(records[1].Arrival) {
		t.Fatalf("records put one millisecond apart and more arrived at %v and %v", records[1].Arrival, last)
	}

	want(t, read(t, open(t, s, shard.ID, stream.AtTime(first.Add(-time.Hour))), 3), sequences, "timed", 0)
	want(t, read(t, open(t, s, shard.ID, stream.AtTime(first)), 3), sequences, "timed", 0)
	want(t, read(t, open(t, s, shard.ID, stream.AtTime(records[1].Arrival.Add(time.Millisecond))), 1), sequences, "timed", 2)
	want(t, read(t, open(t, s, shard.ID, stream.AtTime(last)), 1), sequences, "timed", 2)

	later := open(t, s, shard.ID, stream.AtTime(last.Add(time.Millisecond)))
	nothingMore(t, later)
	anotherMillisecond()
	sequences = fill(t, s, shard, 1, "later")
	want(t, read(t, later, 1), sequences, "later", 0)
}

// APinStaysWhereItWas pins the end of an empty shard and of one with records.
func APinStaysWhereItWas(t testing.TB, s Subject) {
	shard := openShards(t, s)[0]
	pin := func() stream.Position {
		t.Helper()
		p, err := s.Stream.Pin(patient(t), shard.ID)
		if err != nil {
			t.Fatalf("pin: %v", err)
		}
		if p.IsZero() || p == stream.Latest {
			t.Fatalf("the pin is %q, which is no place", p)
		}
		stored, err := stream.ParsePosition(p.String())
		if err != nil || stored != p {
			t.Fatalf("the pin %v is read back as %v, %v", p, stored, err)
		}
		return stored
	}
	empty := pin()
	old := fill(t, s, shard, 3, "old")
	between := pin()
	sequences := fill(t, s, shard, 3, "new")

	all := read(t, open(t, s, shard.ID, empty), 6)
	want(t, all[:3], old, "old", 0)
	want(t, all[3:], sequences, "new", 0)
	want(t, read(t, open(t, s, shard.ID, between), 3), sequences, "new", 0)

	end := open(t, s, shard.ID, pin())
	nothingMore(t, end)
	sequences = fill(t, s, shard, 2, "last")
	want(t, read(t, end, 2), sequences, "last", 0)
}

// ThePositionShardEndEndsAtOnce opens shards where nothing is left to read.
func ThePositionShardEndEndsAtOnce(t testing.TB, s Subject) {
	shard := openShards(t, s)[0]
	fill(t, s, shard, 3, "unread")
	r := open(t, s, shard.ID, stream.ShardEnd)
	var b stream.Batch
	for range 2 {
		err := r.Next(patient(t), &b)
		if end, ok := errors.AsType[*stream.ShardEndError](err); !ok || end.Shard != shard.ID {
			t.Fatalf("next: %v, want the end of %s", err, shard.ID)
		}
	}
}

// UnknownShardsAreRefused asks for a shard that is not there.
func UnknownShardsAreRefused(t testing.TB, s Subject) {
	const unknown = "shardId-000000999999"
	if _, err := s.Stream.Open(patient(t), unknown, stream.TrimHorizon); !errors.Is(err, stream.ErrShardNotFound) {
		t.Errorf("open: %v, want stream.ErrShardNotFound", err)
	}
	if _, err := s.Stream.Pin(patient(t), unknown); !errors.Is(err, stream.ErrShardNotFound) {
		t.Errorf("pin: %v, want stream.ErrShardNotFound", err)
	}
}
