package lease

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/stream"
)

// leaseOf returns the row of a shard of the stream s.
func leaseOf(id, owner string, at stream.Position, parents ...string) Lease {
	l := NewLease("s", "s:1", stream.Shard{ID: id, Parents: parents, Hash: stream.FullRange}, at)
	l.Owner = owner
	return l
}

// notesOf returns the notes of orders.
func notesOf(given ...Action) (notes []Note) {
	for i, a := range given {
		n := Order{Action: a, Actor: "ada", Since: time.UnixMilli(1_700_000_000_000)}.note()
		n.Version = int64(i + 1)
		notes = append(notes, n)
	}
	return notes
}

func pausing(scope ...string) Action {
	scope = append(scope, "", "")
	return Action{Kind: ActionPause, Scope: Scope{scope[0], scope[1]}}
}

func TestAPauseHoldsForItsScopeAndForWhatComesAfterItsShards(t *testing.T) {
	other := NewLease("other", "other:1", stream.Shard{ID: "1"}, after(3))
	rows := []Lease{
		leaseOf("1", "a", after(3)),
		leaseOf("2", "a", after(3)),
		leaseOf("3", "b", stream.ShardEnd),
		leaseOf("3.1", "b", stream.TrimHorizon, "3"),
		leaseOf("3.2", "b", after(1), "3"),
		leaseOf("3.2.1", "", stream.TrimHorizon, "3.2", "2"),
		leaseOf("9.1", "", stream.TrimHorizon, "9"), // its parent is retired
		other,
	}
	for _, test := range []struct {
		name  string
		given []Action
		want  string // shards of s, and "other"
	}{
		{"nothing is paused", nil, ""},
		{"the application", []Action{pausing()}, "1 2 3.1 3.2 3.2.1 9.1 other"},
		{"a stream", []Action{pausing("s")}, "1 2 3.1 3.2 3.2.1 9.1"},
		{"another stream", []Action{pausing("other")}, "other"},
		{"a shard", []Action{pausing("s", "1")}, "1"},
		{"a shard of the same name in another stream", []Action{pausing("other", "1")}, "other"},
		{"a shard whose child waits for it", []Action{pausing("s", "2")}, "2 3.2.1"},
		{"a shard that ended before it was stopped", []Action{pausing("s", "3")}, "3.1 3.2 3.2.1"},
		{"a shard that is gone", []Action{pausing("s", "9")}, "9.1"},
		{"two shards", []Action{pausing("s", "1"), pausing("s", "2")}, "1 2 3.2.1"},
		{"a shard that is sought", []Action{{Kind: ActionSeek, Scope: Scope{"s", "1"}, To: stream.TrimHorizon}}, "1"},
		{"a drain is no pause", []Action{{Kind: ActionDrain, Worker: "a"}}, ""},
	} {
		o, err := ordersIn(notesOf(test.given...))
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		var got []string
		for key := range o.paused(rows) {
			if key == other.Key {
				got = append(got, "other")
			} else {
				got = append(got, strings.TrimPrefix(key, "s:1/"))
			}
		}
		slices.Sort(got)
		if strings.Join(got, " ") != test.want {
			t.Errorf("%s: paused %v, want %s", test.name, got, test.want)
		}
	}
}

func TestACircleAmongParentsIsNoReasonToHang(t *testing.T) {
	o, err := ordersIn(notesOf(pausing("s", "x")))
	if err != nil {
		t.Fatal(err)
	}
	rows := []Lease{leaseOf("1", "", stream.TrimHorizon, "2"), leaseOf("2", "", stream.TrimHorizon, "1")}
	if got := o.paused(rows); len(got) != 0 {
		t.Errorf("paused %v", got)
	}
}

func TestADrainIsOfAllStartsOfItsWorker(t *testing.T) {
	o, err := ordersIn(notesOf(Action{Kind: ActionDrain, Worker: "a"}))
	if err != nil {
		t.Fatal(err)
	}
	members := append(fleet("a", "b"), Member{Incarnation: "a#2", Worker: "a"})
	if got := o.drained(members); !got["a"] || got["b"] || !got["a#2"] {
		t.Errorf("drained: %v", got)
	}
}

func TestOrdersThatCannotBeUnderstoodArePassedOverAndToldOf(t *testing.T) {
	good := notesOf(pausing("s"))
	misplaced := notesOf(pausing("s", "1"))[0]
	misplaced.Name = "pause/elsewhere"
	later := notesOf(Action{Kind: "explode"})
	for name, bad := range map[string]Note{
		"no JSON": {Name: "pause", Version: 1, Value: "{"}, "another's value": misplaced, "a kind that is not known": later[0],
	} {
		o, err := ordersIn(append(good, bad))
		if err == nil || !strings.Contains(err.Error(), bad.Name) {
			t.Errorf("%s: error %v, want one that names the note %q", name, err, bad.Name)
		}
		if len(o.holds) != 1 {
			t.Errorf("%s: %d orders, want the one that is good", name, len(o.holds))
		}
	}
}

func TestAnOrderStandsInItsNoteAndHasANameOfItsOwn(t *testing.T) {
	names := map[string]bool{}
	for _, a := range []Action{
		pausing(), pausing("s"), pausing("s", "1"), pausing("s/1"), pausing("s/1", "1"), pausing("s", "1/1"),
		{Kind: ActionDrain, Worker: "a"}, {Kind: ActionDrain, Worker: "a/b"},
		{Kind: ActionSeek, To: stream.Latest}, {Kind: ActionSeek, Scope: Scope{"s", "1"}, To: after(7)},
	} {
		a.Reason = "why ‑ \"not\""
		want := Order{Action: a, Actor: "ada", Since: time.UnixMilli(1_700_000_000_000).UTC()}
		n := want.note()
		got, err := orderIn(n)
		if err != nil || got != want {
			t.Errorf("%s: got %+v, %v, want %+v", n.Value, got, err, want)
		}
		if names[n.Name] {
			t.Errorf("two orders have the name %q", n.Name)
		}
		names[n.Name] = true
	}
}

