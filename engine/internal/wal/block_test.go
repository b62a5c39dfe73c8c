package wal

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"

	"pgregory.net/rapid"

	"github.com/millrace/millrace/stream"
)

func TestARecordComesBackAsItWasWritten(t *testing.T) {
	for _, e := range []stream.Entry{
		{PartitionKey: "k"},
		{PartitionKey: "key", Data: []byte("data")},
		{PartitionKey: "key", Data: []byte("data"), HashKey: stream.Hash{Hi: 1, Lo: 2}, HasHashKey: true},
		{PartitionKey: "key", Data: make([]byte, 100_000), HashKey: stream.MaxHash, HasHashKey: true},
	} {
		b := make([]byte, recordSize(&e))
		encodeRecord(b, &e, 77)
		r, err := decodeRecord(b)
		if err != nil {
			t.Fatal(err)
		}
		hash, key, data := r.split(b)
		if key != e.PartitionKey || !bytes.Equal(data, e.Data) || r.hash > 0 != e.HasHashKey || hash != e.HashKey || r.delta != 77 || r.size() != len(b) {
			t.Errorf("%q came back as %+v", e.PartitionKey, r)
		}
	}
}

func TestTheSeedOfAPlaceIsTheChecksumOfItsOffset(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed, off := rapid.Uint32().Draw(t, "seed"), rapid.Int64Min(0).Draw(t, "off")
		want := crc32.Update(seed, castagnoli, binary.LittleEndian.AppendUint64(nil, uint64(off)))
		if got := seedAt(seed, off); got != want {
			t.Fatalf("seed %x, want %x", got, want)
		}
	})
	if n := testing.AllocsPerRun(100, func() { seedAt(1, 2) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestABlockIsValidInItsOwnPlaceOnly(t *testing.T) {
	h := header{kind: kindData, count: 3, span: 9, size: 100, sum: 5, shard: 6, first: 7, prev: 8, base: -9, synced: 10}
	seg := segmentHeader{gen: 4, salt: 99}
	var b [headerSize]byte
	h.encode(b[:], seedAt(seg.seed(), 4096))
	if got, ok := decodeHeader(b[:], seedAt(seg.seed(), 4096)); !ok || got != h {
		t.Fatalf("came back as %+v, %v", got, ok)
	}
	for what, seed := range map[string]uint32{
		"offset":     seedAt(seg.seed(), 4104),
		"generation": seedAt(segmentHeader{gen: 5, salt: 99}.seed(), 4096),
		"salt":       seedAt(segmentHeader{gen: 4, salt: 98}.seed(), 4096),
	} {
		if _, ok := decodeHeader(b[:], seed); ok {
			t.Errorf("valid with another %s", what)
		}
	}
	for i := range b {
		b[i] ^= 1
		if _, ok := decodeHeader(b[:], seedAt(seg.seed(), 4096)); ok {
			t.Errorf("valid with byte %d changed", i)
		}
		b[i] ^= 1
	}
}
