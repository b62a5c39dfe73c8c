package server

import (
	"strconv"
	"time"

	"github.com/millrace/millrace/internal/wire"
	"github.com/millrace/millrace/stream"
)

// document writes a message in any protocol, value by value. In CBOR, lists and
// maps have no length but an end, as AWS sends them.
type document struct {
	p     protocol
	buf   []byte
	comma bool // JSON: something stands before the next member or item
}

// separate sets the next value off from what stands before it.
func (d *document) separate() {
	if d.p == json11 {
		if d.comma {
			d.buf = append(d.buf, ',')
		}
		d.comma = true
	}
}

// begin opens an object, or a list.
func (d *document) begin(bracket byte) {
	d.separate()
	switch {
	case d.p == json11:
		d.buf = append(d.buf, bracket)
		d.comma = false
	case bracket == '{':
		d.buf = wire.BeginCBORMap(d.buf)
	default:
		d.buf = wire.BeginCBORArray(d.buf)
	}
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

// name writes the name of a member, which needs no escapes. Its value has to
// follow.
func (d *document) name(name string) {
	d.separate()
	if d.p != json11 {
		d.buf = wire.AppendCBORText(d.buf, name)
		return
	}
	d.buf = append(d.buf, '"')
	d.buf = append(d.buf, name...)
	d.buf = append(d.buf, '"', ':')
	d.comma = false
}

// key writes the name of a member, whatever it is.
func (d *document) key(name string) {
	d.text(name)
	if d.p == json11 {
		d.buf = append(d.buf, ':')
		d.comma = false
	}
}

func (d *document) text(text string) {
	d.separate()
	if d.p == json11 {
		d.buf = wire.AppendJSONString(d.buf, text)
	} else {
		d.buf = wire.AppendCBORText(d.buf, text)
	}
}

func (d *document) boolean(b bool) {
	d.separate()
	if d.p == json11 {
		d.buf = strconv.AppendBool(d.buf, b)
	} else {
		d.buf = wire.AppendCBORBool(d.buf, b)
	}
}

func (d *document) int(n int64) {
	d.separate()
	if d.p == json11 {
		d.buf = strconv.AppendInt(d.buf, n, 10)
	} else {
		d.buf = wire.AppendCBORInt(d.buf, n)
	}
}

func (d *document) bytes(data []byte) {
	d.separate()
	if d.p == json11 {
		d.buf = wire.AppendJSONBytes(d.buf, data)
	} else {
		d.buf = wire.AppendCBORBytes(d.buf, data)
	}
}

func (d *document) time(t time.Time) {
	d.separate()
	switch d.p {
	case cbor11:
		d.buf = wire.AppendCBORMillis(d.buf, t.UnixMilli())
	case rpcCBOR:
		d.buf = wire.AppendCBORSeconds(d.buf, t.UnixMilli())
	default:
		d.buf = wire.AppendJSONMillis(d.buf, t.UnixMilli())
	}
}

// sequence writes a sequence number as a string.
func (d *document) sequence(s stream.Sequence) {
	var digits [64]byte
	text := s.AppendDecimal(digits[:0])
	d.separate()
	if d.p != json11 {
		d.buf = wire.AppendCBORText(d.buf, text)
		return
	}
	d.buf = append(d.buf, '"')
	d.buf = append(d.buf, text...)
	d.buf = append(d.buf, '"')
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
	if b.Behind == 0 || len(b.Records) == 0 {
		return 0
	}
	return max(1, time.Since(b.Records[len(b.Records)-1].Arrival).Milliseconds())
}
