package engine

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/stream"
)

// page reads once and does not wait.
func page(t testing.TB, s *Stream, shard string, from stream.Position, b *stream.Batch) Page {
	t.Helper()
	p, err := s.Read(t.Context(), shard, from, b)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAReadThatDoesNotWaitGoesFromPageToPage(t *testing.T) {
	e := openMemory(t, small())
	s := ensure(t, e, "orders", StreamConfig{})
	mustPut(t, s, number(0, 10)...)
	b := stream.Batch{MaxRecords: 4}
	from, got := stream.TrimHorizon, 0
	for _, want := range []int{4, 4, 2, 0, 0} {
		p := page(t, s, shardID(0), from, &b)
		if len(b.Records) != want || (p.More != nil) != (want == 0) || p.End != nil {
			t.Fatalf("%d records, %+v; want %d records, and a wait only without any", len(b.Records), p, want)
		}
		if (b.Behind > 0) != (want == 4) {
			t.Errorf("after %d records more it is %v behind", want, b.Behind)
		}
		for i := range b.Records {
			if string(b.Records[i].Data) != string(number(got, 1)[0].Data) {
				t.Fatalf("record %d is %q", got, b.Records[i].Data)
			}
			got++
		}
		from = p.Next
	}
}

func TestWhatIsDoneAfterAReadIsAPlaceToReadOnFrom(t *testing.T) {
	e := openMemory(t, small())
	s := ensure(t, e, "orders", StreamConfig{})
	mustPut(t, s, number(0, 4)...)
	var b stream.Batch
	for _, from := range []stream.Position{stream.TrimHorizon, stream.Latest, stream.AtTime(time.Now().Add(time.Hour))} {
		p := page(t, s, shardID(0), from, &b)
		if len(mustRead(t, s, shardID(0), stream.After(p.Done))) != 0 {
			t.Errorf("from %v: there is something behind %v that was read or passed over", from, p.Done)
		}
		mustPut(t, s, number(4, 1)...)
		if got := mustRead(t, s, shardID(0), stream.After(p.Done)); len(got) != 1 || string(got[0].Data) != "data-4" {
			t.Errorf("from %v: %d records behind %v, want the one that came then", from, len(got), p.Done)
		}
	}
}

func TestAReadFromLatestThatFindsNothingKeepsItsPlace(t *testing.T) {
	e := openMemory(t, small())
	s := ensure(t, e, "orders", StreamConfig{})
	for _, from := range []stream.Position{stream.Latest, stream.TrimHorizon} {
		var b stream.Batch
		for len(mustRead(t, s, shardID(0), from)) > 0 {
			from = stream.Latest
		}
		p := page(t, s, shardID(0), from, &b)
		mustPut(t, s, number(0, 3)...)
		select {
		case <-p.More:
		default:
			t.Error("there are records, and who waits for them is not told")
		}
		if page(t, s, shardID(0), p.Next, &b); len(b.Records) != 3 {
			t.Errorf("%d records after a read from %v that found none, want 3", len(b.Records), from)
		}
	}
}

func TestTheLastRecordsOfAShardComeWithItsEnd(t *testing.T) {
	e := openMemory(t, small())
	s := ensure(t, e, "orders", StreamConfig{Shards: 2})
	mustPut(t, s, number(0, 10)...)
	if err := s.Merge(t.Context(), shardID(0), shardID(1)); err != nil {
		t.Fatal(err)
	}
	b := stream.Batch{MaxRecords: 2}
	last := stream.TrimHorizon
	for end := false; !end; {
		p := page(t, s, shardID(0), last, &b)
		if end = p.End != nil; end != (b.Behind == 0) || p.More != nil || len(b.Records) == 0 {
			t.Fatalf("%+v with %d records, %v behind", p, len(b.Records), b.Behind)
		}
		if end && (len(p.End.Children) != 1 || len(p.End.Children[0].Parents) != 2) {
			t.Fatalf("the end names %+v, want one child of two parents", p.End.Children)
		}
		last = p.Next
	}
	info, err := s.ShardInfo(t.Context(), shardID(0))
	if err != nil {
		t.Fatal(err)
	}
	for _, from := range []stream.Position{last, stream.Latest, stream.ShardEnd, stream.At(info.Last), stream.After(info.Last)} {
		if p := page(t, s, shardID(0), from, &b); len(b.Records) != 0 || p.End == nil || p.More != nil {
			t.Errorf("from %v: %d records, %+v; want the end", from, len(b.Records), p)
		}
	}
}

func TestAReadThatDoesNotWaitTellsWhatWasTrimmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := openMemory(t, small())
		s := ensure(t, e, "orders", StreamConfig{Retention: time.Hour})
		old := mustPut(t, s, number(0, 5)...)
		time.Sleep(2 * time.Hour)
		mustPut(t, s, number(5, 5)...)
		var b stream.Batch
		_, err := s.Read(t.Context(), shardID(0), stream.After(old[1].Sequence), &b)
		trimmed, ok := errors.AsType[*stream.TrimmedError](err)
		if !ok {
			t.Fatalf("error %v, want a TrimmedError", err)
		}
		if page(t, s, shardID(0), stream.At(trimmed.Horizon), &b); len(b.Records) != 5 {
			t.Errorf("%d records behind the gap, want 5", len(b.Records))
		}
		e.Close()
	})
}

