package lease

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/millrace/millrace/stream"
)

func TestABlockedSetIsSmallAndNamesWhatWaitsLongest(t *testing.T) {
	at := time.Date(2026, 11, 23, 4, 5, 6, 7, time.UTC)
	var all []Blocked
	for i := range 9 {
		all = append(all, Blocked{
			Key: strings.Repeat("k", i+1), What: "process records", Record: stream.MakeSequence(0, 0, 7),
			Since: at.Add(-time.Duration(i) * time.Minute), Attempts: i + 1, Err: "no\n" + strings.Repeat("é", 1000),
		})
	}
	set := NewBlockedSet(all...)
	longest, more := set.Longest()
	if len(longest) != 3 || more != 6 || longest[0].Key != all[8].Key || longest[0].Attempts != 9 || longest[0].Record != all[0].Record {
		t.Errorf("%+v and %d more", longest, more)
	}
	if err := longest[0].Err; !strings.HasPrefix(err, "no ééé") || len(err) > 130 || !utf8.ValidString(err) {
		t.Errorf("error %q", err)
	}
	if len(set) > 900 {
		t.Errorf("it has %d bytes", len(set))
	}
	if again := NewBlockedSet(all...); again != set {
		t.Error("the same set is another value")
	}
	if NewBlockedSet() != "" {
		t.Error("the empty set is not empty")
	}
	for _, bad := range []BlockedSet{"", "{", `{"longest":7}`} {
		if longest, more := bad.Longest(); len(longest) != 0 || more != 0 {
			t.Errorf("%q: %v, %d", bad, longest, more)
		}
	}
}

func TestWhatIsBlockedIsToldOnOneLine(t *testing.T) {
	b := Blocked{What: "process records", Record: stream.MakeSequence(0, 0, 7), Since: time.UnixMilli(0), Attempts: 17, Err: "out of stock"}
	if got, want := b.String(), "blocked on record 7 since 1970-01-01T00:00:00Z: process records failed 17 times: out of stock"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	b.Last, b.Records = stream.MakeSequence(0, 0, 43), 37
	if got, want := b.String(), "blocked on a batch of 37, from 7 to 43 since 1970-01-01T00:00:00Z: process records failed 17 times: out of stock"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	b.Last, b.Records = stream.Sequence{}, 0
	b.Record, b.What, b.Attempts = stream.Sequence{}, "open the shard", 1
	if got, want := b.String(), "blocked since 1970-01-01T00:00:00Z: open the shard failed once: out of stock"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWhatHasNotReturnedIsToldOnOneLine(t *testing.T) {
	b := Blocked{What: "process records", Record: stream.MakeSequence(0, 0, 7), Since: time.UnixMilli(0)}
	if got, want := b.String(), "processing since 1970-01-01T00:00:00Z, from record 7 on: process records has not returned"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	b.Record, b.What = stream.Sequence{}, "initialize"
	if got, want := b.String(), "processing since 1970-01-01T00:00:00Z: initialize has not returned"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestABeatCarriesWhatIsBlocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := NewMemory()
		a, key, h := holdOne(t, &puppet{Store: store})
		beat := func() Member {
			t.Helper()
			if err := a.beatOnce(t.Context()); err != nil {
				t.Fatal(err)
			}
			m, _ := memberRow(t, store, a.me)
			return m
		}
		h.SetBlocked(Blocked{What: "process records", Since: time.Now(), Attempts: 2, Err: "no"})
		longest, _ := beat().Blocked.Longest()
		if len(longest) != 1 || longest[0].Key != key || longest[0].Attempts != 2 {
			t.Errorf("the row has %+v", longest)
		}
		a.Coordinator.session.Store(a.session)
		if got := a.Status().Leases[0].Blocked; got.Attempts != 2 {
			t.Errorf("the coordinator's status has %+v", got)
		}
		fleet, err := NewObserver(store, testF).Look(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := fleet.Shards[0].String(); !strings.HasPrefix(got, "1: blocked since ") || !strings.HasSuffix(got, "process records failed 2 times: no, held by "+a.me) {
			t.Errorf("the fleet's status has %q", got)
		}
		h.SetBlocked(Blocked{})
		if got := beat().Blocked; got != "" {
			t.Errorf("when it goes on, the row has %q", got)
		}
	})
}
