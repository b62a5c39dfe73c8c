package wal

import (
	"slices"
	"sort"
)

// entry tells where a block of a shard lies. 32 bytes.
type entry struct {
	first uint64 // counter of the first record
	pos   Pos
	base  int64  // arrival of the first record, Unix ms
	size  uint32 // payload without padding
	count uint16
	span  uint16 // arrival of the last record after base, ms
}

func (e *entry) last() uint64  { return e.first + uint64(e.count) - 1 }
func (e *entry) newest() int64 { return e.base + int64(e.span) }
func (e *entry) length() int64 { return headerSize + int64(pad8(int(e.size))) }

// index is a shard's blocks in order: those that lie in closed files, and behind
// them those in the log.
type index struct{ stored, recent entries }

func (x *index) empty() bool { return x.stored.empty() && x.recent.empty() }

func (x *index) len() int { return x.stored.len() + x.recent.len() }

// last returns the counter of the last record, 0 when the index is empty.
func (x *index) last() uint64 {
	if !x.recent.empty() {
		return x.recent.last()
	}
	return x.stored.last()
}

// append adds a block of the log.
func (x *index) append(e entry) { x.recent.add(&e) }

// part returns the entries that hold the first one; the index must not be empty.
func (x *index) part() *entries {
	if !x.stored.empty() {
		return &x.stored
	}
	return &x.recent
}

// oldest returns the first entry; the index must not be empty.
func (x *index) oldest() *entry { return x.part().oldest() }

// dropOldest removes the first entry.
func (x *index) dropOldest() { x.part().dropOldest() }

// from appends to dst the entries that hold the counter next or a greater one,
// until dst is full.
func (x *index) from(next uint64, dst []entry) []entry {
	return x.recent.from(next, x.stored.from(next, dst))
}

// fromTime appends to dst the entries that hold records of that arrival or a
// later one, until dst is full.
func (x *index) fromTime(ms int64, dst []entry) []entry {
	return x.recent.fromTime(ms, x.stored.fromTime(ms, dst))
}

// lastBefore returns the last counter of the entries that begin before one, 0
// when there are none.
func (x *index) lastBefore(counter uint64) uint64 {
	return max(x.stored.lastBefore(counter), x.recent.lastBefore(counter))
}

// has reports whether a block is there, and where it was.
func (x *index) has(e entry) bool {
	var found [1]entry
	x.from(e.first, found[:0])
	return found[0] == e
}

// each calls f with every entry in order.
func (x *index) each(f func(*entry)) {
	x.stored.each(f)
	x.recent.each(f)
}

// cut removes the entries that hold a counter of the ranges, which are in order,
// and calls f with each.
func (x *index) cut(lost []Range, f func(*entry)) {
	x.stored.cut(lost, f)
	x.recent.cut(lost, f)
}

// entries is a run of blocks in order. It is kept in pages, so that a long one
// grows and shrinks without being copied as a whole.
type entries struct {
	pages   [][]entry
	dropped int // entries of the first page that are gone
}

const indexPage = 256

func (x *entries) empty() bool { return len(x.pages) == 0 }

func (x *entries) len() int {
	n := -x.dropped
	for _, page := range x.pages {
		n += len(page)
	}
	return n
}

// last returns the counter of the last record, 0 when there are none.
func (x *entries) last() uint64 {
	if x.empty() {
		return 0
	}
	page := x.pages[len(x.pages)-1]
	return page[len(page)-1].last()
}

func (x *entries) add(e *entry) {
	if n := len(x.pages); n > 0 && len(x.pages[n-1]) < indexPage {
		x.pages[n-1] = append(x.pages[n-1], *e)
		return
	}
	page := []entry{}
	if len(x.pages) > 0 {
		page = make([]entry, 0, indexPage)
	}
	x.pages = append(x.pages, append(page, *e))
}

// oldest returns the first entry; there must be one.
func (x *entries) oldest() *entry { return &x.pages[0][x.dropped] }

// dropOldest removes the first entry.
func (x *entries) dropOldest() {
	x.dropped++
	if x.dropped == len(x.pages[0]) {
		x.pages[0] = nil
		x.pages = x.pages[1:]
		x.dropped = 0
	}
}

// dropThrough removes the first entries as far as they lie in the log up to a
// generation, and calls f with each.
func (x *entries) dropThrough(gen uint64, f func(*entry)) {
	for !x.empty() && x.oldest().pos.gen() <= gen {
		f(x.oldest())
		x.dropOldest()
	}
}

// from appends to dst the entries that hold the counter next or a greater one,
// until dst is full.
func (x *entries) from(next uint64, dst []entry) []entry {
	p := sort.Search(len(x.pages), func(i int) bool {
		page := x.pages[i]
		return page[len(page)-1].last() >= next
	})
	return x.collect(p, func(e *entry) bool { return e.last() >= next }, dst)
}

// fromTime appends to dst the entries that hold records of that arrival or a
// later one, until dst is full.
func (x *entries) fromTime(ms int64, dst []entry) []entry {
	p := sort.Search(len(x.pages), func(i int) bool {
		page := x.pages[i]
		return page[len(page)-1].newest() >= ms
	})
	return x.collect(p, func(e *entry) bool { return e.newest() >= ms }, dst)
}

// collect appends entries to dst until it is full, beginning with the first
// one of page p that is wanted.
func (x *entries) collect(p int, wanted func(*entry) bool, dst []entry) []entry {
	skip := 0
	for first := true; p < len(x.pages) && len(dst) < cap(dst); p++ {
		page := x.pages[p]
		if p == 0 {
			skip = x.dropped
		}
		if first {
			skip += sort.Search(len(page)-skip, func(i int) bool { return wanted(&page[skip+i]) })
			first = false
		}
		n := min(len(page)-skip, cap(dst)-len(dst))
		dst = append(dst, page[skip:skip+n]...)
		skip = 0
	}
	return dst
}

// lastBefore returns the last counter of the entries that begin before one, 0
// when there are none.
func (x *entries) lastBefore(counter uint64) uint64 {
	p := sort.Search(len(x.pages), func(i int) bool { return x.pages[i][len(x.pages[i])-1].first >= counter })
	if p < len(x.pages) {
		page := x.pages[p]
		skip := 0
		if p == 0 {
			skip = x.dropped
		}
		if n := sort.Search(len(page)-skip, func(i int) bool { return page[skip+i].first >= counter }); n > 0 {
			return page[skip+n-1].last()
		}
	}
	if p == 0 {
		return 0
	}
	page := x.pages[p-1]
	return page[len(page)-1].last()
}

// each calls f with every entry in order.
func (x *entries) each(f func(*entry)) {
	for i, page := range x.pages {
		skip := 0
		if i == 0 {
			skip = x.dropped
		}
		for j := range page[skip:] {
			f(&page[skip+j])
		}
	}
}

// cut removes the entries that hold a counter of the ranges, which are in order,
// and calls f with each. Pages without any stay as they are: appends wait for it.
func (x *entries) cut(lost []Range, f func(*entry)) {
	pages := x.pages[:0]
	for i, page := range x.pages {
		skip := 0
		if i == 0 {
			skip, x.dropped = x.dropped, 0
		}
		page = page[skip:]
		if touches(lost, Range{page[0].first, page[len(page)-1].last()}) {
			page = slices.DeleteFunc(page, func(e entry) bool {
				gone := touches(lost, Range{e.first, e.last()})
				if gone {
					f(&e)
				}
				return gone
			})
		}
		if len(page) > 0 {
			pages = append(pages, page)
		}
	}
	clear(x.pages[len(pages):])
	x.pages = pages
}
