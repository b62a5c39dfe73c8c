package sqlite

import (
	"errors"
	"slices"
	"testing"

	"github.com/millrace/millrace/lease"
)

// A child whose parent came back under another name would not wait for it.
func TestNamesComeBackAsTheyWereOrAreRefused(t *testing.T) {
	s := open(t, file(t), Config{Application: "app"})
	ctx := t.Context()
	fine := lease.Lease{Key: "a\x00b", Owner: "\xff", Counter: 1, Parents: []string{"\x00", "<é>\u2028"}, Children: []string{"\ufffd"}}
	if err := s.Create(ctx, fine); err != nil {
		t.Fatal(err)
	}
	got := rowOf(t, s, fine.Key)
	if got.Key != fine.Key || got.Owner != fine.Owner || !slices.Equal(got.Parents, fine.Parents) || !slices.Equal(got.Children, fine.Children) {
		t.Errorf("got %+v, want %+v", got, fine)
	}
	db := users(t, pathOf(t, s), immediate)
	for what, bad := range map[string]lease.Lease{
		"key": {Key: "\xff"}, "parent": {Key: "p", Parents: []string{"x", "\xff"}}, "child": {Key: "c", Children: []string{"a\xed\xa0\x80"}},
	} {
		if err := s.Create(ctx, bad); !errors.Is(err, ErrText) {
			t.Errorf("create with such a %s: got error %v, want %v", what, err, ErrText)
		}
		if _, err := s.Swap(ctx, bad, bad); !errors.Is(err, ErrText) {
			t.Errorf("swap with such a %s: got error %v, want %v", what, err, ErrText)
		}
		tx := begin(t, db)
		if _, err := s.SwapIn(ctx, tx, bad, bad); !errors.Is(err, ErrText) {
			t.Errorf("swap in a transaction with such a %s: got error %v, want %v", what, err, ErrText)
		}
		if err := tx.Rollback(); err != nil {
			t.Error(err)
		}
	}
	if rows, err := s.Read(ctx, "a", "\xff"); !errors.Is(err, ErrText) {
		t.Errorf("read: %+v, error %v, want %v", rows, err, ErrText)
	}
}

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
