package wal

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"slices"
	"testing"

	"github.com/millrace/millrace/engine/internal/vfs"
	"github.com/millrace/millrace/stream"
)

// Bytes with a checksum are hardly ever valid by chance: these targets give
// what they try the right one, half of the time, so that the rest of the decoder
// is reached.

func FuzzDecodeHeader(f *testing.F) {
	h := header{kind: kindData, count: 1, size: 100}
	var b [headerSize]byte
	h.encode(b[:], 1)
	f.Add(b[:], uint32(1), true)
	f.Add(b[:], uint32(1), false)
	f.Fuzz(func(t *testing.T, b []byte, seed uint32, mend bool) {
		if mend && len(b) >= headerSize {
			binary.LittleEndian.PutUint32(b[4:], crc32.Update(seed, castagnoli, b[8:headerSize]))
		}
		h, ok := decodeHeader(b, seed)
		if !ok {
			return
		}
		var again [headerSize]byte
		h.encode(again[:], seed)
		if got, ok := decodeHeader(again[:], seed); !ok || got != h {
			t.Fatalf("%+v came back as %+v, %v", h, got, ok)
		}
	})
}

func FuzzDecodeRecord(f *testing.F) {
	e := stream.Entry{PartitionKey: "key", Data: []byte("data"), HasHashKey: true}
	b := make([]byte, recordSize(&e))
	encodeRecord(b, &e, 1)
	f.Add(b)
	f.Add(b[:9])
	f.Fuzz(func(t *testing.T, b []byte) {
		for len(b) > 0 {
			r, err := decodeRecord(b)
			if err != nil {
				return
			}
			if r.size() < recordHead || r.size() > len(b) {
				t.Fatalf("a record of %d bytes in %d", r.size(), len(b))
			}
			hash, key, data := r.split(b)
			e := stream.Entry{PartitionKey: key, Data: data, HashKey: hash, HasHashKey: r.hash > 0}
			again := make([]byte, recordSize(&e))
			encodeRecord(again, &e, r.delta)
			if !bytes.Equal(again, b[:r.size()]) {
				t.Fatalf("%x came back as %x", b[:r.size()], again)
			}
			b = b[r.size():]
		}
	})
}

func FuzzDecodeSegmentHeader(f *testing.F) {
	b := segmentHeader{gen: 1, salt: 2, size: 1 << 16}.encode()
	f.Add(b[:], true)
	f.Add(b[:], false)
	f.Fuzz(func(t *testing.T, b []byte, mend bool) {
		if mend && len(b) >= segHeadSize {
			binary.LittleEndian.PutUint32(b[40:], crc32.Checksum(b[:40], castagnoli))
		}
		h, err := decodeSegmentHeader(b)
		if err != nil {
			return
		}
		again := h.encode()
		if got, err := decodeSegmentHeader(again[:]); err != nil || got != h {
			t.Fatalf("%+v came back as %+v, %v", h, got, err)
		}
	})
}

func FuzzDecodeFooter(f *testing.F) {
	blocks := []listed{{entry: entry{first: 7, pos: makePos(3, 4096), base: 9, size: 100, count: 2, span: 1}, shard: 1, prev: 6}}
	f.Add(encodeFooter(blocks, 1), uint32(1), true)
	f.Add(encodeFooter(blocks, 1), uint32(1), false)
	f.Fuzz(func(t *testing.T, b []byte, seed uint32, mend bool) {
		const size = 1 << 16
		if mend && len(b) >= footHeadSize {
			if n := binary.LittleEndian.Uint32(b[12:]); uint64(n) <= uint64(len(b)-footHeadSize)/footEntrySize {
				binary.LittleEndian.PutUint32(b[8:], crc32.Update(seed, castagnoli, b[12:footerSize(int(n))]))
			}
		}
		blocks, err := decodeFooter(b, 3, size, seed)
		if err != nil {
			return
		}
		if len(blocks) > len(b)/footEntrySize {
			t.Fatalf("%d blocks in %d bytes", len(blocks), len(b))
		}
		for i := range blocks {
			if x := &blocks[i]; x.pos.off() < blocksStart || x.pos.off()+x.length() > size || x.count == 0 {
				t.Fatalf("a block outside of the file: %+v", *x)
			}
		}
		if again, err := decodeFooter(encodeFooter(blocks, seed), 3, size, seed); err != nil || !slices.Equal(again, blocks) {
			t.Fatalf("%+v came back as %+v, %v", blocks, again, err)
		}
	})
}

