package lease

import stdheap "container/heap"

// heap keeps bins so that the first by its order is at the top. A bin may be
// in several heaps; place says which of its places this one uses.
type heap struct {
	bins  []*bin
	place int
	less  func(a, b *bin) bool
}

// newHeap returns the heap of those bins that are not full, or of all when it
// is for taking leases away.
func newHeap(place int, less func(a, b *bin) bool, bins []*bin) *heap {
	h := &heap{place: place, less: less}
	for _, b := range bins {
		if place != inHeaviest && b.full() {
			b.at[place] = -1
			continue
		}
		b.at[place] = len(h.bins)
		h.bins = append(h.bins, b)
	}
	stdheap.Init(h)
	return h
}

// top returns the first bin, or nil.
func (h *heap) top() *bin {
	if len(h.bins) == 0 {
		return nil
	}
	return h.bins[0]
}

// first returns the first bin that suits, or nil. It looks at all of them when
// the one at the top does not.
func (h *heap) first(suits func(*bin) bool) (found *bin) {
	if b := h.top(); b == nil || suits(b) {
		return b
	}
	for _, b := range h.bins {
		if suits(b) && (found == nil || h.less(b, found)) {
			found = b
		}
	}
	return found
}

// fix restores the order after a bin changed. Bins that are not in the heap
// are left alone.
func (h *heap) fix(b *bin) {
	if h.holds(b) {
		stdheap.Fix(h, b.at[h.place])
	}
}

// remove takes a bin out, if it is there.
func (h *heap) remove(b *bin) {
	if h.holds(b) {
		stdheap.Remove(h, b.at[h.place])
	}
}

func (h *heap) holds(b *bin) bool {
	at := b.at[h.place]
	return at >= 0 && at < len(h.bins) && h.bins[at] == b
}

// Len, Less, Swap, Push and Pop are what container/heap asks for.

func (h *heap) Len() int           { return len(h.bins) }
func (h *heap) Less(i, j int) bool { return h.less(h.bins[i], h.bins[j]) }
func (h *heap) Swap(i, j int) {
	h.bins[i], h.bins[j] = h.bins[j], h.bins[i]
	h.bins[i].at[h.place], h.bins[j].at[h.place] = i, j
}

func (h *heap) Push(x any) {
	b := x.(*bin)
	b.at[h.place] = len(h.bins)
	h.bins = append(h.bins, b)
}

func (h *heap) Pop() any {
	last := len(h.bins) - 1
	b := h.bins[last]
	b.at[h.place] = -1
	h.bins = h.bins[:last]
	return b
}
