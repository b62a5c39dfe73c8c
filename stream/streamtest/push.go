package streamtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/millrace/millrace/stream"
)

// errEnough ends a subscription that has got what it wanted.
var errEnough = errors.New("enough")

// collect returns a handle that gathers records and returns errEnough when it
// has n.
func collect(t testing.TB, n int, into *[]stream.Record) func(*stream.Batch) error {
	return func(b *stream.Batch) error {
		if len(b.Records) == 0 {
			t.Error("a batch is empty")
		}
		*into = append(*into, b.Records...)
		if len(*into) >= n {
			return errEnough
		}
		return nil
	}
}

// ASubscriberGetsWhatAReaderGets subscribes at several positions, with and
// without limits.
func ASubscriberGetsWhatAReaderGets(t testing.TB, s Subject) {
	shard := openShards(t, s)[0]
	sequences := fill(t, s, shard, 60, "pushed")
	for _, from := range []stream.Position{stream.TrimHorizon, stream.At(sequences[10]), stream.After(sequences[20])} {
		n := len(sequences)
		if seq, after, ok := from.Sequence(); ok && after {
			n -= 21
		} else if ok && seq == sequences[10] {
			n -= 10
		}
		wanted := read(t, open(t, s, shard.ID, from), n)
		for _, limits := range []stream.Batch{{}, {MaxRecords: 7}, {MaxBytes: 100}} {
			var got []stream.Record
			gather := collect(t, n, &got)
			err := seam[stream.Subscriber](t, s).Subscribe(patient(t), shard.ID, from, limits, func(b *stream.Batch) error {
				if limits.MaxRecords > 0 && len(b.Records) > limits.MaxRecords || limits.MaxBytes > 0 && b.Bytes > limits.MaxBytes && len(b.Records) > 1 {
					t.Errorf("a batch has %d records and %d bytes, want at most %d and %d", len(b.Records), b.Bytes, limits.MaxRecords, limits.MaxBytes)
				}
				return gather(b)
			})
			if !errors.Is(err, errEnough) {
				t.Fatalf("subscribe at %v: %v", from, err)
			}
			if len(got) != n {
				t.Fatalf("%d records were pushed, want %d", len(got), n)
			}
			for i := range got {
				if !equal(got[i], wanted[i]) {
					t.Fatalf("record %d from %v is %+v, a reader gets %+v", i, from, got[i], wanted[i])
				}
			}
		}
	}
}

// ASubscriberGetsWhatIsPutLater subscribes to an empty shard.
func ASubscriberGetsWhatIsPutLater(t testing.TB, s Subject) {
	shard := openShards(t, s)[0]
	ctx, push := patient(t), seam[stream.Subscriber](t, s)
	var got []stream.Record
	pushed := make(chan struct{}, 100)
	gather := collect(t, 10, &got)
	ended := background(t, func() error {
		return push.Subscribe(ctx, shard.ID, stream.TrimHorizon, stream.Batch{}, func(b *stream.Batch) error {
			pushed <- struct{}{}
			return gather(b)
		})
	})
	quiet(t, pushed, "something is pushed from an empty shard")
	sequences := fill(t, s, shard, 5, "later")
	within(t, pushed, "a record to be pushed")
	key := keyFor(t, shard)
	for i := range 5 {
		sequences = append(sequences, put(t, s, stream.Entry{PartitionKey: key, Data: fmt.Appendf(nil, "later %d", 5+i)})[0].Sequence)
	}
	if err := within(t, ended, "ten records to be pushed"); !errors.Is(err, errEnough) {
		t.Fatalf("subscribe: %v", err)
	}
	want(t, got, sequences, "later", 0)
}

// ASubscriptionStaysWithinItsLimits subscribes with each of the limits.
func ASubscriptionStaysWithinItsLimits(t testing.TB, s Subject) {
	const n, slack = 200, 64 << 10
	shards := openShards(t, s)
	for i := range n {
		var entries []stream.Entry
		for _, shard := range shards {
			entries = append(entries, stream.Entry{PartitionKey: keyFor(t, shard), Data: bytes.Repeat([]byte{byte(i)}, 2000)})
		}
		put(t, s, entries...)
	}
	for _, limits := range []stream.Batch{{MaxRecords: 7}, {MaxBytes: 10_000}, {MaxFootprint: 1}, {MaxFootprint: 100 << 10}} {
		got := 0
		err := seam[stream.Subscriber](t, s).Subscribe(patient(t), shards[0].ID, stream.TrimHorizon, limits, func(b *stream.Batch) error {
			if limits.MaxRecords > 0 && len(b.Records) > limits.MaxRecords || limits.MaxBytes > 0 && b.Bytes > limits.MaxBytes ||
				limits.MaxFootprint > 0 && b.Footprint > max(limits.MaxFootprint, 2*b.Bytes)+slack {
				t.Errorf("%d records of %d bytes that keep %d alive, with the limits %+v", len(b.Records), b.Bytes, b.Footprint, limits)
			}
			if got += len(b.Records); got >= n {
				return errEnough
			}
			return nil
		})
		if !errors.Is(err, errEnough) {
			t.Fatalf("subscribe: %v", err)
		}
	}
}