func TestAReadOfWhatWasTrimmedIsCountedWhenItGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := openMemory(t, small())
		s := ensure(t, e, "orders", StreamConfig{Retention: time.Hour, Limits: KinesisLimits})
		old := mustPut(t, s, number(0, 5)...)
		time.Sleep(2 * time.Hour)
		mustPut(t, s, number(5, 5)...)
		var b stream.Batch
		for i := range 7 {
			_, err := s.Read(t.Context(), shardID(0), stream.After(old[1].Sequence), &b)
			if trimmed, ok := errors.AsType[*stream.TrimmedError](err); ok {
				_, err = s.Read(t.Context(), shardID(0), stream.At(trimmed.Horizon), &b)
			}
			if (err != nil) != (i >= 5) || err != nil && !errors.Is(err, stream.ErrThrottled) {
				t.Fatalf("read %d within a second: %v; want five, and then ErrThrottled", i+1, err)
			}
		}
		e.Close()
	})
}

func TestReadsBeyondTheLimitsOfAShardAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := openMemory(t, Config{SegmentBytes: 64 << 20, Logger: quiet})
		s := ensure(t, e, "orders", StreamConfig{Limits: KinesisLimits, MaxRecordBytes: 10 << 20})
		large := mustPut(t, s, entry("k", strings.Repeat("x", 10<<20-1)))[0]
		time.Sleep(20 * time.Second)
		mustPut(t, s, number(0, 10)...)
		var b stream.Batch
		read := func(from stream.Position) error {
			_, err := s.Read(t.Context(), shardID(0), from, &b)
			return err
		}
		for i := range 7 {
			if err := read(stream.After(large.Sequence)); (err != nil) != (i >= 5) || err != nil && !errors.Is(err, stream.ErrThrottled) {
				t.Fatalf("read %d within a second: %v; want five, and then ErrThrottled", i+1, err)
			}
		}
		if _, err := s.ReadDedicated(t.Context(), shardID(0), stream.TrimHorizon, &b); err != nil {
			t.Errorf("a dedicated read: %v", err)
		}
		time.Sleep(time.Second)
		if err := read(stream.TrimHorizon); err != nil || b.Bytes != 10<<20 {
			t.Fatalf("%d bytes, %v; want 10 MiB", b.Bytes, err)
		}
		time.Sleep(4990 * time.Millisecond)
		if err := read(stream.TrimHorizon); !errors.Is(err, stream.ErrThrottled) {
			t.Errorf("less than 5 s after 10 MiB: %v, want ErrThrottled", err)
		}
		time.Sleep(20 * time.Millisecond)
		if err := read(stream.TrimHorizon); err != nil {
			t.Errorf("5 s after 10 MiB: %v", err)
		}
		e.Close()
	})
}

func TestASubscriptionHasAThroughputOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := openMemory(t, Config{SegmentBytes: 64 << 20, Logger: quiet})
		s := ensure(t, e, "orders", StreamConfig{Limits: KinesisLimits, MaxRecordBytes: 10 << 20})
		begin := time.Now()
		for range 4 {
			mustPut(t, s, entry("k", strings.Repeat("x", 1<<20-1)))
			time.Sleep(time.Second)
		}
		begin = time.Now()
		enough := errors.New("enough")
		var took []time.Duration
		for range 2 { // one after the other, of one shard, and each has its own
			n := 0
			err := s.Subscribe(t.Context(), shardID(0), stream.TrimHorizon, stream.Batch{MaxRecords: 1}, func(b *stream.Batch) error {
				if n++; n == 4 {
					return enough
				}
				return nil
			})
			if !errors.Is(err, enough) {
				t.Fatal(err)
			}
			took = append(took, time.Since(begin))
			begin = time.Now()
		}
		for _, d := range took {
			if d < 500*time.Millisecond || d > 2*time.Second {
				t.Errorf("4 MiB took %v, want about a second beyond the first two MiB", took)
			}
		}
		var b stream.Batch
		page(t, s, shardID(0), stream.TrimHorizon, &b) // nothing of the shard's was used
		e.Close()
	})
}
