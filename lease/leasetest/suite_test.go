package leasetest

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// Walks fail on purpose here: nobody needs their shortest form, or a file.
	flag.Set("rapid.nofailfile", "true")
	flag.Set("rapid.shrinktime", "100ms")
	goleak.VerifyTestMain(m)
}

func TestAnUnbrokenStorePasses(t *testing.T) {
	Run(t, openUnbroken, unbrokenOptions)
}

func TestTheHistoryOfARowIsJudged(t *testing.T) {
	read := func(began, ended, version int64, value string) event {
		return event{began: began, ended: ended, version: version, value: value}
	}
	won := func(began, ended, version int64, value string) event {
		return event{began: began, ended: ended, wrote: true, before: version - 1, version: version, value: value}
	}
	lost := func(began, ended, before, version int64, value string) event {
		return event{began: began, ended: ended, before: before, version: version, value: value}
	}
	for _, c := range []struct {
		name   string
		right  bool
		events []event
	}{
		{"nothing happened", true, nil},
		{"one after the other", true, []event{read(1, 2, 5, "first"), won(3, 4, 6, "a"), read(5, 6, 6, "a"), lost(7, 8, 5, 6, "a")}},
		{"an overlapping read sees the old", true, []event{won(1, 4, 6, "a"), read(2, 3, 5, "first")}},
		{"an overlapping read sees the new", true, []event{won(1, 4, 6, "a"), read(2, 3, 6, "a")}},
		{"overlapping writes in either order", true, []event{won(1, 9, 7, "b"), won(2, 8, 6, "a")}},
		{"two winners of a version", false, []event{won(1, 2, 6, "a"), won(3, 4, 6, "b")}},
		{"a version that nobody won", false, []event{won(1, 2, 7, "a")}},
		{"a swap that skips", false, []event{{began: 1, ended: 2, wrote: true, before: 5, version: 7, value: "a"}}},
		{"a value that nobody wrote", false, []event{won(1, 2, 6, "a"), read(3, 4, 6, "b")}},
		{"a version from nowhere", false, []event{read(1, 2, 9, "z")}},
		{"a stale read", false, []event{won(1, 2, 6, "a"), read(3, 4, 5, "first")}},
		{"a read that goes back", false, []event{won(1, 9, 6, "a"), read(2, 3, 6, "a"), read(4, 5, 5, "first")}},
		{"a read before the write", false, []event{read(1, 2, 6, "a"), won(3, 4, 6, "a")}},
		{"a stale conflict", false, []event{won(1, 2, 6, "a"), won(3, 4, 7, "b"), lost(5, 6, 5, 6, "a")}},
		{"a conflict with nothing", false, []event{lost(1, 2, 5, 5, "first")}},
	} {
		if err := checkHistory(5, "first", c.events); (err == nil) != c.right {
			t.Errorf("%s: got error %v, want an error: %v", c.name, err, !c.right)
		}
	}
}
