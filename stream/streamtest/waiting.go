package streamtest

import (
	"context"
	"errors"
	"testing"

	"github.com/millrace/millrace/stream"
)

// NextWaitsForAPut reads an empty shard and puts a record into it, and into
// another one before.
func NextWaitsForAPut(t testing.TB, s Subject) {
	all := openShards(t, s)
	shard, other := all[0], all[1]
	r := open(t, s, shard.ID, stream.TrimHorizon)
	ctx := patient(t)
	var b stream.Batch
	for range 3 {
		read := background(t, func() error { return r.Next(ctx, &b) })
		quiet(t, read, "Next does not wait")
		fill(t, s, other, 1, "elsewhere")
		quiet(t, read, "Next gives what was put into another shard")
		sequence := fill(t, s, shard, 1, "here")
		if err := within(t, read, "a record that was put"); err != nil {
			t.Fatal(err)
		}
		want(t, b.Records, sequence, "here", 0)
	}
}

// APutWakesEveryReader lets many readers of one shard wait for one record.
func APutWakesEveryReader(t testing.TB, s Subject) {
	shard := openShards(t, s)[0]
	ctx := patient(t)
	var reads []<-chan error
	for range 10 {
		r := open(t, s, shard.ID, stream.Latest)
		reads = append(reads, background(t, func() error { return r.Next(ctx, &stream.Batch{}) }))
	}
	quiet(t, reads[0], "Next does not wait")
	fill(t, s, shard, 1, "for all")
	for _, r := range reads {
		if err := within(t, r, "each reader"); err != nil {
			t.Fatal(err)
		}
	}
}

// NextReturnsTheCauseOfItsContext cancels reads that wait, and reads again.
func NextReturnsTheCauseOfItsContext(t testing.TB, s Subject) {
	shard := openShards(t, s)[0]
	r := open(t, s, shard.ID, stream.TrimHorizon)
	why := errors.New("the test wants it")
	ctx, cancel := context.WithCancelCause(patient(t))
	waiting := background(t, func() error { return r.Next(ctx, &stream.Batch{}) })
	quiet(t, waiting, "Next does not wait")
	cancel(why)
	if err := within(t, waiting, "a cancelled Next"); !errors.Is(err, why) {
		t.Fatalf("a waiting Next returns %v, want the cause", err)
	}
	if err := r.Next(ctx, &stream.Batch{}); !errors.Is(err, why) {
		t.Fatalf("Next with a cancelled context returns %v, want the cause", err)
	}
	sequences := fill(t, s, shard, 3, "afterwards")
	want(t, read(t, r, 3), sequences, "afterwards", 0)
}

// CloseWakesNext closes a reader whose Next waits.
func CloseWakesNext(t testing.TB, s Subject) {
	shard := openShards(t, s)[0]
	r, bystander := open(t, s, shard.ID, stream.TrimHorizon), open(t, s, shard.ID, stream.TrimHorizon)
	ctx := patient(t)
	waiting := background(t, func() error { return r.Next(ctx, &stream.Batch{}) })
	quiet(t, waiting, "Next does not wait")
	for range 2 {
		if err := r.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
	}
	if err := within(t, waiting, "Next of a closed reader"); !errors.Is(err, stream.ErrClosed) {
		t.Fatalf("a waiting Next returns %v, want stream.ErrClosed", err)
	}
	sequences := fill(t, s, shard, 1, "too late")
	if err := r.Next(ctx, &stream.Batch{}); !errors.Is(err, stream.ErrClosed) {
		t.Fatalf("Next after Close returns %v, want stream.ErrClosed", err)
	}
	want(t, read(t, bystander, 1), sequences, "too late", 0)
}

// EveryMethodReturnsTheCauseOfItsContext calls everything with a context that
// is done.
func EveryMethodReturnsTheCauseOfItsContext(t testing.TB, s Subject) {
	shard := openShards(t, s)[0]
	why := errors.New("the test wants it")
	ctx, cancel := context.WithCancelCause(patient(t))
	cancel(why)

	check := func(method string, err error) {
		t.Helper()
		if !errors.Is(err, why) {
			t.Errorf("%s returns %v, want the cause", method, err)
		}
	}
	// What needs no waiting may succeed.
	if _, err := s.Stream.Identity(ctx); err != nil {
		check("Identity", err)
	}
	if _, err := s.Stream.Shards(ctx); err != nil {
		check("Shards", err)
	}
	if _, err := s.Stream.Pin(ctx, shard.ID); err != nil {
		check("Pin", err)
	}
	if r, err := s.Stream.Open(ctx, shard.ID, stream.TrimHorizon); err != nil {
		check("Open", err)
	} else {
		check("Next", r.Next(ctx, &stream.Batch{}))
		r.Close()
	}
	_, err := s.putter(t).Put(ctx, stream.Entry{PartitionKey: "k", Data: []byte("never")})
	check("Put", err)
	if r, ok := s.Stream.(stream.Resharder); ok {
		check("Split", r.Split(ctx, shard.ID, shard.Hash.Middle()))
		check("UpdateShardCount", r.UpdateShardCount(ctx, 2*Shards))
	}
	if left := len(openShards(t, s)); left != Shards {
		t.Errorf("%d open shards, want %d as before", left, Shards)
	}
}
