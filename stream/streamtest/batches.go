package streamtest

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/millrace/millrace/stream"
)

// BatchesStayWithinMaxRecords reads with several limits on records.
func BatchesStayWithinMaxRecords(t testing.TB, s Subject) {
	shard := openShards(t, s)[0]
	sequences := fill(t, s, shard, 25, "counted")
	for _, limit := range []int{1, 2, 7, 25, 1000} {
		r := open(t, s, shard.ID, stream.TrimHorizon)
		b := stream.Batch{MaxRecords: limit}
		var records []stream.Record
		for len(records) < len(sequences) {
			next(t, r, &b)
			if len(b.Records) > limit {
				t.Fatalf("a batch has %d records, want at most %d", len(b.Records), limit)
			}
			if b.MaxRecords != limit {
				t.Fatalf("a read changes MaxRecords from %d to %d", limit, b.MaxRecords)
			}
			records = append(records, b.Records...)
		}
		want(t, records, sequences, "counted", 0)
	}
}

// BatchesStayWithinMaxBytes reads with several limits on bytes, keys counted.
func BatchesStayWithinMaxBytes(t testing.TB, s Subject) {
	shard := openShards(t, s)[0]
	key := keyFor(t, shard)
	var total int
	for i := range 40 {
		e := stream.Entry{PartitionKey: key, Data: bytes.Repeat([]byte{byte(i)}, 100+i)}
		total += e.Size()
		put(t, s, e)
	}
	for _, limit := range []int{200, 500, 999, total, 1 << 20} {
		r := open(t, s, shard.ID, stream.TrimHorizon)
		b := stream.Batch{MaxBytes: limit}
		for got := 0; got < total; got += b.Bytes {
			next(t, r, &b)
			if b.Bytes > limit {
				t.Fatalf("a batch has %d bytes in %d records, want at most %d", b.Bytes, len(b.Records), limit)
			}
		}
	}
}

// ABatchKeepsNoMoreAliveThanItMay reads with several limits on the footprint.
func ABatchKeepsNoMoreAliveThanItMay(t testing.TB, s Subject) {
	const slack = 64 << 10 // what "not much larger" is
	shards := openShards(t, s)
	const n = 200
	for i := range n {
		for _, shard := range shards {
			put(t, s, stream.Entry{PartitionKey: keyFor(t, shard), Data: bytes.Repeat([]byte{byte(i)}, 2000)})
		}
	}
	for _, limit := range []int{1, 100 << 10, 1 << 20, 8 << 20} {
		r := open(t, s, shards[0].ID, stream.TrimHorizon)
		b := stream.Batch{MaxFootprint: limit}
		for got := 0; got < n; got += len(b.Records) {
			next(t, r, &b)
			if most := max(limit, 2*b.Bytes) + slack; b.Footprint > most {
				t.Fatalf("%d records of %d bytes keep %d bytes alive, MaxFootprint is %d", len(b.Records), b.Bytes, b.Footprint, limit)
			}
		}
	}
}

// AnOversizedRecordComesAlone reads records larger than MaxBytes.
func AnOversizedRecordComesAlone(t testing.TB, s Subject) {
	shard := openShards(t, s)[0]
	key := keyFor(t, shard)
	for _, size := range []int{10, 5000, 10, 5000, 5000, 10} {
		put(t, s, stream.Entry{PartitionKey: key, Data: make([]byte, size)})
	}
	r := open(t, s, shard.ID, stream.TrimHorizon)
	b := stream.Batch{MaxBytes: 1000}
	for got := 0; got < 6; got += len(b.Records) {
		next(t, r, &b)
		for _, r := range b.Records {
			if r.Size() > b.MaxBytes && len(b.Records) > 1 {
				t.Fatalf("a record of %d bytes comes with %d others, MaxBytes is %d", r.Size(), len(b.Records)-1, b.MaxBytes)
			}
		}
	}
}

// ABatchUsesItsMemoryAgain reads several times into one batch.
func ABatchUsesItsMemoryAgain(t testing.TB, s Subject) {
	shard := openShards(t, s)[0]
	fill(t, s, shard, 40, "small")
	r := open(t, s, shard.ID, stream.TrimHorizon)
	b := stream.Batch{MaxRecords: 4, Records: make([]stream.Record, 3, 16)}
	memory := &b.Records[:1][0]
	for got := 0; got < 40; got += len(b.Records) {
		next(t, r, &b)
		if &b.Records[0] != memory {
			t.Fatal("a read does not use the memory of the batch, which is large enough")
		}
	}
}

// RecordsStayAsTheyWereRead keeps records while others are read and put.
func RecordsStayAsTheyWereRead(t testing.TB, s Subject) {
	shard := openShards(t, s)[0]
	key := keyFor(t, shard)
	payload := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, 300) }
	for i := range 50 {
		put(t, s, stream.Entry{PartitionKey: key, Data: payload(i)})
	}
	r := open(t, s, shard.ID, stream.TrimHorizon)
	b := stream.Batch{MaxRecords: 10}
	var kept []stream.Record
	for i := 50; len(kept) < 50; i++ {
		next(t, r, &b)
		kept = append(kept, b.Records...)
		put(t, s, stream.Entry{PartitionKey: key, Data: payload(i)})
	}
	if err := r.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	for i := range 50 {
		if kept[i].PartitionKey != key || !bytes.Equal(kept[i].Data, payload(i)) {
			t.Fatalf("record %d has become %q: %.40q", i, kept[i].PartitionKey, kept[i].Data)
		}
	}
}

// PutKeepsNothingOfItsEntries overwrites the caller's buffer after Put.
func PutKeepsNothingOfItsEntries(t testing.TB, s Subject) {
	shard := openShards(t, s)[0]
	buffer := []byte("record ?")
	entries := make([]stream.Entry, 1)
	for i := range 10 {
		buffer[7] = byte('0' + i)
		entries[0] = stream.Entry{PartitionKey: keyFor(t, shard), Data: buffer}
		put(t, s, entries...)
	}
	copy(buffer, "overwritten")
	entries[0] = stream.Entry{}
	for i, r := range read(t, open(t, s, shard.ID, stream.TrimHorizon), 10) {
		if wanted := fmt.Sprintf("record %d", i); string(r.Data) != wanted {
			t.Fatalf("record %d is %q, want %q", i, r.Data, wanted)
		}
	}
}

// ABatchTellsHowFarItIsBehind reads an old record and the newest one.
func ABatchTellsHowFarItIsBehind(t testing.TB, s Subject) {
	shard := openShards(t, s)[0]
	fill(t, s, shard, 1, "old")
	anotherMillisecond()
	fill(t, s, shard, 1, "new")
	r := open(t, s, shard.ID, stream.TrimHorizon)
	b := stream.Batch{MaxRecords: 1}
	next(t, r, &b)
	if b.Behind <= 0 {
		t.Errorf("the older record is %v behind the newer one", b.Behind)
	}
	next(t, r, &b)
	if b.Behind != 0 {
		t.Errorf("the newest record is %v behind", b.Behind)
	}
}
