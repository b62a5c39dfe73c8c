package leasetest

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
)

// event is one call on a row whose versions only grow, as somebody saw it.
type event struct {
	// began and ended order the calls in time: a call that ended before
	// another began has smaller numbers.
	began, ended int64
	// wrote tells a swap that won from a read, or a swap that lost.
	wrote bool
	// before is the version that a swap, won or lost, asked for; 0 for a read.
	before int64
	// version and value are of the row that was returned.
	version int64
	value   string
	// silent tells a swap that had no answer, so that it took place once or never,
	// and perhaps later: value is what it wrote then.
	silent bool
}

// timeline gives events their order.
type timeline struct{ now atomic.Int64 }

func (t *timeline) tick() int64 { return t.now.Add(1) }

// checkHistory returns an error unless the calls, which may have overlapped,
// can be put into one order in which each is right, and which is not against
// their order in time: unless the row is linearizable.
//
// Versions make that simple, where it is a hard problem in general: the order
// can only be that of the versions, each write before what saw it. first and
// value are the row at the beginning.
func checkHistory(first int64, value string, events []event) error {
	events = settled(events)
	values := map[int64]string{first: value}
	last := first
	for _, e := range events {
		if !e.wrote {
			continue
		}
		if e.version != e.before+1 {
			return fmt.Errorf("a swap from version %d gave version %d", e.before, e.version)
		}
		if other, twice := values[e.version]; twice {
			return fmt.Errorf("two swaps won version %d: %q and %q", e.version, other, e.value)
		}
		values[e.version] = e.value
		last = max(last, e.version)
	}
	if int64(len(values)) != last-first+1 {
		return fmt.Errorf("%d versions were won, but the last is %d after %d", len(values)-1, last, first)
	}
	for _, e := range events {
		if v, ok := values[e.version]; !ok || v != e.value {
			return fmt.Errorf("version %d was seen as %q, and written as %q", e.version, e.value, v)
		}
		if !e.wrote && e.before != 0 && e.version <= e.before {
			return fmt.Errorf("a swap from version %d was refused by version %d", e.before, e.version)
		}
	}

	// Nobody sees less than what was known before he asked.
	byEnd := slices.SortedFunc(slices.Values(events), func(a, b event) int { return cmp.Compare(a.ended, b.ended) })
	byBegin := slices.SortedFunc(slices.Values(events), func(a, b event) int { return cmp.Compare(a.began, b.began) })
	known := first
	for _, e := range byBegin {
		for len(byEnd) > 0 && byEnd[0].ended < e.began {
			known = max(known, byEnd[0].version)
			byEnd = byEnd[1:]
		}
		if e.version < known {
			return fmt.Errorf("version %d was seen after version %d", e.version, known)
		}
		if e.wrote && e.version == known {
			return fmt.Errorf("version %d was seen before it was written", e.version)
		}
	}
	return nil
}

// settled returns the events that had an answer, and those without that took place: of
// which somebody saw what they wrote; or else, of those that asked for a version which
// others passed and nobody saw, the one that began first.
func settled(events []event) []event {
	var known, silent []event
	var last int64
	won, values := map[int64]bool{}, map[int64]string{}
	for _, e := range events {
		if e.silent {
			silent = append(silent, e)
			continue
		}
		known = append(known, e)
		last = max(last, e.version)
		won[e.version] = won[e.version] || e.wrote
		values[e.version] = e.value
	}
	slices.SortFunc(silent, func(a, b event) int { return cmp.Compare(a.began, b.began) })
	for _, e := range silent {
		e.version = e.before + 1
		if value, seen := values[e.version]; e.version <= last && !won[e.version] && (!seen || value == e.value) {
			won[e.version] = true
			e.wrote, e.ended = true, math.MaxInt64
			known = append(known, e)
		}
	}
	return known
}
