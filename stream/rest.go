package stream

import (
	"strings"
	"time"
)

// Rest is what is left of a batch that is given out in parts: by a stream that
// gets more at a time than it may give. The zero value is empty.
type Rest struct {
	batch *Batch
	given int // how many of its records are given out
}

// NewRest returns all of a batch, which is kept until it is given out.
func NewRest(b *Batch) Rest { return Rest{batch: b} }

// Empty reports whether everything is given out.
func (r *Rest) Empty() bool { return r.batch == nil || r.given == len(r.batch.Records) }

// Fill puts as many records into b, which is empty, as its limits allow, and at
// least one. Where the part would keep alive more than b may (MaxFootprint), it
// is copied.
func (r *Rest) Fill(b *Batch) {
	left := r.batch.Records[r.given:]
	for i := range left {
		size := left[i].Size()
		if i > 0 && (b.MaxRecords > 0 && i == b.MaxRecords || b.MaxBytes > 0 && b.Bytes+size > b.MaxBytes) {
			break
		}
		b.Bytes += size
		b.Records = append(b.Records, left[i])
	}
	r.given += len(b.Records)
	b.Behind = r.behind(b)
	// A part may keep alive what the whole does.
	b.Footprint = max(r.batch.Footprint, b.Bytes)
	if b.MaxFootprint > 0 && b.Footprint > max(b.MaxFootprint, 2*b.Bytes) {
		b.detach()
	}
}

// behind is how far the last record of b is behind the newest one of the shard.
func (r *Rest) behind(b *Batch) time.Duration {
	last := r.batch.Records[len(r.batch.Records)-1].Arrival
	return max(0, r.batch.Behind+last.Sub(b.Records[len(b.Records)-1].Arrival))
}

// detach copies the records into memory of their own.
func (b *Batch) detach() {
	keyBytes := 0
	for i := range b.Records {
		keyBytes += len(b.Records[i].PartitionKey)
	}
	data := make([]byte, 0, b.Bytes-keyBytes)
	var keys strings.Builder
	keys.Grow(keyBytes)
	for i := range b.Records {
		r := &b.Records[i]
		from := len(data)
		data = append(data, r.Data...)
		keys.WriteString(r.PartitionKey)
		r.Data = data[from:len(data):len(data)]
		r.PartitionKey = keys.String()[keys.Len()-len(r.PartitionKey):]
	}
	b.Footprint = b.Bytes
}
