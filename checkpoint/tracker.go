package checkpoint

import (
	"sync"

	"github.com/millrace/millrace/stream"
)

// Tracker knows, for one term on a shard, which records were delivered, which
// are in flight and which are done. It counts in spans, the runs of records
// that are delivered together, so that it costs nothing per record. Spans may
// be done in any order; the position moves when everything before it is done.
//
// Its methods may be called at the same time.
type Tracker struct {
	mu        sync.Mutex
	position  stream.Position
	delivered stream.Sequence
	any       bool
	first     uint64 // the number of spans[0]
	spans     []span // delivered and not yet behind position, in order
}

type span struct {
	last   stream.Sequence
	done   bool
	failed bool // its last attempt ended in an error, and no other one runs
}

// NewTracker starts where a checkpoint stands.
func NewTracker(from stream.Position) *Tracker { return &Tracker{position: from} }

// Deliver opens a span that ends with the record last, and returns its number
// for [Tracker.Done]. Spans are opened in the order of the shard; delivering
// again what was delivered before is a mistake of the caller.
func (t *Tracker) Deliver(last stream.Sequence) (n uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.delivered, t.any = last, true
	t.spans = append(t.spans, span{last: last})
	return t.first + uint64(len(t.spans)) - 1
}

// Failed says of an open span that an attempt at it has failed, and, with
// false, that another one begins.
func (t *Tracker) Failed(n uint64, failed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.span(n); s != nil {
		s.failed = failed
	}
}

// Shorten ends an open span at an earlier record: it and those before it are
// attempted alone. What is behind it is the next span's, which waits for its
// attempt.
func (t *Tracker) Shorten(n uint64, last stream.Sequence) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.span(n)
	if s == nil || s.done {
		return
	}
	if n-t.first == uint64(len(t.spans))-1 {
		t.spans = append(t.spans, span{last: s.last, failed: true})
		s = t.span(n)
	}
	s.last = last
}

// Done closes a span. Closing it twice changes nothing.
func (t *Tracker) Done(n uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.span(n)
	if s == nil {
		return
	}
	s.done = true
	k := 0
	for k < len(t.spans) && t.spans[k].done {
		k++
	}
	if k == 0 {
		return
	}
	t.position = stream.After(t.spans[k-1].last)
	t.first += uint64(k)
	t.spans = t.spans[:copy(t.spans, t.spans[k:])]
}

// span returns the span with that number, nil when it was never opened or lies
// behind the position. The caller holds mu.
func (t *Tracker) span(n uint64) *span {
	if n < t.first || n-t.first >= uint64(len(t.spans)) {
		return nil
	}
	return &t.spans[n-t.first]
}

// Position is the last position with everything at or before it done.
func (t *Tracker) Position() stream.Position {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.position
}

// Claimed is the last position with everything at or before it done or in the
// hands of the processor: what that may call done by its own word. It ends
// before a span that has failed and waits for its next attempt.
func (t *Tracker) Claimed() stream.Position {
	t.mu.Lock()
	defer t.mu.Unlock()
	claimed := t.position
	for _, s := range t.spans {
		if s.failed {
			break
		}
		claimed = stream.After(s.last)
	}
	return claimed
}

// Delivered returns the last record that was delivered; ok is false before the
// first one.
func (t *Tracker) Delivered() (last stream.Sequence, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.delivered, t.any
}
