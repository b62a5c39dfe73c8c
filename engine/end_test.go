package engine

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/engine/internal/vfs"
	"github.com/millrace/millrace/stream"
)

// endsAfter reads what is there from a position, which must be so many records
// and then the end of the shard.
func endsAfter(t testing.TB, s *Stream, shard string, from stream.Position, records int) {
	t.Helper()
	got, err := readNow(s, shard, from)
	var end *stream.ShardEndError
	if len(got) != records || !errors.As(err, &end) {
		t.Errorf("from %v: %d records, then %v; want %d records and the end of the shard", from, len(got), err, records)
	}
}

// A worker that never hears of the end of a parent never begins its children.
func TestAClosedShardEndsWhereverAReaderBegins(t *testing.T) {
	for _, records := range []int{0, 1, 5} {
		synctest.Test(t, func(t *testing.T) {
			fs := vfs.NewCrash()
			e := onCrash(t, fs)
			s := ensure(t, e, "orders", StreamConfig{})
			var results []stream.PutResult
			for i := range records {
				results = append(results, mustPut(t, s, number(i, 1)...)...)
				time.Sleep(time.Second)
			}
			pin, err := s.Pin(t.Context(), shardID(0))
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Split(t.Context(), shardID(0), stream.FullRange.Middle()); err != nil {
				t.Fatal(err)
			}
			for _, when := range []string{"at once", "after another opening"} {
				t.Log(when)
				endsAfter(t, s, shardID(0), stream.TrimHorizon, records)
				endsAfter(t, s, shardID(0), stream.Latest, 0)
				endsAfter(t, s, shardID(0), stream.ShardEnd, 0)
				endsAfter(t, s, shardID(0), pin, 0)
				endsAfter(t, s, shardID(0), stream.AtTime(time.Unix(0, 0)), records)
				endsAfter(t, s, shardID(0), stream.AtTime(time.Now()), 0)
				endsAfter(t, s, shardID(0), stream.AtTime(time.Now().Add(time.Hour)), 0)
				for i, r := range results {
					endsAfter(t, s, shardID(0), stream.At(r.Sequence), records-i)
					endsAfter(t, s, shardID(0), stream.After(r.Sequence), records-i-1)
				}
				e.Close()
				e = onCrash(t, fs)
				s = ensure(t, e, "orders", StreamConfig{})
			}
			e.Close()
		})
	}
}

// Accepted losses at the end of a shard hide neither its end nor that a reader
// is there.
func TestAReaderArrivesBehindAnAcceptedLossAtTheEnd(t *testing.T) {
	disk := vfs.NewCrash()
	e := onCrash(t, disk)
	s := ensure(t, e, "orders", StreamConfig{Shards: 2})
	open := s.topology.Load().open
	at := func(shard int, data string) stream.Entry {
		return stream.Entry{PartitionKey: "k", Data: []byte(data), HashKey: open[shard].hash.Start, HasHashKey: true}
	}
	var last [2]int64 // where the last block of each shard lies
	for i := range 3 {
		for shard := range last {
			last[shard] = int64(e.log.Durable()) & 0xffffffff
			mustPut(t, s, at(shard, string(rune('a'+i))))
		}
	}
	if err := s.Split(t.Context(), shardID(0), open[0].hash.Middle()); err != nil {
		t.Fatal(err)
	}
	e.Close()
	for _, off := range last {
		disk.Flip(firstLog, off+70, 1)
	}
	for range 2 {
		e = onCrash(t, disk)
		s = ensure(t, e, "orders", StreamConfig{})
		for _, shard := range []string{shardID(0), shardID(1)} {
			if _, err := s.AcceptLoss(t.Context(), shard); err != nil {
				t.Fatal(err)
			}
		}
		endsAfter(t, s, shardID(0), stream.TrimHorizon, 2)
		r, err := s.Open(t.Context(), shardID(1), stream.TrimHorizon)
		if err != nil {
			t.Fatal(err)
		}
		var b stream.Batch
		next(t, r, &b)
		if len(b.Records) != 2 || b.Behind != 0 {
			t.Errorf("%d records, %v behind; want 2 and nothing to follow", len(b.Records), b.Behind)
		}
		r.Close()
		e.Close()
	}
}

// Losses that were accepted one by one stay accepted when they are found as one.
func TestNeighbouringLossesStayAccepted(t *testing.T) {
	fs := vfs.NewCrash()
	cfg := small()
	cfg.fs, cfg.CacheBytes, cfg.SegmentBytes = fs, 1, 1<<20
	e, err := Open("", cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := ensure(t, e, "orders", StreamConfig{})
	var at []int64
	for i := range 4 {
		at = append(at, int64(e.log.Durable())&0xffffffff)
		mustPut(t, s, stream.Entry{PartitionKey: "k", Data: make([]byte, 60_000+i)})
	}
	for range 20 { // so that none of those is in memory
		mustPut(t, s, stream.Entry{PartitionKey: "k", Data: make([]byte, 60_000)})
	}
	for _, off := range at[1:3] {
		fs.Flip(firstLog, off+8, 1) // in the header
		var corrupt *stream.CorruptError
		if _, err := readNow(s, shardID(0), stream.TrimHorizon); !errors.As(err, &corrupt) || corrupt.Offset != off {
			t.Fatalf("read: %v, want damage at %d", err, off)
		}
		if _, err := s.AcceptLoss(t.Context(), shardID(0)); err != nil {
			t.Fatal(err)
		}
	}
	e.Close()
	e, err = Open("", cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	s = ensure(t, e, "orders", StreamConfig{})
	if l := s.Losses(); len(l) > 0 {
		t.Errorf("told again: %+v", l)
	}
	if got, err := readNow(s, shardID(0), stream.TrimHorizon); len(got) != 22 || err != nil {
		t.Errorf("%d records, %v; want 22", len(got), err)
	}
}
