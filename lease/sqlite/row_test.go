package sqlite

import (
	"slices"
	"testing"
)

func FuzzListsComeBackAsTheyWere(f *testing.F) {
	f.Add("shardId-1", "shardId-2")
	f.Add("", `"],["`)
	f.Add("a,b", "<é>\u2028")
	f.Fuzz(func(t *testing.T, a, b string) {
		ids := []string{a, b}
		text := list(ids)
		got, err := parseList(text)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		// JSON has no way to say what is no UTF-8.
		for i := range ids {
			ids[i] = string([]rune(ids[i]))
		}
		if !slices.Equal(got, ids) {
			t.Fatalf("%q came back from %q as %q", ids, text, got)
		}
	})
}

func FuzzAnyTextOfAListIsReadOrRefused(f *testing.F) {
	for _, text := range []string{"", "[]", "[", "null", "{}", `["a"]`, `[1]`, `[[]]`, " []"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ids, err := parseList(text)
		if err != nil {
			return
		}
		if again, err := parseList(list(ids)); err != nil || !slices.Equal(again, ids) {
			t.Fatalf("%q was read as %q, and that as %q, error %v", text, ids, again, err)
		}
	})
}
