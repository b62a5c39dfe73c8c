package stream

import "time"

// Record is what a shard holds and a processor sees.
//
// Data and PartitionKey are immutable and stay valid for as long as somebody
// keeps them: they are views of memory that the stream shares among all its
// readers, so Data must not be written to.
type Record struct {
	// Sequence is the record's place in its shard, given by the stream.
	Sequence Sequence
	// PartitionKey decides the shard and names the order that the producer wants.
	PartitionKey string
	// Data is the payload.
	Data []byte
	// Arrival is about when the stream took the record, to the millisecond.
	Arrival time.Time
	// HashKey is the explicit hash key; it means something only when
	// HasHashKey says that the producer gave one.
	HashKey    Hash
	HasHashKey bool
}

// Hash returns where the record falls in the hash space: its explicit hash
// key, else the MD5 of its partition key.
func (r *Record) Hash() Hash {
	if r.HasHashKey {
		return r.HashKey
	}
	return HashOf(r.PartitionKey)
}

// Size is what the record counts for in every limit: payload and partition
// key, in bytes, as in Kinesis.
func (r *Record) Size() int { return len(r.Data) + len(r.PartitionKey) }

// Batch is a run of records of one shard, in order. Who reads owns the Batch
// and its Records slice and may use them again for the next read; what the
// records point to stays valid (see [Record]).
type Batch struct {
	// MaxRecords and MaxBytes bound what one read puts into Records. A record
	// larger than MaxBytes comes alone. 0 leaves the choice to the stream.
	MaxRecords int
	MaxBytes   int
	// MaxFootprint bounds Footprint: what would keep more alive is copied into
	// memory of the batch's own. So Footprint is not much larger than
	// MaxFootprint, or than twice Bytes when that is more. 0 leaves the choice
	// to the stream.
	MaxFootprint int

	// Records is what was read, never empty after a read without an error.
	Records []Record
	// Bytes is the sum of the records' sizes.
	Bytes int
	// Footprint is how much memory the records keep alive, in bytes: at least
	// Bytes, and more where they are views of larger shared blocks. Buffers
	// count it, so that their limit is the truth.
	Footprint int
	// Behind is how far the last record is behind the newest one of the
	// shard, in time; 0 when there was nothing newer.
	Behind time.Duration
}

// Reset empties the batch for another read; limits and memory stay.
func (b *Batch) Reset() {
	clear(b.Records)
	b.Records = b.Records[:0]
	b.Bytes, b.Footprint, b.Behind = 0, 0, 0
}

// Shard is one of a stream's shards.
type Shard struct {
	// ID is unique in its stream and never used again: "shardId-000000000003".
	ID string
	// Parents are the IDs of the shards whose hash range this one took over:
	// none, one (split) or two (merge). They may be gone already.
	Parents []string
	// Hash is the shard's part of the hash space.
	Hash HashRange
	// Closed says that the shard takes no more records; it stays readable until
	// its last record has left retention.
	Closed bool
}

// Entry is a record on its way into a stream.
type Entry struct {
	// PartitionKey decides by its hash which shard the record goes to: what has to
	// stay in order among itself is given one key. Kinesis wants 1 to 256
	// characters; the built-in engine takes any, and none.
	PartitionKey string
	// Data is the payload.
	Data []byte
	// HashKey overrides the hash of the partition key when HasHashKey is set.
	HashKey    Hash
	HasHashKey bool
}

// Hash returns where the entry falls in the hash space.
func (e *Entry) Hash() Hash {
	if e.HasHashKey {
		return e.HashKey
	}
	return HashOf(e.PartitionKey)
}

// Size is what the entry counts for in every limit, in bytes.
func (e *Entry) Size() int { return len(e.Data) + len(e.PartitionKey) }

// PutResult is what became of one entry: its shard and sequence number, or Err.
type PutResult struct {
	Shard    string
	Sequence Sequence
	Err      error
}
