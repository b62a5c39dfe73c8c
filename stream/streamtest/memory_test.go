package streamtest_test

import (
	"bytes"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/stream/streamtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// everything is what Memory can do.
var everything = streamtest.Features{Reshard: true, Subscribe: true, HashKeys: true, Retention: true, Recreate: true}

func memorySubject(testing.TB) streamtest.Subject {
	return subjectOf(streamtest.NewMemory("orders", streamtest.Shards), nil)
}

// subjectOf makes a subject of a memory stream, seen through wrap if there is one.
func subjectOf(m *streamtest.Memory, wrap func(*streamtest.Memory) stream.Stream) streamtest.Subject {
	if wrap == nil {
		wrap = func(m *streamtest.Memory) stream.Stream { return m }
	}
	return streamtest.Subject{
		Stream: wrap(m),
		Refused: []stream.Entry{
			{PartitionKey: "", Data: []byte("no key")},
			{PartitionKey: string(bytes.Repeat([]byte("k"), streamtest.MaxPartitionKey+1))},
			{PartitionKey: "large", Data: make([]byte, streamtest.MaxData+1)},
		},
		Expire: func(t testing.TB) {
			if err := m.Expire(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
		Recreate: func(testing.TB) stream.Stream { return wrap(m.Recreate(streamtest.Shards)) },
	}
}

func TestAMemoryStreamKeepsTheContract(t *testing.T) {
	streamtest.Run(t, everything, memorySubject)
}

func TestAMemoryStreamKeepsTheContractInVirtualTime(t *testing.T) {
	for _, scenario := range streamtest.Scenarios(everything) {
		t.Run(scenario.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { scenario.Run(t, memorySubject(t)) })
		})
	}
}

func TestAStreamIsAskedOnlyForWhatItCan(t *testing.T) {
	all, few := streamtest.Scenarios(everything), streamtest.Scenarios(streamtest.Features{})
	if len(few) >= len(all) || len(few) == 0 {
		t.Errorf("%d scenarios without features, %d with all of them", len(few), len(all))
	}
	// A stream with no seam but the first two passes what needs no others.
	type plain struct {
		stream.Stream
		stream.Putter
	}
	streamtest.Run(t, streamtest.Features{}, func(testing.TB) streamtest.Subject {
		m := streamtest.NewMemory("orders", streamtest.Shards)
		return streamtest.Subject{Stream: plain{m, m}}
	})
}

func TestAMemoryStreamWaitsInVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := streamtest.NewMemory("orders", 1)
		r, err := m.Open(t.Context(), "shardId-000000000000", stream.TrimHorizon)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		time.AfterFunc(time.Hour, func() {
			m.Put(t.Context(), stream.Entry{PartitionKey: "k", Data: []byte("late")})
		})
		var b stream.Batch
		if err := r.Next(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(start); waited != time.Hour {
			t.Errorf("Next waited %v, want an hour of virtual time", waited)
		}
		if !b.Records[0].Arrival.Equal(start.Add(time.Hour)) {
			t.Errorf("the record arrived at %v", b.Records[0].Arrival)
		}
	})
}

func TestAMemoryStreamForgetsClosedShardsOnly(t *testing.T) {
	ctx, m := t.Context(), streamtest.NewMemory("orders", 1)
	const parent = "shardId-000000000000"
	r, err := m.Open(ctx, parent, stream.TrimHorizon)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Forget(ctx, parent); err == nil {
		t.Error("an open shard was forgotten")
	}
	if err := m.UpdateShardCount(ctx, 2); err != nil {
		t.Fatal(err)
	}
	if err := m.Forget(ctx, parent); err != nil {
		t.Error(err)
	}
	if shards, err := m.Shards(ctx); err != nil || len(shards) != 2 {
		t.Errorf("left are %v, %v", shards, err)
	}
	if err := r.Next(ctx, &stream.Batch{}); !errors.Is(err, stream.ErrShardNotFound) {
		t.Errorf("a reader of the forgotten shard gets %v", err)
	}
}
