package lease

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/millrace/millrace/stream"
)

// Whatever stands in a note, reading it does no harm, and what is understood is
// written in the same way again.
func FuzzNotes(f *testing.F) {
	for _, n := range notesOf(
		pausing(), pausing("s"), pausing("s/%2f", "1"), Action{Kind: ActionDrain, Worker: "a/b"},
		Action{Kind: ActionSeek, Scope: Scope{"s", "1"}, To: after(7), Reason: "why"},
		Action{Kind: ActionSeek, To: stream.AtTime(time.UnixMilli(1))},
	) {
		f.Add(n.Name, n.Value)
	}
	f.Add("pause", `{"kind":"pause","scope":{"shard":"1"}}`)
	rows := []Lease{leaseOf("1", "a", after(1)), leaseOf("1.1", "", stream.TrimHorizon, "1")}
	f.Fuzz(func(t *testing.T, name, value string) {
		if name == deedsNote {
			return
		}
		o, err := ordersIn([]Note{{Name: name, Version: 1, Value: value}})
		if n := len(o.holds) + len(o.drains); (err == nil) != (n == 1) {
			t.Fatalf("%d orders, error %v", n, err)
		}
		o.paused(rows)
		o.drained(fleet("a"))
		order, err := orderIn(Note{Name: name, Value: value})
		if err != nil {
			return
		}
		_ = order.String()
		again, err := orderIn(order.note())
		if err != nil || again != order && !again.Since.Equal(order.Since) {
			t.Fatalf("%q: got %+v, %v, want %+v", value, again, err, order)
		}
	})
}

// What stands in the note of the deeds goes on to take others, and stays bounded.
func FuzzDeeds(f *testing.F) {
	d := Deed{Action: Action{Kind: ActionSeek, Scope: Scope{"s", "1"}, To: after(7), Reason: "why"}, Actor: "ada", At: time.UnixMilli(5).UTC(), Shards: 1}
	f.Add(withDeed(Note{}, d).Value)
	f.Add(`[{"kind":"pause","err":"x"},null]`)
	f.Fuzz(func(t *testing.T, text string) {
		n := Note{Name: deedsNote, Version: 3, Value: text}
		before, _ := deedsIn(n)
		for _, d := range before {
			_ = d.String()
		}
		next := withDeed(n, d)
		after, err := deedsIn(next)
		if err != nil || len(after) == 0 || len(after) > mostDeeds || !after[len(after)-1].same(d) || len(next.Value) > deedsSize {
			t.Fatalf("%q: got %q, %v", text, next.Value, err)
		}
	})
}

func FuzzBlockedSet(f *testing.F) {
	f.Add(string(NewBlockedSet(Blocked{Key: "k", What: "w", Record: stream.MakeSequence(1, 2, 3), Since: time.UnixMilli(1), Attempts: 1, Err: "e"})))
	f.Fuzz(func(t *testing.T, text string) {
		longest, _ := BlockedSet(text).Longest()
		for _, b := range longest {
			_ = b.String()
		}
		if set := NewBlockedSet(longest...); len(longest) > 0 && set == "" {
			t.Fatal("nothing is left")
		}
	})
}

// The record of an undo comes from a file that people may have edited.
func FuzzChange(f *testing.F) {
	c := Change{
		Action: Action{Kind: ActionSeek, Scope: Scope{"s", "1"}, To: after(2)}, Actor: "ada", At: time.UnixMilli(5),
		Notes:  []NoteChange{{After: Note{Name: "pause", Version: 5, Value: "{}"}}},
		Leases: []LeaseChange{{leaseOf("1", "a", after(5)), leaseOf("1", "", after(2))}},
	}
	text, err := json.Marshal(c)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		var c Change
		if json.Unmarshal(text, &c) != nil {
			return
		}
		for _, l := range c.Leases {
			_ = l.String()
			state, err := l.unsought(l.After)
			if err == nil && !sameState(state, l.Before.Checkpoint) {
				t.Fatalf("%+v is undone to %+v", l, state)
			}
			_, _ = l.unmoved(l.After, map[string]bool{l.Before.Owner: true})
		}
		for _, n := range c.Notes {
			_, _, _ = n.reverse(n.After)
		}
	})
}
