package kinesis

import (
	"errors"
	"fmt"
	"time"
	"unsafe"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/millrace/millrace/internal/wire"
	"github.com/millrace/millrace/stream"
)

// errUnusual says that an answer is not what Kinesis sends. It is asked for
// again, and left to the SDK.
var errUnusual = errors.New("an unusual answer to GetRecords")

// decodeJSON and decodeCBOR read an answer of GetRecords, and rewrite it
// meanwhile. Times of CBOR are counted in unit.

func decodeJSON(answer []byte) (*page, error) {
	r := wire.NewJSON(answer)
	return decode(&r, len(answer))
}

func decodeCBOR(answer []byte, unit time.Duration) (*page, error) {
	r := wire.NewCBOR(answer, unit)
	return decode(&r, len(answer))
}

// decodeMillis is decodeCBOR for an endpoint that is not known. Some servers
// write seconds where Kinesis writes milliseconds; but there were no streams
// before 1990.
func decodeMillis(answer []byte) (*page, error) {
	const earliest = 631_152_000_000
	p, err := decodeCBOR(answer, time.Millisecond)
	if err == nil && len(p.entries) > 0 {
		if at := p.entries[0].arrival; at != unknown && at < earliest {
			return nil, fmt.Errorf("%w: a record that arrived in %d", errUnusual, time.UnixMilli(at).Year())
		}
	}
	return p, err
}

// decode reads an answer of that many bytes.
func decode(r wire.Reader, size int) (*page, error) {
	d := decoder{r: r, p: newPage(), rest: size}
	d.answer()
	if err := r.End(); err != nil && d.err == nil {
		d.err = err
	}
	if d.err != nil {
		d.p.release()
		return nil, fmt.Errorf("%w: %w", errUnusual, d.err)
	}
	return d.p, nil
}

type decoder struct {
	r    wire.Reader
	p    *page
	rest int // how many bytes of the answer may still become records
	err  error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf(format, args...)
	}
}

func (d *decoder) answer() {
	var seen members
	for d.r.Object(); d.r.Member(); {
		switch string(d.r.Key()) {
		case "Records":
			d.once(&seen, 0)
			if !d.r.Null() {
				for d.r.Array(); d.r.Item(); {
					d.record()
				}
			}
		case "NextShardIterator", "ContinuationSequenceNumber":
			d.once(&seen, 1)
			d.p.next = d.text()
		case "MillisBehindLatest":
			d.once(&seen, 2)
			if !d.r.Null() {
				d.p.behind = millis(d.r.Int())
			}
		case "ChildShards":
			d.once(&seen, 3)
			d.p.children = list(d, d.child)
		default:
			d.r.Skip()
		}
	}
}

// members are those of an object that have been there. One that comes twice is
// unusual: readers differ in which of the two counts.
type members uint8

func (d *decoder) once(seen *members, i int) {
	if *seen&(1<<i) != 0 {
		d.fail("%s comes twice", d.r.Key())
	}
	*seen |= 1 << i
}

func (d *decoder) record() {
	var seen members
	var number, key, data []byte
	e := entry{arrival: unknown}
	for d.r.Object(); d.r.Member(); {
		switch string(d.r.Key()) {
		case "SequenceNumber":
			d.once(&seen, 0)
			number = d.r.Text()
		case "PartitionKey":
			d.once(&seen, 1)
			if !d.r.Null() {
				key = d.r.Text()
			}
		case "Data":
			d.once(&seen, 2)
			if !d.r.Null() {
				data = d.r.Bytes()
			}
		case "ApproximateArrivalTimestamp":
			d.once(&seen, 3)
			if !d.r.Null() {
				e.arrival = d.r.Millis()
			}
		default: // EncryptionType
			d.r.Skip()
		}
	}
	var err error
	if e.seq, err = sequence(number); err != nil {
		d.fail("record %d: %w", len(d.p.entries), err)
		return
	}
	e.key, e.data = uint32(len(key)), uint32(len(data))
	room := d.p.add(&e, e.size(), d.rest)
	copy(room[copy(room, key):], data)
	d.p.put(&e)
	d.rest -= e.size()
}

// sequence reads a number as Kinesis writes it, which has no sub-sequence.
func sequence(text []byte) (stream.Sequence, error) {
	s, err := stream.ParseSequence(unsafe.String(unsafe.SliceData(text), len(text)))
	if err == nil && s.Sub() != 0 {
		err = fmt.Errorf("sequence number %q has a sub-sequence", text)
	}
	return s, err
}

func (d *decoder) text() string {
	if d.r.Null() {
		return ""
	}
	return string(d.r.Text())
}

// list reads a list of which no item is null.
func list[T any](d *decoder, item func() T) (items []T) {
	if d.r.Null() {
		return nil
	}
	for d.r.Array(); d.r.Item(); {
		items = append(items, item())
	}
	return items
}

func (d *decoder) child() stream.Shard {
	var c types.ChildShard
	for d.r.Object(); d.r.Member(); {
		switch string(d.r.Key()) {
		case "ShardId":
			c.ShardId = aws.String(d.text())
		case "ParentShards":
			c.ParentShards = list(d, d.text)
		case "HashKeyRange":
			c.HashKeyRange = d.hashRange()
		default:
			d.r.Skip()
		}
	}
	shard, err := childOf(&c)
	if err != nil {
		d.fail("%w", err)
	}
	return shard
}

func (d *decoder) hashRange() *types.HashKeyRange {
	var r types.HashKeyRange
	for d.r.Object(); d.r.Member(); {
		switch string(d.r.Key()) {
		case "StartingHashKey":
			r.StartingHashKey = aws.String(d.text())
		case "EndingHashKey":
			r.EndingHashKey = aws.String(d.text())
		default:
			d.r.Skip()
		}
	}
	return &r
}

// pageOf makes a page of what the SDK decoded.
func pageOf(out *sdk.GetRecordsOutput) (*page, error) {
	p := newPage()
	p.next = aws.ToString(out.NextShardIterator)
	p.behind = millis(aws.ToInt64(out.MillisBehindLatest))
	rest := 0
	for i := range out.Records {
		rest += len(out.Records[i].Data) + len(aws.ToString(out.Records[i].PartitionKey))
	}
	for i := range out.Records {
		r := &out.Records[i]
		e := entry{arrival: unknown}
		var err error
		if e.seq, err = sequence([]byte(aws.ToString(r.SequenceNumber))); err != nil {
			p.release()
			return nil, fmt.Errorf("record %d: %w", i, err)
		}
		if r.ApproximateArrivalTimestamp != nil {
			e.arrival = r.ApproximateArrivalTimestamp.UnixMilli()
		}
		key := aws.ToString(r.PartitionKey)
		e.key, e.data = uint32(len(key)), uint32(len(r.Data))
		room := p.add(&e, e.size(), rest)
		copy(room[copy(room, key):], r.Data)
		p.put(&e)
		rest -= e.size()
	}
	for i := range out.ChildShards {
		child, err := childOf(&out.ChildShards[i])
		if err != nil {
			p.release()
			return nil, err
		}
		p.children = append(p.children, child)
	}
	return p, nil
}

// millis returns that many milliseconds: none if less, and no more than a century.
func millis(n int64) time.Duration {
	const most = 100 * 365 * 24 * time.Hour / time.Millisecond
	return time.Duration(min(max(n, 0), int64(most))) * time.Millisecond
}
