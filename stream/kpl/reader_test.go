package kpl_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/stream/kpl"
	"github.com/millrace/millrace/stream/streamtest"
)

// unpacked is a stream that is read through kpl.Open.
type unpacked struct{ *streamtest.Memory }

func (u unpacked) Open(ctx context.Context, shardID string, from stream.Position) (stream.Reader, error) {
	return kpl.Open(ctx, u.Memory, stream.Shard{ID: shardID}, from, kpl.Options{})
}

func TestAStreamWithoutAggregatesIsReadAsItIs(t *testing.T) {
	features := streamtest.Features{Reshard: true, HashKeys: true, Retention: true, Recreate: true}
	streamtest.Run(t, features, func(testing.TB) streamtest.Subject {
		m := streamtest.NewMemory("orders", streamtest.Shards)
		return streamtest.Subject{
			Stream: unpacked{m}, Putter: m,
			Expire: func(t testing.TB) {
				if err := m.Expire(t.Context()); err != nil {
					t.Fatal(err)
				}
			},
			Recreate: func(testing.TB) stream.Stream { return unpacked{m.Recreate(streamtest.Shards)} },
		}
	})
}

// written is a stream of one shard, and what users put into it, in order.
type written struct {
	*streamtest.Memory
	shard   stream.Shard
	records []stream.Record
}

func newWritten(t testing.TB) *written {
	m := streamtest.NewMemory("orders", 1)
	shards, err := m.Shards(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return &written{Memory: m, shard: shards[0]}
}

// put puts an aggregate for each number, of so many records, and a plain record for 0.
func (w *written) put(t testing.TB, sizes ...int) {
	for _, n := range sizes {
		var a kpl.Aggregator
		var user []stream.Record
		for i := range max(1, n) {
			e := stream.Entry{PartitionKey: fmt.Sprint("key-", i%3), Data: fmt.Appendf(nil, "%d of %d at %d", i, n, len(w.records))}
			a.Add(e, make([]kpl.Tag, min(n, 1))...) // with a tag, an aggregate of one is one
			user = append(user, stream.Record{PartitionKey: e.PartitionKey, Data: e.Data})
		}
		e, _ := a.Take()
		results, err := w.Put(t.Context(), e)
		if err != nil || results[0].Err != nil {
			t.Fatal(err, results)
		}
		for i := range user {
			user[i].Sequence = results[0].Sequence.WithSub(uint64(i))
		}
		w.records = append(w.records, user...)
	}
}

// rest reads all that is there from a position on, and checks what holds for
// every batch.
func (w *written) rest(t testing.TB, from stream.Position, limits stream.Batch, o kpl.Options) (all []stream.Record) {
	t.Helper()
	r, err := kpl.Open(t.Context(), w.Memory, w.shard, from, o)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	b := limits
	for {
		if err := r.Next(ctx, &b); err != nil {
			if ctx.Err() == nil {
				t.Fatal(err)
			}
			return all
		}
		sum := 0
		for i := range b.Records {
			sum += b.Records[i].Size()
		}
		last := b.Records[len(b.Records)-1].Sequence
		switch newest := w.records[len(w.records)-1].Sequence; {
		case b.Bytes != sum || b.Footprint < sum:
			t.Fatalf("a batch says that it has %d bytes and keeps %d alive; it has %d", b.Bytes, b.Footprint, sum)
		case limits.MaxRecords > 0 && len(b.Records) > limits.MaxRecords:
			t.Fatalf("a batch of %d records, at most %d were asked for", len(b.Records), limits.MaxRecords)
		case limits.MaxBytes > 0 && sum > limits.MaxBytes && len(b.Records) > 1:
			t.Fatalf("a batch of %d bytes, at most %d were asked for", sum, limits.MaxBytes)
		case (b.Behind == 0) != (last == newest):
			t.Fatalf("at %v a batch is %v behind, and the newest record is %v", last, b.Behind, newest)
		}
		all = append(all, b.Records...)
	}
}

func same(a, b stream.Record) bool {
	return a.Sequence == b.Sequence && a.PartitionKey == b.PartitionKey && bytes.Equal(a.Data, b.Data)
}

func TestRecordsOfAggregatesComeOneByOneFromEveryPosition(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		sizes := rapid.SliceOfN(rapid.SampledFrom([]int{0, 0, 1, 2, 3, 40}), 1, 12).Draw(rt, "sizes")
		limits := stream.Batch{
			MaxRecords: rapid.SampledFrom([]int{0, 1, 2, 7, 1000}).Draw(rt, "records"),
			MaxBytes:   rapid.SampledFrom([]int{0, 1, 50, 300, 1 << 20}).Draw(rt, "bytes"),
		}
		pick := rapid.IntRange(0, 1<<20).Draw(rt, "from")
		after := rapid.Bool().Draw(rt, "after")
		synctest.Test(t, func(t *testing.T) {
			w := newWritten(t)
			for _, n := range sizes {
				w.put(t, n)
				time.Sleep(time.Second)
			}
			if got := w.rest(t, stream.TrimHorizon, limits, kpl.Options{}); !slices.EqualFunc(got, w.records, same) {
				t.Fatalf("%d records of %d, or others", len(got), len(w.records))
			}
			i := pick % len(w.records)
			from, want := stream.At(w.records[i].Sequence), w.records[i:]
			if after {
				from, want = stream.After(w.records[i].Sequence), w.records[i+1:]
			}
			if got := w.rest(t, from, limits, kpl.Options{}); !slices.EqualFunc(got, want, same) {
				t.Fatalf("from %v: %d records, want %d", from, len(got), len(want))
			}
		})
	})
}

