package wal

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"unsafe"

	"github.com/millrace/millrace/stream"
)

const (
	headerSize = 64
	blockMagic = 0x314b424d // "MBK1"
	// maxPayload bounds a block that holds more than one record, so that one
	// damaged or unwanted block costs little.
	maxPayload = 64 << 10

	recordHead = 8       // data length, key length and flag, arrival
	hashSize   = 16      // explicit hash key
	hashFlag   = 1 << 15 // in the key length: an explicit hash key follows
	maxSpan    = 1<<16 - 1
)

type kind uint8

const (
	kindData kind = 1 // records of one shard
	kindEnd  kind = 2 // nothing follows in this segment: go on with the next generation
	kindMark kind = 3 // only tells what is durable
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// header is the fixed head of every block.
type header struct {
	kind  kind
	count uint16 // records
	span  uint16 // arrival of the last record, in ms after base
	size  uint32 // payload in bytes, without padding
	sum   uint32 // checksum of the payload and its padding
	shard uint64
	first uint64 // counter of the first record; the others follow without a gap
	prev  uint64 // last counter of the shard's block before this one, 0 for none
	base  int64  // arrival of the first record, Unix ms
	// synced is what was known to be durable when the block was closed. When a
	// later block says that a place was durable, damage there is damage and
	// not an unfinished write.
	synced Pos
}

func pad8(n int) int { return (n + 7) &^ 7 }

// length is what the block takes in the file.
func (h *header) length() int64 { return headerSize + int64(pad8(int(h.size))) }

// encode writes the header to dst[:headerSize]. Its checksum is seeded like
// the payload's: see [segmentHeader.seed].
func (h *header) encode(dst []byte, seed uint32) {
	le := binary.LittleEndian
	_ = dst[headerSize-1]
	le.PutUint32(dst[0:], blockMagic)
	le.PutUint32(dst[8:], h.size)
	le.PutUint32(dst[12:], h.sum)
	dst[16], dst[17] = byte(h.kind), 0
	le.PutUint16(dst[18:], h.count)
	le.PutUint16(dst[20:], h.span)
	le.PutUint16(dst[22:], 0)
	le.PutUint64(dst[24:], h.shard)
	le.PutUint64(dst[32:], h.first)
	le.PutUint64(dst[40:], h.prev)
	le.PutUint64(dst[48:], uint64(h.base))
	le.PutUint64(dst[56:], uint64(h.synced))
	le.PutUint32(dst[4:], crc32.Update(seed, castagnoli, dst[8:headerSize]))
}

// decodeHeader reads a header and says whether it is one: right magic, right
// checksum for its place, and values that a writer can have written.
func decodeHeader(src []byte, seed uint32) (h header, ok bool) {
	le := binary.LittleEndian
	if len(src) < headerSize || le.Uint32(src) != blockMagic ||
		le.Uint32(src[4:]) != crc32.Update(seed, castagnoli, src[8:headerSize]) {
		return h, false
	}
	h = header{
		kind:   kind(src[16]),
		count:  le.Uint16(src[18:]),
		span:   le.Uint16(src[20:]),
		size:   le.Uint32(src[8:]),
		sum:    le.Uint32(src[12:]),
		shard:  le.Uint64(src[24:]),
		first:  le.Uint64(src[32:]),
		prev:   le.Uint64(src[40:]),
		base:   int64(le.Uint64(src[48:])),
		synced: Pos(le.Uint64(src[56:])),
	}
	switch h.kind {
	case kindData:
		ok = h.count > 0 && h.size >= recordHead && h.size < 1<<30
	case kindEnd, kindMark:
		ok = h.count == 0 && h.size == 0
	}
	return h, ok
}

const (
	badHeader  = "the header of a block fails its checksum"
	badRecords = "the records of a block fail their checksum"
)

// tells reports whether the header is of the block that the index names.
func (h *header) tells(s *Shard, e *entry) bool {
	return h.kind == kindData && h.shard == s.handle && h.first == e.first && h.size == e.size && h.count == e.count
}

// checkBlock reads the block that the index names and says what is wrong with
// it, if anything.
func checkBlock(b []byte, seed uint32, s *Shard, e *entry) (h header, detail string) {
	h, ok := decodeHeader(b, seed)
	if !ok || !h.tells(s, e) {
		return h, badHeader
	}
	if h.sum != checksum(seed, b[headerSize:]) {
		return h, badRecords
	}
	return h, ""
}

// recordSize is what an entry takes in a payload.
func recordSize(e *stream.Entry) int {
	n := recordHead + len(e.PartitionKey) + len(e.Data)
	if e.HasHashKey {
		n += hashSize
	}
	return n
}

// encodeRecord writes an entry to dst, which has its [recordSize].
func encodeRecord(dst []byte, e *stream.Entry, delta uint16) {
	le := binary.LittleEndian
	keyLen := uint16(len(e.PartitionKey))
	at := recordHead
	if e.HasHashKey {
		keyLen |= hashFlag
		binary.BigEndian.PutUint64(dst[at:], e.HashKey.Hi)
		binary.BigEndian.PutUint64(dst[at+8:], e.HashKey.Lo)
		at += hashSize
	}
	le.PutUint32(dst, uint32(len(e.Data)))
	le.PutUint16(dst[4:], keyLen)
	le.PutUint16(dst[6:], delta)
	at += copy(dst[at:], e.PartitionKey)
	copy(dst[at:], e.Data)
}

var errMalformed = errors.New("a record does not fit into its block")

// record is what a record in a payload says of itself.
type record struct {
	key, data int // their bytes
	hash      int // bytes of the explicit hash key: 16, or 0
	delta     uint16
}

func (r record) size() int { return recordHead + r.hash + r.key + r.data }

// decodeRecord reads the record at the start of p, which is as long as its size
// at least. [record.split] returns what is in it.
func decodeRecord(p []byte) (r record, err error) {
	if len(p) < recordHead {
		return r, errMalformed
	}
	head := binary.LittleEndian.Uint64(p)
	r.data, r.key, r.delta = int(uint32(head)), int(head>>32&(hashFlag-1)), uint16(head>>48)
	if head>>32&hashFlag != 0 {
		r.hash = hashSize
	}
	if r.size() > len(p) {
		return r, errMalformed
	}
	return r, nil
}

// split returns what lies in the record at the start of p, without copying.
func (r record) split(p []byte) (hash stream.Hash, key string, data []byte) {
	at := recordHead
	if r.hash > 0 {
		hash = stream.Hash{Hi: binary.BigEndian.Uint64(p[at:]), Lo: binary.BigEndian.Uint64(p[at+8:])}
		at += hashSize
	}
	// The string is a view: payloads are never written to once they can be read.
	key = unsafe.String(unsafe.SliceData(p[at:]), r.key)
	at += r.key
	return hash, key, p[at : at+r.data : at+r.data]
}
