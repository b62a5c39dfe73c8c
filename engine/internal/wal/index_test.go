package wal

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// The index is held against a plain slice that does the same.
func TestAnIndexFindsWhatASliceFinds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var x index
		var all []entry
		counter, ms := uint64(1), int64(1000)
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				for range rapid.IntRange(1, 300).Draw(t, "n") {
					counter += rapid.Uint64Range(0, 2).Draw(t, "hole")
					ms += rapid.Int64Range(0, 3).Draw(t, "ms")
					e := entry{first: counter, base: ms, count: uint16(rapid.IntRange(1, 3).Draw(t, "count")), span: 1}
					counter, ms = e.last()+1, e.newest()
					x.append(e)
					all = append(all, e)
				}
			},
			"dropOldest": func(t *rapid.T) {
				for range min(len(all), rapid.IntRange(0, 300).Draw(t, "n")) {
					x.dropOldest()
					all = all[1:]
				}
			},
			"cut": func(t *rapid.T) {
				first := rapid.Uint64Range(0, counter).Draw(t, "first")
				r := Range{first, first + 5}
				x.cut(r, func(*entry) {})
				all = slices.DeleteFunc(all, func(e entry) bool { return e.first <= r.Last && e.last() >= r.First })
			},
			"": func(t *rapid.T) {
				if x.empty() != (len(all) == 0) {
					t.Fatal("empty or not")
				}
				if len(all) > 0 && (*x.oldest() != all[0]) {
					t.Fatal("another oldest")
				}
				find := func(want func(entry) bool) []entry {
					i := slices.IndexFunc(all, want)
					if i < 0 {
						return nil
					}
					return all[i:min(len(all), i+40)]
				}
				next := rapid.Uint64Range(0, counter+1).Draw(t, "next")
				got := x.from(next, make([]entry, 0, 40))
				if want := find(func(e entry) bool { return e.last() >= next }); !slices.Equal(got, want) {
					t.Fatalf("from %d: %v, want %v", next, got, want)
				}
				last := uint64(0)
				for _, e := range all {
					if e.first < next {
						last = e.last()
					}
				}
				if got := x.lastBefore(next); got != last {
					t.Fatalf("last before %d: %d, want %d", next, got, last)
				}
				since := rapid.Int64Range(999, ms+2).Draw(t, "since")
				got = x.fromTime(since, make([]entry, 0, 40))
				if want := find(func(e entry) bool { return e.newest() >= since }); !slices.Equal(got, want) {
					t.Fatalf("from time %d: %v, want %v", since, got, want)
				}
			},
		})
	})
}
