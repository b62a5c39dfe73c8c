package kinesis

import (
	"math"
	"slices"
	"sync"
	"time"
	"unsafe"

	"github.com/millrace/millrace/internal/unset"
	"github.com/millrace/millrace/stream"
)

// page is what one GetRecords gave. Keys and payloads lie in chunks of their
// own, one record behind the other, where they stay for as long as somebody
// keeps a record; the answer that they came in is gone by then. So what a batch
// keeps alive is little more than its records, however large the page was.
type page struct {
	entries []entry
	chunks  [][]byte // full but for the last; nil when all of theirs was given
	given   int      // how many of entries were
	bytes   int      // of what was not

	next     string        // the iterator with which to go on; "" at the shard's end
	behind   time.Duration // how far the last entry is behind the newest
	children []stream.Shard
}

// entry is where a record lies: its key first, and its payload behind. There
// are no pointers in it, so that pages of thousands cost the garbage collector
// nothing.
type entry struct {
	seq     stream.Sequence
	arrival int64 // Unix ms, or unknown
	chunk   uint32
	at      uint32
	key     uint32 // how long it is
	data    uint32
}

// unknown is the arrival of a record that has none.
const unknown = math.MinInt64

func (e *entry) size() int { return int(e.key + e.data) }

// chunkBytes is how large chunks are. A batch keeps a part of two that it does
// not need.
const chunkBytes = 128 << 10

var entries = sync.Pool{New: func() any { return new([]entry) }}

func newPage() *page { return &page{entries: (*entries.Get().(*[]entry))[:0]} }

// release gives back what no record needs.
func (p *page) release() {
	if own := p.entries; own != nil {
		entries.Put(&own)
	}
	*p = page{next: p.next, behind: p.behind, children: p.children}
}

// left returns how many entries are still to be given.
func (p *page) left() int { return len(p.entries) - p.given }

// add makes room for a record of at most key+data bytes. rest is about what
// will be added from now on, this record included: a page of few records does
// not take a chunk for many. The caller fills the room, says in e how much it
// took, and puts e into entries.
func (p *page) add(e *entry, most, rest int) []byte {
	n := len(p.chunks)
	if n == 0 || cap(p.chunks[n-1])-len(p.chunks[n-1]) < most {
		p.chunks = append(p.chunks, unset.Bytes(max(most, min(rest, chunkBytes)))[:0])
		n++
	}
	last := p.chunks[n-1]
	e.chunk, e.at = uint32(n-1), uint32(len(last))
	return last[len(last) : len(last)+most : len(last)+most]
}

// put ends what add began.
func (p *page) put(e *entry) {
	last := &p.chunks[e.chunk]
	*last = (*last)[:len(*last)+e.size()]
	p.entries = append(p.entries, *e)
	p.bytes += e.size()
}

// skip leaves out the records that lie before a position.
func (p *page) skip(from stream.Position, since int64) {
	for p.given < len(p.entries) {
		e := &p.entries[p.given]
		if !from.Includes(e.seq) && (since == 0 || e.arrival >= since || e.arrival == unknown) {
			break
		}
		p.bytes -= e.size()
		p.given++
	}
}

// fill moves as much into b as its limits allow, one record at least.
func (p *page) fill(b *stream.Batch) {
	records, bytes := len(p.entries)-p.given, 0
	if b.MaxRecords > 0 {
		records = min(records, b.MaxRecords)
	}
	give := p.entries[p.given : p.given+records]
	for i := range give {
		size := give[i].size()
		if i > 0 && b.MaxBytes > 0 && bytes+size > b.MaxBytes {
			give = give[:i]
			break
		}
		bytes += size
	}
	first, last := give[0].chunk, give[len(give)-1].chunk
	footprint := 0
	for _, c := range p.chunks[first : last+1] {
		footprint += cap(c)
	}
	var own []byte
	if b.MaxFootprint > 0 && footprint > max(b.MaxFootprint, 2*bytes) {
		own = unset.Bytes(bytes)[:0]
		footprint = cap(own)
	}
	b.Records = slices.Grow(b.Records, len(give))
	for i := range give {
		e := &give[i]
		memory := p.chunks[e.chunk][e.at : e.at+e.key+e.data]
		if own != nil {
			own = append(own, memory...)
			memory = own[len(own)-len(memory):]
		}
		b.Records = append(b.Records, e.record(memory))
	}
	clear(p.chunks[first:last])
	b.Bytes, b.Footprint = bytes, max(footprint, bytes)
	p.given += len(give)
	p.bytes -= bytes
	b.Behind = p.behind
	if p.left() > 0 {
		b.Behind += p.after(give[len(give)-1].arrival)
	}
}

// after returns how long after that arrival the last record of the page came:
// something, for whoever has not got it.
func (p *page) after(arrival int64) time.Duration {
	last := p.entries[len(p.entries)-1].arrival
	if arrival == unknown || last == unknown {
		return time.Millisecond
	}
	return max(time.Duration(last-arrival)*time.Millisecond, time.Millisecond)
}

// record returns the record whose key and payload memory is.
func (e *entry) record(memory []byte) stream.Record {
	r := stream.Record{
		Sequence:     e.seq,
		PartitionKey: unsafe.String(unsafe.SliceData(memory), e.key),
		Data:         memory[e.key:len(memory):len(memory)],
	}
	if e.arrival != unknown {
		r.Arrival = time.UnixMilli(e.arrival)
	}
	return r
}
