package streamtest

import (
	"errors"
	"testing"

	"github.com/millrace/millrace/stream"
)

// ReadingBeginsBehindWhatWasDropped opens a shard whose records have left
// retention, where no record is asked for by number.
func ReadingBeginsBehindWhatWasDropped(t testing.TB, s Subject) {
	shard := openShards(t, s)[0]
	before := open(t, s, shard.ID, stream.TrimHorizon)
	old := fill(t, s, shard, 10, "old")
	s.Expire(t)
	nothingMore(t, open(t, s, shard.ID, stream.TrimHorizon))
	sequences := fill(t, s, shard, 5, "new")
	if !old[9].Less(sequences[0]) {
		t.Errorf("%v is used again, or smaller than what was dropped: %v", sequences[0], old[9])
	}
	want(t, read(t, open(t, s, shard.ID, stream.TrimHorizon), 5), sequences, "new", 0)
	if len(openShards(t, s)) != Shards {
		t.Error("open shards are gone")
	}

	// Who opened the shard before may have kept the first records in memory.
	var b stream.Batch
	for last := (stream.Sequence{}); last != sequences[4]; {
		err := before.Next(patient(t), &b)
		if _, trimmed := errors.AsType[*stream.TrimmedError](err); trimmed {
			continue
		}
		if err != nil {
			t.Fatalf("next: %v", err)
		}
		last = b.Records[len(b.Records)-1].Sequence
	}
}

// AReaderIsToldOnceOfWhatItMissed opens a shard after a record that has left
// retention, together with others that come after it.
func AReaderIsToldOnceOfWhatItMissed(t testing.TB, s Subject) {
	shard := openShards(t, s)[0]
	old := fill(t, s, shard, 10, "old")
	s.Expire(t)
	sequences := fill(t, s, shard, 5, "new")

	for _, from := range []stream.Position{stream.At(old[0]), stream.After(old[3]), stream.At(old[9])} {
		r := open(t, s, shard.ID, from)
		err := r.Next(patient(t), &stream.Batch{})
		trimmed, ok := errors.AsType[*stream.TrimmedError](err)
		if !ok {
			t.Fatalf("from %v: %v, want to be told that records are missing", from, err)
		}
		if trimmed.Shard != shard.ID || trimmed.From != from || !old[9].Less(trimmed.Horizon) || sequences[0].Less(trimmed.Horizon) {
			t.Errorf("from %v: %+v, want that shard and position, and a horizon in (%v, %v]", from, trimmed, old[9], sequences[0])
		}
		want(t, read(t, r, 5), sequences, "new", 0)
		want(t, read(t, open(t, s, shard.ID, stream.At(trimmed.Horizon)), 5), sequences, "new", 0)
	}

	// Nothing is missing after the last record that was dropped.
	want(t, read(t, open(t, s, shard.ID, stream.After(old[9])), 5), sequences, "new", 0)
}

// TheIdentityStays asks for it twice.
func TheIdentityStays(t testing.TB, s Subject) {
	first := identity(t, s.Stream)
	if first.Name == "" || first.Created.IsZero() {
		t.Errorf("the identity is %+v, want a name and a time", first)
	}
	fill(t, s, openShards(t, s)[0], 1, "something")
	anotherMillisecond()
	if again := identity(t, s.Stream); again.ID() != first.ID() {
		t.Errorf("the identity was %s and is %s", first.ID(), again.ID())
	}
}

// ARecreatedStreamIsAnotherOne deletes a stream and creates it again.
func ARecreatedStreamIsAnotherOne(t testing.TB, s Subject) {
	first := identity(t, s.Stream)
	shard := openShards(t, s)[0]
	fill(t, s, shard, 3, "former")
	reader := open(t, s, shard.ID, stream.Latest)
	ctx := patient(t)
	waiting := background(t, func() error { return reader.Next(ctx, &stream.Batch{}) })
	quiet(t, waiting, "Next does not wait")

	again := Subject{Stream: s.Recreate(t)}
	second := identity(t, again.Stream)
	if second.Name != first.Name {
		t.Errorf("the name was %q and is %q", first.Name, second.Name)
	}
	if second.ID() == first.ID() {
		t.Errorf("both incarnations are %s", first.ID())
	}
	err := within(t, waiting, "a reader of the former stream")
	if _, ended := errors.AsType[*stream.ShardEndError](err); err == nil || ended {
		t.Errorf("a reader of the former stream returns %v, want an error that is no shard's end", err)
	}
	if _, err := s.Stream.Shards(ctx); !errors.Is(err, stream.ErrStreamNotFound) {
		t.Errorf("the former stream lists its shards with %v, want stream.ErrStreamNotFound", err)
	}
	for _, shard := range openShards(t, again) {
		nothingMore(t, open(t, again, shard.ID, stream.TrimHorizon))
	}
}

func identity(t testing.TB, s stream.Stream) stream.Identity {
	t.Helper()
	id, err := s.Identity(patient(t))
	if err != nil {
		t.Fatalf("identity: %v", err)
	}
	return id
}