// ASlowSubscriberHindersNobody lets one handle hang while another subscriber, a
// reader and a producer go on; then the slow one gets everything, too.
func ASlowSubscriberHindersNobody(t testing.TB, s Subject) {
	const n = 500
	shard := openShards(t, s)[0]
	ctx, push := patient(t), seam[stream.Subscriber](t, s)
	limits := stream.Batch{MaxBytes: 200}

	var slow, fast []stream.Record
	hanging, release := make(chan struct{}, n), make(chan struct{})
	gather := collect(t, n, &slow)
	slowEnded := background(t, func() error {
		return push.Subscribe(ctx, shard.ID, stream.TrimHorizon, limits, func(b *stream.Batch) error {
			hanging <- struct{}{}
			select {
			case <-release:
				return gather(b)
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
	})
	sequences := fill(t, s, shard, 1, "pushed")
	within(t, hanging, "the slow subscriber to hang")
	fastEnded := background(t, func() error {
		return push.Subscribe(ctx, shard.ID, stream.TrimHorizon, limits, collect(t, n, &fast))
	})
	key := keyFor(t, shard)
	for i := 1; i < n; i++ {
		sequences = append(sequences, put(t, s, stream.Entry{PartitionKey: key, Data: fmt.Appendf(nil, "pushed %d", i)})[0].Sequence)
	}
	if err := within(t, fastEnded, "the fast subscriber, beside a slow one"); !errors.Is(err, errEnough) {
		t.Fatalf("the fast subscriber: %v", err)
	}
	want(t, fast, sequences, "pushed", 0)
	want(t, read(t, open(t, s, shard.ID, stream.TrimHorizon), n), sequences, "pushed", 0)

	close(release)
	if err := within(t, slowEnded, "the slow subscriber"); !errors.Is(err, errEnough) {
		t.Fatalf("the slow subscriber: %v", err)
	}
	want(t, slow, sequences, "pushed", 0)
}

// TheErrorOfAHandleEndsItsSubscription returns an error from the first call.
func TheErrorOfAHandleEndsItsSubscription(t testing.TB, s Subject) {
	shard := openShards(t, s)[0]
	fill(t, s, shard, 10, "pushed")
	calls := 0
	err := seam[stream.Subscriber](t, s).Subscribe(patient(t), shard.ID, stream.TrimHorizon, stream.Batch{MaxRecords: 2}, func(*stream.Batch) error {
		calls++
		return errEnough
	})
	if err != errEnough {
		t.Errorf("subscribe returns %v, want the error of the handle as it is", err)
	}
	if calls != 1 {
		t.Errorf("handle was called %d times, want once", calls)
	}
}

// ASubscriptionEndsWithTheCauseOfItsContext cancels a subscription that waits.
func ASubscriptionEndsWithTheCauseOfItsContext(t testing.TB, s Subject) {
	shard := openShards(t, s)[0]
	push := seam[stream.Subscriber](t, s)
	why := errors.New("the test wants it")
	ctx, cancel := context.WithCancelCause(patient(t))
	ended := background(t, func() error {
		return push.Subscribe(ctx, shard.ID, stream.TrimHorizon, stream.Batch{}, func(*stream.Batch) error { return nil })
	})
	quiet(t, ended, "a subscription does not wait")
	cancel(why)
	if err := within(t, ended, "a cancelled subscription"); !errors.Is(err, why) {
		t.Errorf("subscribe returns %v, want the cause", err)
	}
}

// ASubscriptionEndsWithItsShard splits a shard that somebody subscribes to.
func ASubscriptionEndsWithItsShard(t testing.TB, s Subject) {
	shard := openShards(t, s)[0]
	ctx, push := patient(t), seam[stream.Subscriber](t, s)
	var got []stream.Record
	ended := background(t, func() error {
		return push.Subscribe(ctx, shard.ID, stream.TrimHorizon, stream.Batch{}, collect(t, 1000, &got))
	})
	sequences := fill(t, s, shard, 20, "pushed")
	children := split(t, s, shard)
	end, ok := errors.AsType[*stream.ShardEndError](within(t, ended, "the end of the shard"))
	if !ok {
		t.Fatal("the subscription does not return the end of the shard")
	}
	wantChildren(t, end, shard.ID, children...)
	want(t, got, sequences, "pushed", 0)
}