// A payload is given to a reader as records, or as damage, and never as more
// than it holds.
func FuzzReadPayload(f *testing.F) {
	e := stream.Entry{PartitionKey: "key", Data: []byte("data"), HasHashKey: true}
	b := make([]byte, recordSize(&e))
	encodeRecord(b, &e, 1)
	f.Add(append(b, b...), uint16(2), int64(0))
	f.Add(b, uint16(2), int64(1000))
	f.Fuzz(func(t *testing.T, payload []byte, count uint16, cutoff int64) {
		if count == 0 {
			return
		}
		sh := &Shard{}
		e := entry{first: 5, pos: makePos(1, blocksStart), base: 1000, size: uint32(len(payload)), count: count}
		sh.index.append(e)
		c := &Cursor{log: &Log{opt: Options{FS: vfs.Memory()}}, sh: sh, next: 5, fresh: true}
		var batch stream.Batch
		fill := newFilling(c, &batch, cutoff)
		defer fill.release()
		err := fill.take(&view{entry: e, payload: memory{bytes: payload}})
		if n := len(batch.Records); n > int(count) || batch.Bytes > len(payload) {
			t.Fatalf("%d records of %d, %d bytes of %d", n, count, batch.Bytes, len(payload))
		}
		if err == nil && !fill.full && c.next > 5+uint64(count) {
			t.Fatalf("the cursor goes on at %d", c.next)
		}
	})
}

// A segment is read to its end, whatever is in it, and gives only blocks that
// lie inside and have the checksums of their places.
func FuzzScanSegment(f *testing.F) {
	seg := segment{gen: 1, size: 1024, seed: 5, name: segmentName(1)}
	valid := make([]byte, 0, 256)
	for _, size := range []uint32{32, 0, 16} {
		h := header{kind: kindData, count: 1, size: size, first: 1}
		if size == 0 {
			h.kind, h.count = kindMark, 0
		}
		seed := seg.seedAt(int64(len(valid)))
		payload := make([]byte, pad8(int(size)))
		h.sum = checksum(seed, payload)
		var b [headerSize]byte
		h.encode(b[:], seed)
		valid = append(append(valid, b[:]...), payload...)
	}
	f.Add(valid, uint16(0))
	f.Add(valid[8:], uint16(3))
	f.Fuzz(func(t *testing.T, b []byte, from uint16) {
		if len(b) > int(seg.size) {
			return
		}
		w := window{seg: &segment{gen: seg.gen, size: seg.size, seed: seg.seed, name: seg.name, file: &file{File: bytesFile{data: b}}}}
		for off := int64(from) % seg.size; ; {
			_, at, found, err := w.search(off)
			if err != nil {
				t.Fatal(err)
			}
			if !found {
				return
			}
			if at < off || at%8 != 0 || at+headerSize > seg.size {
				t.Fatalf("searched from %d, found %d", off, at)
			}
			h, valid, err := w.block(at)
			if err != nil || valid && at+h.length() > seg.size {
				t.Fatalf("a block of %d bytes at %d: %v", h.length(), at, err)
			}
			off = at + headerSize
		}
	})
}

// bytesFile is a file that is read only.
type bytesFile struct {
	vfs.File
	data []byte
}

func (f bytesFile) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(f.data).ReadAt(p, off)
}
