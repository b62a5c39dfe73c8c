package server

import (
	"strconv"
	"time"

	"github.com/millrace/millrace/internal/wire"
	"github.com/millrace/millrace/stream"
)

// document writes an answer, or an event, member by member: what hot paths have
// in place of shapes.
type document struct {
	p     protocol
	buf   []byte
	comma bool // JSON: something stands before the next member or item
}

// begin opens an object, or a list.
func (d *document) begin(bracket byte) {
	if d.p != json11 {
		if bracket == '{' {
			d.buf = wire.BeginCBORMap(d.buf)
		} else {
			d.buf = wire.BeginCBORArray(d.buf)
		}
		return
	}
	if d.comma {
		d.buf = append(d.buf, ',')
	}
	d.buf = append(d.buf, bracket)
	d.comma = false
}

// end closes what begin opened, by its other bracket.
func (d *document) end(bracket byte) {
	if d.p != json11 {
		d.buf = wire.EndCBOR(d.buf)
		return
	}
	d.buf = append(d.buf, bracket)
	d.comma = true
}

// name writes the name of a member. Its value has to follow.
func (d *document) name(name string) {
	if d.p != json11 {
		d.buf = wire.AppendCBORText(d.buf, name)
		return
	}
	if d.comma {
		d.buf = append(d.buf, ',')
	}
	d.buf = append(d.buf, '"')
	d.buf = append(d.buf, name...)
	d.buf = append(d.buf, '"', ':')
	d.comma = false
}

func (d *document) text(text string) {
	if d.p != json11 {
		d.buf = wire.AppendCBORText(d.buf, text)
		return
	}
	if d.comma {
		d.buf = append(d.buf, ',')
	}
	d.buf = wire.AppendJSONString(d.buf, text)
	d.comma = true
}

func (d *document) int(n int64) {
	if d.p != json11 {
		d.buf = wire.AppendCBORInt(d.buf, n)
		return
	}
	d.buf = strconv.AppendInt(d.buf, n, 10)
	d.comma = true
}

func (d *document) bytes(data []byte) {
	if d.p != json11 {
		d.buf = wire.AppendCBORBytes(d.buf, data)
		return
	}
	d.buf = wire.AppendJSONBytes(d.buf, data)
	d.comma = true
}

func (d *document) time(t time.Time) {
	switch d.p {
	case cbor11:
		d.buf = wire.AppendCBORMillis(d.buf, t.UnixMilli())
	case rpcCBOR:
		d.buf = wire.AppendCBORSeconds(d.buf, t.UnixMilli())
	default:
		d.buf = wire.AppendJSONMillis(d.buf, t.UnixMilli())
	}
	d.comma = true
}

// sequence writes a sequence number as a string.
func (d *document) sequence(s stream.Sequence) {
	var digits [64]byte
	text := s.AppendDecimal(digits[:0])
	if d.p != json11 {
		d.buf = wire.AppendCBORText(d.buf, text)
		return
	}
	d.buf = append(d.buf, '"')
	d.buf = append(d.buf, text...)
	d.buf = append(d.buf, '"')
	d.comma = true
}

// record writes one record.
func (d *document) record(r *stream.Record, encrypted bool) {
	d.begin('{')
	d.name("SequenceNumber")
	d.sequence(r.Sequence)
	d.name("ApproximateArrivalTimestamp")
	d.time(r.Arrival)
	d.name("Data")
	d.bytes(r.Data)
	if r.PartitionKey != "" {
		d.name("PartitionKey")
		d.text(r.PartitionKey)
	}
	if encrypted {
		d.name("EncryptionType")
		d.text("KMS")
	}
	d.end('}')
}

// children writes the shards that go on where one has ended.
func (d *document) children(end *stream.ShardEndError) {
	d.name("ChildShards")
	d.begin('[')
	for i := range end.Children {
		child := &end.Children[i]
		d.begin('{')
		d.name("ShardId")
		d.text(child.ID)
		d.name("ParentShards")
		d.begin('[')
		for _, parent := range child.Parents {
			d.text(parent)
		}
		d.end(']')
		d.name("HashKeyRange")
		d.begin('{')
		d.name("StartingHashKey")
		d.text(child.Hash.Start.String())
		d.name("EndingHashKey")
		d.text(child.Hash.End.String())
		d.end('}')
		d.end('}')
	}
	d.end(']')
}

// behind is how far a read is from the tip of its shard, in milliseconds of the
// present: 0 exactly when nothing is left to read.
func behind(b *stream.Batch) int64 {
	if b.Behind == 0 {
		return 0
	}
	return max(1, time.Since(b.Records[len(b.Records)-1].Arrival).Milliseconds())
}
