package kpl

import (
	"crypto/md5"
	"slices"

	"github.com/millrace/millrace/stream"
)

// DefaultMaxBytes is how large the KPL lets an aggregate become when it is not
// told otherwise: 51,200 bytes.
const DefaultMaxBytes = 51_200

// Aggregator packs records into aggregates, for producers that have many small
// ones: a stream counts, and bills, what carries them.
//
//	if !a.Add(entry) {
//		full, _ := a.Take()
//		…                  // put full
//		a.Add(entry)
//	}
//
// All records of an aggregate go to one shard, that of the first of them. So a
// producer keeps an Aggregator for each shard, by [stream.HashRange.Contains] of
// [stream.Entry.Hash]; records that went to the wrong shard are seen there out of
// their order, or not at all (see [Policy]).
//
// The zero value is ready. It belongs to one goroutine at a time.
type Aggregator struct {
	// MaxBytes bounds the data of an aggregate; a record that is alone may be
	// larger. Default: DefaultMaxBytes. Kinesis takes records of at most 1 MiB, or
	// of what its stream allows, the partition key counted.
	MaxBytes int
	// MaxRecords bounds how many records an aggregate has. Default: no bound, as
	// in the KPL.
	MaxRecords int

	keys, hashes, records []byte // the three parts of the message
	keyAt                 map[string]uint64
	hashAt                map[stream.Hash]uint64
	count                 int
	first                 stream.Entry // with its data among records
	tagged                bool
}

// Add puts a record into the aggregate and keeps nothing of what it was given.
// It returns false, and does nothing, when the aggregate would grow beyond its
// bounds by it: then it is time to [Aggregator.Take]. An empty one takes any record.
func (a *Aggregator) Add(e stream.Entry, tags ...Tag) bool {
	if a.count > 0 && a.MaxRecords > 0 && a.count >= a.MaxRecords {
		return false
	}
	keys, hashes, records := len(a.keys), len(a.hashes), len(a.records)
	newKey, newHash := a.add(&e, tags)
	if a.count > 0 && a.size() > a.maxBytes() {
		a.keys, a.hashes, a.records = a.keys[:keys], a.hashes[:hashes], a.records[:records]
		if newKey {
			delete(a.keyAt, e.PartitionKey)
		}
		if newHash {
			delete(a.hashAt, e.HashKey)
		}
		return false
	}
	if a.count == 0 {
		a.first = e
		a.first.Data = nil
	}
	a.count++
	a.tagged = a.tagged || len(tags) > 0
	return true
}

func (a *Aggregator) maxBytes() int {
	if a.MaxBytes <= 0 {
		return DefaultMaxBytes
	}
	return a.MaxBytes
}

// size is that of the aggregate's data.
func (a *Aggregator) size() int { return frame + len(a.keys) + len(a.hashes) + len(a.records) }

// add appends a record to the message, and reports what was new in the tables.
func (a *Aggregator) add(e *stream.Entry, tags []Tag) (newKey, newHash bool) {
	if a.keyAt == nil {
		a.keyAt, a.hashAt = map[string]uint64{}, map[stream.Hash]uint64{}
	}
	key, known := a.keyAt[e.PartitionKey]
	if newKey = !known; newKey {
		key = uint64(len(a.keyAt))
		a.keyAt[e.PartitionKey] = key
		a.keys = appendString(a.keys, fieldKey, e.PartitionKey)
	}
	buf := appendVarint(make([]byte, 0, 64), fieldKeyIndex, key)
	if e.HasHashKey {
		hash, known := a.hashAt[e.HashKey]
		if newHash = !known; newHash {
			hash = uint64(len(a.hashAt))
			a.hashAt[e.HashKey] = hash
			a.hashes = appendString(a.hashes, fieldHashKey, e.HashKey.String())
		}
		buf = appendVarint(buf, fieldHashKeyIndex, hash)
	}
	buf = appendLength(buf, fieldData, len(e.Data))
	head := len(buf)
	for _, t := range tags {
		tag := appendString(appendString(nil, fieldTagKey, t.Key), fieldTagValue, t.Value)
		buf = append(appendLength(buf, fieldTag, len(tag)), tag...)
	}
	a.records = appendLength(a.records, fieldRecord, len(buf)+len(e.Data))
	a.records = append(a.records, buf[:head]...)
	a.records = append(a.records, e.Data...)
	a.records = append(a.records, buf[head:]...)
	return newKey, newHash
}

// Len is how many records wait to be taken.
func (a *Aggregator) Len() int { return a.count }

// Take returns what was added as one entry, and empties the Aggregator; ok is
// false when there was nothing. One record alone, without tags, comes as it is.
// The entry's key is that of the first record.
func (a *Aggregator) Take() (e stream.Entry, ok bool) {
	if a.count == 0 {
		return stream.Entry{}, false
	}
	e = a.first
	if a.count == 1 && !a.tagged {
		f := fields{message: a.records}
		f.next()
		r, _ := parse(f.bytes)
		e.Data = slices.Clone(r.data)
	} else {
		e.Data = make([]byte, 0, a.size())
		e.Data = append(e.Data, magic...)
		e.Data = append(e.Data, a.keys...)
		e.Data = append(e.Data, a.hashes...)
		e.Data = append(e.Data, a.records...)
		sum := md5.Sum(e.Data[len(magic):])
		e.Data = append(e.Data, sum[:]...)
	}
	a.reset()
	return e, true
}

// reset empties the Aggregator and keeps its memory.
func (a *Aggregator) reset() {
	clear(a.keyAt)
	clear(a.hashAt)
	a.keys, a.hashes, a.records = a.keys[:0], a.hashes[:0], a.records[:0]
	a.count, a.tagged, a.first = 0, false, stream.Entry{}
}
