package kpl

import (
	"crypto/md5"
	"iter"
	"math"
	"unsafe"

	"github.com/millrace/millrace/stream"
)

// magic is how an aggregate begins.
const magic = "\xf3\x89\x9a\xc2"

// frame is how many bytes of an aggregate are not the message: the magic bytes,
// and the MD5 of the message.
const frame = len(magic) + md5.Size

// The fields of the messages AggregatedRecord, Record and Tag.
const (
	fieldKey     = 1 // of AggregatedRecord: repeated string partition_key_table
	fieldHashKey = 2 // repeated string explicit_hash_key_table
	fieldRecord  = 3 // repeated Record records

	fieldKeyIndex     = 1 // of Record: required uint64 partition_key_index
	fieldHashKeyIndex = 2 // optional uint64 explicit_hash_key_index
	fieldData         = 3 // required bytes data
	fieldTag          = 4 // repeated Tag tags

	fieldTagKey   = 1 // of Tag: required string key
	fieldTagValue = 2 // optional string value
)

// Aggregate is the content of a record that carries others. Its methods may be
// called at the same time.
type Aggregate struct {
	message      []byte
	keys, hashes []uint32 // where in message the entries of the two tables lie
	records      int
}

// Record is one record inside an aggregate. Its key and its data are views of
// the aggregate; do not write to them.
type Record struct {
	PartitionKey string
	Data         []byte
	// HashKey is the explicit hash key; it means something only when HasHashKey
	// says that there is one.
	HashKey    stream.Hash
	HasHashKey bool

	message []byte // where its tags are
}

// Tag is a note that a producer may put on a record. The libraries of Amazon
// write none, and pass over them.
type Tag struct{ Key, Value string }

// Decode reads an aggregate, which must not be written to afterwards. ok is
// false when data is none: when it does not begin with the magic bytes, when its
// checksum is wrong, when the message is broken, lacks what it must have or
// points beyond its tables, or when there is no record in it. Then data is to be
// taken for what it is.
//
// The tables take four bytes for each key, and so no more than three times the
// memory of data, were it full of empty keys.
func Decode(data []byte) (a *Aggregate, ok bool) {
	if !looksLike(data) {
		return nil, false
	}
	a = new(Aggregate)
	return a, a.decode(data)
}

// looksLike tells most records that are no aggregates, and is cheap.
func looksLike(data []byte) bool {
	return len(data) > frame && string(data[:len(magic)]) == magic
}

// decode is [Decode] into an Aggregate that may be used again. All of the
// message is checked before any of it is believed.
func (a *Aggregate) decode(data []byte) bool {
	*a = Aggregate{keys: a.keys[:0], hashes: a.hashes[:0]}
	if !looksLike(data) || len(data) > math.MaxUint32 {
		return false
	}
	end := len(data) - md5.Size
	message := data[len(magic):end:end]
	if md5.Sum(message) != [md5.Size]byte(data[end:]) {
		return false
	}
	a.message = message
	var keys, hashes uint64 // how many the tables have to have
	f := fields{message: message}
	for f.next() {
		if f.kind != wireBytes {
			continue
		}
		switch f.number {
		case fieldKey:
			a.keys = append(a.keys, uint32(f.body))
		case fieldHashKey:
			a.hashes = append(a.hashes, uint32(f.body))
		case fieldRecord:
			r, ok := parse(f.bytes)
			if !ok || r.tagged && !tagsAreWhole(f.bytes) || r.key == math.MaxUint64 || r.hash == math.MaxUint64 {
				return false
			}
			keys = max(keys, r.key+1)
			if r.hasHash {
				hashes = max(hashes, r.hash+1)
			}
			a.records++
		}
	}
	return !f.broken && a.records > 0 && keys <= uint64(len(a.keys)) && hashes <= uint64(len(a.hashes))
}

// parsed is a message Record.
type parsed struct {
	key, hash uint64 // places in the tables
	hasHash   bool
	tagged    bool
	data      []byte
}

// parse reads a message Record. As everywhere in protobuf, the last one counts
// of a field that is given twice, and a field of another type is another field.
func parse(message []byte) (r parsed, ok bool) {
	f := fields{message: message}
	var hasKey, hasData bool
	for f.next() {
		switch {
		case f.number == fieldKeyIndex && f.kind == wireVarint:
			r.key, hasKey = f.value, true
		case f.number == fieldHashKeyIndex && f.kind == wireVarint:
			r.hash, r.hasHash = f.value, true
		case f.number == fieldData && f.kind == wireBytes:
			r.data, hasData = f.bytes, true
		case f.number == fieldTag && f.kind == wireBytes:
			r.tagged = true
		}
	}
	return r, !f.broken && hasKey && hasData
}

func tagsAreWhole(record []byte) bool {
	for f := (fields{message: record}); f.next(); {
		if f.number != fieldTag || f.kind != wireBytes {
			continue
		}
		if _, ok := parseTag(f.bytes); !ok {
			return false
		}
	}
	return true
}

func parseTag(message []byte) (t Tag, ok bool) {
	f := fields{message: message}
	for f.next() {
		switch {
		case f.number == fieldTagKey && f.kind == wireBytes:
			t.Key, ok = view(f.bytes), true
		case f.number == fieldTagValue && f.kind == wireBytes:
			t.Value = view(f.bytes)
		}
	}
	return t, ok && !f.broken
}

// Len is how many records there are, at least one.
func (a *Aggregate) Len() int { return a.records }

// All yields the records with their sub-sequences, which count from 0.
func (a *Aggregate) All() iter.Seq2[uint64, Record] {
	return func(yield func(uint64, Record) bool) {
		var sub uint64
		for at := 0; ; sub++ {
			r, after, ok := a.next(at)
			if !ok || !yield(sub, r) {
				return
			}
			at = after
		}
	}
}

// next returns the first record at that place in the message or behind it, and
// the place after that record. ok is false when there is none.
func (a *Aggregate) next(at int) (r Record, after int, ok bool) {
	for f := (fields{message: a.message, at: at}); f.next(); {
		if f.number != fieldRecord || f.kind != wireBytes {
			continue
		}
		p, _ := parse(f.bytes)
		r = Record{PartitionKey: view(a.entry(a.keys[p.key])), Data: p.data}
		if p.hasHash {
			// What is no number is as good as none: an old producer for Node.js
			// gives the word "undefined" to all records without a hash key.
			hash, err := stream.ParseHash(view(a.entry(a.hashes[p.hash])))
			r.HashKey, r.HasHashKey = hash, err == nil
		}
		if p.tagged {
			r.message = f.bytes
		}
		return r, f.at, true
	}
	return r, at, false
}

// entry returns the entry of a table that lies there in the message.
func (a *Aggregate) entry(at uint32) []byte {
	f := fields{message: a.message, at: int(at)}
	return f.take(f.uvarint())
}

// Tags yields the record's tags, in order.
func (r Record) Tags() iter.Seq[Tag] {
	return func(yield func(Tag) bool) {
		for f := (fields{message: r.message}); f.next(); {
			if f.number != fieldTag || f.kind != wireBytes {
				continue
			}
			if t, ok := parseTag(f.bytes); ok && !yield(t) {
				return
			}
		}
	}
}

// Hash returns where the record falls in the hash space: its explicit hash key,
// else the MD5 of its partition key.
func (r *Record) Hash() stream.Hash {
	if r.HasHashKey {
		return r.HashKey
	}
	return stream.HashOf(r.PartitionKey)
}

// view returns b as text without copying it.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
