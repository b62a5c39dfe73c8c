package fanout_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/millrace/millrace/fanout"
	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/stream/streamtest"
)

func record(n uint64) stream.Record {
	return stream.Record{Sequence: stream.MakeSequence(0, 0, n), PartitionKey: "k", Data: fmt.Appendf(nil, "%d", n), Arrival: time.UnixMilli(int64(n))}
}

// batchOf returns the records from..to.
func batchOf(from, to uint64) *stream.Batch {
	b := new(stream.Batch)
	for n := from; n <= to; n++ {
		r := record(n)
		b.Records = append(b.Records, r)
		b.Bytes += r.Size()
	}
	b.Footprint = b.Bytes
	return b
}

func TestASubscriptionIsNotReadWhileNobodyAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var handled atomic.Int64
		s := use(t, pushing{streamtest.NewMemory("orders", 1), func(ctx context.Context, _ stream.Position, handle func(*stream.Batch) error) error {
			for n := uint64(1); ; n += 2 {
				if err := handle(batchOf(n, n+1)); err != nil {
					return err
				}
				handled.Add(1)
			}
		}}, fanout.Config{})
		r := open(t, s, stream.TrimHorizon)
		for want := range uint64(10) {
			time.Sleep(time.Hour)
			// Two records a batch: the subscription goes on when the second is taken.
			if n := handled.Load(); n != int64(want/2) {
				t.Fatalf("%d batches are handled after %d records", n, want)
			}
			b := stream.Batch{MaxRecords: 1}
			if err := r.Next(t.Context(), &b); err != nil || b.Records[0].Sequence != record(want+1).Sequence {
				t.Fatalf("record %d: %+v, %v", want+1, b.Records, err)
			}
		}
	})
}

func TestAReaderGoesOnBehindItsLastRecordAfterAnError(t *testing.T) {
	const last = 1000
	rapid.Check(t, func(rt *rapid.T) {
		why := errors.New("the connection broke")
		sizes := rapid.SliceOfN(rapid.Uint64Range(1, 20), 200, 200).Draw(rt, "sizes")
		breaks := rapid.SliceOfN(rapid.Bool(), 200, 200).Draw(rt, "breaks")
		turn := 0
		s := use(t, pushing{streamtest.NewMemory("orders", 1), func(ctx context.Context, from stream.Position, handle func(*stream.Batch) error) error {
			next := uint64(1)
			if seq, after, _ := from.Sequence(); after {
				_, _, next = seq.Words()
				next++
			}
			for next <= last {
				i := turn % len(sizes)
				turn++
				to := min(last, next+sizes[i]-1)
				if err := handle(batchOf(next, to)); err != nil {
					return err
				}
				next = to + 1
				if breaks[i] {
					return why
				}
			}
			return &stream.ShardEndError{Shard: shard0}
		}}, fanout.Config{})
		r := open(t, s, stream.TrimHorizon)
		defer r.Close()
		got := uint64(0)
		for {
			b := stream.Batch{MaxRecords: rapid.IntRange(0, 7).Draw(rt, "limit")}
			err := r.Next(t.Context(), &b)
			if errors.As(err, new(*stream.ShardEndError)) {
				break
			}
			if err != nil && !errors.Is(err, why) {
				rt.Fatal(err)
			}
			for _, r := range b.Records {
				if got++; r.Sequence != record(got).Sequence {
					rt.Fatalf("record %d is %v", got, r.Sequence)
				}
			}
		}
		if got != last {
			rt.Fatalf("%d records came, want %d", got, last)
		}
	})
}

func TestWhatASubscriptionSaysComesOutOfNext(t *testing.T) {
	corrupt := &stream.CorruptError{Shard: shard0}
	trimmed := &stream.TrimmedError{Shard: shard0, Horizon: stream.MakeSequence(0, 0, 7)}
	end := &stream.ShardEndError{Shard: shard0}
	var asked []stream.Position
	say := []error{corrupt, corrupt, trimmed, stream.ErrStreamNotFound, nil, end}
	s := use(t, pushing{streamtest.NewMemory("orders", 1), func(_ context.Context, from stream.Position, _ func(*stream.Batch) error) error {
		asked = append(asked, from)
		return say[len(asked)-1]
	}}, fanout.Config{})
	r := open(t, s, stream.TrimHorizon)
	var b stream.Batch
	for i, want := range say {
		if err := r.Next(t.Context(), &b); want != nil && !errors.Is(err, want) || err == nil {
			t.Errorf("Next %d returns %v, want %v", i, err, want)
		}
	}
	for range 3 {
		if err := r.Next(t.Context(), &b); !errors.Is(err, end) {
			t.Errorf("after its end the shard gives %v", err)
		}
	}
	// Missing records are passed over; the end is not asked for twice.
	h := stream.At(trimmed.Horizon)
	if want := []stream.Position{stream.TrimHorizon, stream.TrimHorizon, stream.TrimHorizon, h, h, h}; !slices.Equal(asked, want) {
		t.Errorf("subscribed at %v, want %v", asked, want)
	}
}

func TestCloseWaitsForTheSubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := false
		s := use(t, pushing{streamtest.NewMemory("orders", 1), func(ctx context.Context, _ stream.Position, handle func(*stream.Batch) error) error {
			err := handle(batchOf(1, 2))
			time.Sleep(time.Second) // slow to end
			ended = true
			return err
		}}, fanout.Config{})
		r := open(t, s, stream.TrimHorizon)
		b := stream.Batch{MaxRecords: 1}
		if err := r.Next(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if !ended {
			t.Error("Close returns, and the subscription goes on")
		}
		if err := r.Next(t.Context(), &b); !errors.Is(err, stream.ErrClosed) {
			t.Errorf("Next after Close: %v", err)
		}
	})
}

func TestAPartOfABatchIsCopiedWhereTheWholeWouldBeTooMuch(t *testing.T) {
	whole := &stream.Batch{Footprint: 1 << 20, Behind: time.Minute}
	for n := range uint64(4) {
		r := record(n)
		r.Data = make([]byte, 100_000)
		whole.Records = append(whole.Records, r)
		whole.Bytes += r.Size()
	}
	s := use(t, pushing{streamtest.NewMemory("orders", 1), func(_ context.Context, _ stream.Position, handle func(*stream.Batch) error) error {
		return handle(whole)
	}}, fanout.Config{})
	r := open(t, s, stream.TrimHorizon)
	for i, c := range []struct {
		limit, footprint int
		copied           bool
	}{
		{0, 1 << 20, false},
		{2 << 20, 1 << 20, false},
		{1000, 100_001, true},
		{100_001, 100_001, true},
	} {
		b := stream.Batch{MaxRecords: 1, MaxFootprint: c.limit}
		if err := r.Next(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
		if b.Bytes != 100_001 || b.Footprint != c.footprint {
			t.Errorf("part %d: %d bytes keep %d alive, want %d", i, b.Bytes, b.Footprint, c.footprint)
		}
		if copied := &b.Records[0].Data[0] != &whole.Records[i].Data[0]; copied != c.copied {
			t.Errorf("part %d is copied: %v", i, copied)
		}
		if b.Records[0].PartitionKey != "k" || len(b.Records[0].Data) != 100_000 {
			t.Errorf("part %d is %q with %d bytes", i, b.Records[0].PartitionKey, len(b.Records[0].Data))
		}
		if behind := time.Minute + time.Duration(3-i)*time.Millisecond; b.Behind != behind {
			t.Errorf("part %d is %v behind, want %v", i, b.Behind, behind)
		}
	}
}