func TestWhoKeepsAggregatesSkipsNothingOfThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWritten(t)
		w.put(t, 0, 5, 0)
		aggregate := w.records[1].Sequence
		for from, want := range map[stream.Position]int{
			stream.TrimHorizon:                 3,
			stream.At(aggregate):               2,
			stream.At(aggregate.WithSub(2)):    2,
			stream.After(aggregate.WithSub(2)): 2, // three of its records are not done
			stream.After(aggregate):            1,
		} {
			r, err := kpl.Open(t.Context(), w.Memory, w.shard, from, kpl.Options{Policy: kpl.Keep})
			if err != nil {
				t.Fatal(err)
			}
			var b stream.Batch
			if err := r.Next(t.Context(), &b); err != nil || len(b.Records) != want {
				t.Errorf("from %v: %d records, %v; want %d", from, len(b.Records), err, want)
			}
			r.Close()
		}
	})
}

func TestARecordThatOnlyLooksLikeAnAggregateIsGivenAsItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWritten(t)
		broken := append([]byte("\xf3\x89\x9a\xc2"), make([]byte, 40)...)
		w.put(t, 3)
		time.Sleep(time.Second)
		results, err := w.Put(t.Context(), stream.Entry{PartitionKey: "k", Data: broken})
		if err != nil {
			t.Fatal(err)
		}
		odd := stream.Record{Sequence: results[0].Sequence, PartitionKey: "k", Data: broken}
		w.records = append(w.records, odd)
		time.Sleep(time.Second)
		w.put(t, 3)
		if got := w.rest(t, stream.TrimHorizon, stream.Batch{MaxRecords: 2}, kpl.Options{}); !slices.EqualFunc(got, w.records, same) {
			t.Errorf("%v", got)
		}
		if got := w.rest(t, stream.After(odd.Sequence), stream.Batch{}, kpl.Options{}); !slices.EqualFunc(got, w.records[4:], same) {
			t.Errorf("after it: %v", got)
		}
	})
}

