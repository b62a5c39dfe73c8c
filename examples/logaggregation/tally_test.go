package main

import (
	"path/filepath"
	"sync"
	"testing"
)

func newTally(t *testing.T) *tally {
	t.Helper()
	tl, err := openTally(t.Context(), filepath.Join(t.TempDir(), "tally.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tl.close(); err != nil {
			t.Error(err)
		}
	})
	return tl
}

// lines returns the lines first to last of a source.
func lines(source, first, last int64) (lines []numbered) {
	for n := first; n <= last; n++ {
		lines = append(lines, numbered{source, n, []byte("2026-11-01 06:12:01 startup archives unpack")})
	}
	return lines
}

func TestALineIsCountedOnceHoweverOftenItComes(t *testing.T) {
	tl := newTally(t)
	for i, c := range []struct {
		shard string
		lines []numbered
		want  counted
	}{
		{"a", lines(1, 1, 10), counted{10, 0}},
		{"a", lines(1, 1, 10), counted{0, 10}},                              // delivered again
		{"a", lines(1, 6, 15), counted{5, 5}},                               // a part of it is new
		{"a", lines(2, 1, 3), counted{3, 0}},                                // another source has numbers of its own
		{"b", lines(1, 1, 2), counted{2, 0}},                                // and so has another shard
		{"a", append(lines(1, 16, 17), lines(1, 14, 18)...), counted{3, 4}}, // put again
		{"a", lines(2, 1, 4), counted{1, 3}},
	} {
		got, err := tl.add(t.Context(), c.shard, c.lines, now)
		if err != nil {
			t.Fatal(err)
		}
		if got != c.want {
			t.Errorf("step %d: %+v, want %+v", i, got, c.want)
		}
	}
	_, counted, err := tl.totals(t.Context())
	if err != nil || counted != 24 {
		t.Errorf("%d lines are counted, want 24 (%v)", counted, err)
	}
	entries, err := tl.entries(t.Context())
	if err != nil || len(entries) != 1 || entries[0].format != Dpkg || entries[0].label != "startup" || entries[0].lines != 24 {
		t.Errorf("%+v, %v", entries, err)
	}
}

func TestAFormerHolderCountsNothingTwice(t *testing.T) {
	tl := newTally(t)
	var wg sync.WaitGroup
	for range 4 { // all believe that the shard is theirs
		wg.Go(func() {
			for n := int64(1); n <= 100; n += 10 {
				if _, err := tl.add(t.Context(), "a", lines(1, n, n+9), now); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if _, counted, err := tl.totals(t.Context()); err != nil || counted != 100 {
		t.Errorf("%d lines are counted, want 100 (%v)", counted, err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(numbered{1, 2, []byte("text")}.encode())
	f.Add([]byte{})
	f.Add([]byte{0xff})
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := decode(data)
		if err != nil {
			return
		}
		again, err := decode(n.encode())
		if err != nil || again.source != n.source || again.line != n.line || string(again.text) != string(n.text) {
			t.Fatalf("%+v is decoded as %+v, %v", n, again, err)
		}
	})
}
