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
				var lost []Range
				for range rapid.IntRange(1, 4).Draw(t, "n") {
					first := rapid.Uint64Range(0, counter).Draw(t, "first")
					lost = append(lost, Range{first, first + rapid.SampledFrom([]uint64{0, 5, 1000}).Draw(t, "length")})
				}
				gone := map[entry]bool{}
				x.cut(Merge(slices.Clone(lost)), func(e *entry) { gone[*e] = true })
				all = slices.DeleteFunc(all, func(e entry) bool {
					hit := slices.ContainsFunc(lost, func(r Range) bool { return e.first <= r.Last && e.last() >= r.First })
					if hit != gone[e] {
						t.Fatalf("%+v is cut: %v, and is in %v: %v", e, gone[e], lost, hit)
					}
					return hit
				})
				if x.len() != len(all) {
					t.Fatalf("%d entries, want %d", x.len(), len(all))
				}
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

// An append waits while a loss is cut out of an index, which may be large.
func TestALossIsCutOutOfAnIndexWithoutTouchingTheRest(t *testing.T) {
	var x index
	for i := range uint64(100 * indexPage) {
		x.append(entry{first: i + 1, count: 1})
	}
	before := slices.Clone(x.recent.pages)
	var lost []Range
	for i := range uint64(indexPage) {
		lost = append(lost, Range{10*indexPage + 1 + 2*i, 10*indexPage + 1 + 2*i}) // every other one of two pages
	}
	n := 0
	x.cut(lost, func(*entry) { n++ })
	for i, page := range x.recent.pages {
		if i != 10 && i != 11 && (&page[0] != &before[i][0] || len(page) != indexPage) {
			t.Errorf("page %d of the index was copied", i)
		}
	}
	if n != indexPage || x.len() != 99*indexPage {
		t.Errorf("%d blocks were cut, %d are left", n, x.len())
	}
}

func TestRunsOfCountersAreMerged(t *testing.T) {
	for _, test := range []struct{ all, want []Range }{
		{nil, nil},
		{[]Range{{5, 6}, {1, 2}}, []Range{{1, 2}, {5, 6}}},
		{[]Range{{3, 4}, {1, 2}, {6, 7}}, []Range{{1, 4}, {6, 7}}},
		{[]Range{{1, 9}, {2, 3}, {9, 10}}, []Range{{1, 10}}},
		{[]Range{{1, 2}, {1, 2}}, []Range{{1, 2}}},
	} {
		if got := Merge(slices.Clone(test.all)); !slices.Equal(got, test.want) {
			t.Errorf("%v become %v, want %v", test.all, got, test.want)
		}
	}
}