func TestWrongActionsAreRefusedWithTheFix(t *testing.T) {
	for _, test := range []struct {
		action Action
		want   string // "" for none
	}{
		{pausing(), ""},
		{pausing("s", "1"), ""},
		{pausing("", "1"), "name the stream"},
		{Action{}, "use one of the Action constants"},
		{Action{Kind: ActionDrain}, "name the worker to drain"},
		{Action{Kind: ActionUndrain}, "name the worker to undrain"},
		{Action{Kind: ActionPause, Worker: "a"}, "a drain takes away what a worker has"},
		{Action{Kind: ActionSeek, Worker: "a", To: stream.TrimHorizon}, "a seek is of a scope"},
		{Action{Kind: ActionDrain, Worker: "a", Scope: Scope{Stream: "s"}}, "leave it out"},
		{Action{Kind: ActionPause, Reason: strings.Repeat("x", longestReason+1)}, "say it in 10000 at most"},
		{Action{Kind: ActionMove, Worker: "a", Scope: Scope{Stream: "s"}}, "name the shard to move"},
		{Action{Kind: ActionMove, Scope: Scope{"s", "1"}}, "the worker that gets it"},
		{Action{Kind: ActionSeek, To: stream.TrimHorizon}, ""},
		{Action{Kind: ActionSeek, To: stream.Latest}, ""},
		{Action{Kind: ActionSeek, To: stream.AtTime(time.Unix(1, 0))}, ""},
		{Action{Kind: ActionSeek, To: stream.AtTime(time.Unix(1000, 0))}, ""},
		{Action{Kind: ActionSeek, To: stream.AtTime(time.Unix(1000+5*3600, 0))}, "5h0m0s after now"},
		{Action{Kind: ActionSeek, Scope: Scope{"s", "1"}, To: after(1)}, ""},
		{Action{Kind: ActionSeek, Scope: Scope{Stream: "s"}, To: after(1)}, "name the shard"},
		{Action{Kind: ActionSeek, Scope: Scope{"s", "1"}, To: stream.ShardEnd}, "use stream.TrimHorizon"},
		{Action{Kind: ActionSeek, Scope: Scope{"s", "1"}}, "use stream.TrimHorizon"},
	} {
		err := test.action.validate(time.Unix(1000, 0))
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: error %v, want %q", test.action, err, test.want)
		}
	}
}

func TestAPausedLeaseIsTakenFromItsOwnerAndGivenToNobody(t *testing.T) {
	rows := []Lease{
		{Key: "held", Owner: "a", Term: 5, Checkpoint: saved(1)},
		{Key: "free", Checkpoint: saved(1)},
		{Key: "leaving", CheckpointOwner: "a", Term: 5, Checkpoint: saved(1)},
		{Key: "moving", Owner: "b", CheckpointOwner: "a", Term: 5, Checkpoint: saved(1)},
		{Key: "dead", Owner: "x", Term: 5, Checkpoint: saved(1)},
		{Key: "finished", Owner: "a", Checkpoint: checkpoint.State{Position: stream.ShardEnd}},
		{Key: "other", Checkpoint: saved(1)},
	}
	paused := map[string]bool{}
	for _, l := range rows {
		paused[l.Key] = l.Key != "other"
	}
	got := map[string]string{}
	for _, m := range Plan(View{Leases: rows, Members: fleet("a", "b"), Paused: paused}) {
		got[m.Lease.Key] = m.To
	}
	want := map[string]string{"held": "", "moving": "", "dead": "", "other": got["other"]}
	if !maps.Equal(got, want) || got["other"] == "" {
		t.Errorf("moves %v, want %v", got, want)
	}
	if moves := Plan(View{Leases: rows[:1], Paused: paused}); len(moves) != 1 || moves[0].To != "" {
		t.Errorf("with nobody there, moves %v, want the lease taken from its owner", moves)
	}
}

func TestPausedLeasesWeighNothing(t *testing.T) {
	rows := slices.Concat(leasesOf("a", "a", 4), leasesOf("b", "b", 4))
	paused := map[string]bool{}
	for _, l := range rows[:4] {
		paused[l.Key] = true
	}
	moves := Plan(View{Leases: rows, Members: fleet("a", "b"), Paused: paused})
	var given int
	for _, m := range moves {
		if m.To == "a" {
			given++
		}
	}
	if given != 2 {
		t.Errorf("%d leases go to the worker whose own are paused, want half of the others: %v", given, moves)
	}
}

func TestALeaseIsMovedToNobodyAsToAnybody(t *testing.T) {
	in := map[string]bool{"a": true, "b": true}
	for _, test := range []struct {
		name      string
		row, want Lease
	}{
		{"held", Lease{Owner: "a", Term: 7}, Lease{CheckpointOwner: "a", Term: 7}},
		{"held by a dead one", Lease{Owner: "x", Term: 7}, Lease{}},
		{"moving to a live one", Lease{Owner: "b", CheckpointOwner: "a", Term: 7}, Lease{CheckpointOwner: "a", Term: 7}},
		{"moving to a dead one", Lease{Owner: "x", CheckpointOwner: "a", Term: 7}, Lease{CheckpointOwner: "a", Term: 7}},
	} {
		if got := MovedTo(test.row, "", in); fmt.Sprint(got) != fmt.Sprint(test.want) {
			t.Errorf("%s: got %+v, want %+v", test.name, got, test.want)
		}
	}
}