// A checkpoint stands on the last record that is done. That this one is read
// again must not look like a loss when it alone has left retention.
func TestThatTheRecordOfTheCheckpointIsGoneIsNoGap(t *testing.T) {
	for _, n := range []int{0, 3} {
		synctest.Test(t, func(t *testing.T) {
			w := newWritten(t)
			w.put(t, n)
			done := stream.After(w.records[len(w.records)-1].Sequence)
			w.put(t, 0)
			between := w.records[len(w.records)-1].Sequence
			w.put(t, 2)
			trim := func(before stream.Sequence) {
				if err := w.Trim(t.Context(), w.shard.ID, before); err != nil {
					t.Fatal(err)
				}
			}
			trim(between)
			want := w.records[max(1, n):]
			if got := w.rest(t, done, stream.Batch{}, kpl.Options{}); !slices.EqualFunc(got, want, same) {
				t.Fatalf("%v, want %v", got, want)
			}

			trim(between.Add(1))
			r, err := kpl.Open(t.Context(), w.Memory, w.shard, done, kpl.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			var b stream.Batch
			var gap *stream.TrimmedError
			if err := r.Next(t.Context(), &b); !errors.As(err, &gap) || gap.From != done {
				t.Fatalf("a record is missing, and Next says %v", err)
			}
			if err := r.Next(t.Context(), &b); err != nil || !slices.EqualFunc(b.Records, want[1:], same) {
				t.Fatalf("behind the gap: %v, %v", b.Records, err)
			}
		})
	}
}

// strangers puts an aggregate whose records fall into both halves of the hash
// space, and returns the upper half, to which it goes.
func strangers(t *testing.T) (m *streamtest.Memory, upper stream.Shard, belong []bool) {
	m = streamtest.NewMemory("orders", 2)
	shards, err := m.Shards(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	upper = shards[1]
	var a kpl.Aggregator
	for i := range 20 {
		e := stream.Entry{PartitionKey: fmt.Sprint("key-", i), Data: []byte{byte(i)}}
		if i%5 == 4 {
			e.HasHashKey, e.HashKey = true, upper.Hash.End
		}
		if i == 0 && !upper.Hash.Contains(e.Hash()) {
			e.HasHashKey, e.HashKey = true, upper.Hash.Start
		}
		a.Add(e)
		belong = append(belong, upper.Hash.Contains(e.Hash()))
	}
	e, _ := a.Take()
	if _, err := m.Put(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Put(t.Context(), stream.Entry{PartitionKey: "last", HashKey: upper.Hash.End, HasHashKey: true}); err != nil {
		t.Fatal(err)
	}
	return m, upper, belong
}

func TestRecordsThatBelongToOtherShardsFollowThePolicy(t *testing.T) {
	for _, policy := range []kpl.Policy{kpl.Deliver, kpl.Drop, kpl.Fail} {
		t.Run(policy.String(), func(t *testing.T) {
			m, shard, belong := strangers(t)
			var unpacked, outOfRange int
			r, err := kpl.Open(t.Context(), m, shard, stream.TrimHorizon, kpl.Options{Policy: policy, Count: func(u, o int) {
				unpacked, outOfRange = unpacked+u, outOfRange+o
			}})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			var got []uint64
			b := stream.Batch{MaxRecords: 3}
			for {
				if err = r.Next(t.Context(), &b); err != nil || b.Records[0].PartitionKey == "last" {
					break
				}
				for _, r := range b.Records {
					if r.PartitionKey != "last" {
						got = append(got, r.Sequence.Sub())
					}
				}
				if b.Records[len(b.Records)-1].PartitionKey == "last" {
					break
				}
			}
			var want []uint64
			wantStrangers, wantUnpacked := 0, 0
			for i, belongs := range belong {
				if !belongs && policy == kpl.Fail {
					break
				}
				if wantUnpacked++; !belongs {
					wantStrangers++
				}
				if belongs || policy == kpl.Deliver {
					want = append(want, uint64(i))
				}
			}
			if !slices.Equal(got, want) || len(want) == 0 || unpacked != wantUnpacked || outOfRange != wantStrangers {
				t.Errorf("the records %v came, want %v; %d were counted and %d of other shards, want %d and %d", got, want, unpacked, outOfRange, wantUnpacked, wantStrangers)
			}
			var stranger *kpl.OutOfRangeError
			if policy != kpl.Fail {
				if err != nil {
					t.Error(err)
				}
				return
			}
			for range 2 {
				if !errors.As(err, &stranger) || stranger.Sequence.Sub() != uint64(len(want)) || stranger.Range != shard.Hash {
					t.Errorf("after %d records: %v", len(got), err)
				}
				err = r.Next(t.Context(), &b)
			}
		})
	}
}

func TestAShardWhoseRangeIsUnknownHasNoStrangers(t *testing.T) {
	m, shard, belong := strangers(t)
	shard.Hash = stream.HashRange{}
	r, err := kpl.Open(t.Context(), m, shard, stream.TrimHorizon, kpl.Options{Policy: kpl.Drop})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var b stream.Batch
	if err := r.Next(t.Context(), &b); err != nil || len(b.Records) != len(belong)+1 {
		t.Errorf("%d records, %v", len(b.Records), err)
	}
}

func TestAReaderInTheMiddleOfAnAggregateCanBeClosedAndCancelled(t *testing.T) {
	w := newWritten(t)
	w.put(t, 10)
	r, err := kpl.Open(t.Context(), w.Memory, w.shard, stream.TrimHorizon, kpl.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b := stream.Batch{MaxRecords: 2}
	ctx, cancel := context.WithCancelCause(t.Context())
	if err := r.Next(ctx, &b); err != nil {
		t.Fatal(err)
	}
	why := errors.New("enough")
	cancel(why)
	if err := r.Next(ctx, &b); !errors.Is(err, why) {
		t.Errorf("with a context that is done, Next says %v", err)
	}
	if err := r.Next(t.Context(), &b); err != nil || b.Records[0].Sequence.Sub() != 2 {
		t.Errorf("then %v, %v", b.Records, err)
	}
	r.Close()
	r.Close()
	if err := r.Next(t.Context(), &b); !errors.Is(err, stream.ErrClosed) {
		t.Errorf("closed, Next says %v", err)
	}
}

func TestReadingAllocatesNothingForPlainRecords(t *testing.T) {
	w := newWritten(t)
	w.put(t, make([]int, 600)...)
	r, err := kpl.Open(t.Context(), w.Memory, w.shard, stream.TrimHorizon, kpl.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b := stream.Batch{MaxRecords: 2}
	if n := testing.AllocsPerRun(200, func() {
		if err := r.Next(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("a read costs %v allocations", n)
	}
}

// again is a reader that gives the same records at every read.
type again struct {
	stream.Reader
	records []stream.Record
}

func (a again) Next(_ context.Context, b *stream.Batch) error {
	b.Reset()
	b.Records = append(b.Records, a.records...)
	for i := range a.records {
		b.Bytes += a.records[i].Size()
	}
	return nil
}

func (a again) Close() error { return nil }

// looped is a stream of such readers.
type looped struct {
	stream.Stream
	reader again
}

func (l looped) Open(context.Context, string, stream.Position) (stream.Reader, error) {
	return l.reader, nil
}

// BenchmarkReader is what a record of 100 bytes costs inside of an aggregate of
// 50 KiB, and outside of any.
func BenchmarkReader(b *testing.B) {
	half := stream.SplitHashSpace(2)[0]
	var a kpl.Aggregator
	var plain []stream.Record
	for i := 0; ; i++ {
		e := stream.Entry{PartitionKey: fmt.Sprint("user-", i), Data: make([]byte, 100)}
		if !a.Add(e) {
			break
		}
		plain = append(plain, stream.Record{PartitionKey: e.PartitionKey, Data: e.Data})
	}
	e, _ := a.Take()
	for name, c := range map[string]struct {
		records []stream.Record
		hash    stream.HashRange
	}{
		"plain":                     {plain, half},
		"packed, one shard":         {[]stream.Record{{Data: e.Data}}, stream.FullRange},
		"packed, of several shards": {[]stream.Record{{Data: e.Data}}, half},
	} {
		b.Run(name, func(b *testing.B) {
			r, err := kpl.Open(b.Context(), looped{reader: again{records: c.records}}, stream.Shard{Hash: c.hash}, stream.TrimHorizon, kpl.Options{})
			if err != nil {
				b.Fatal(err)
			}
			batch := stream.Batch{}
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				if err := r.Next(b.Context(), &batch); err != nil {
					b.Fatal(err)
				}
				n += len(batch.Records)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/record")
		})
	}
}
