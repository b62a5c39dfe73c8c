package lease

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/stream"
)

// pictured returns a fleet with these leases, members and orders.
func pictured(leases []Lease, members []Member, given ...Action) *picture {
	p := &picture{leases: leases, members: members, notes: notesOf(given...)}
	p.orders, p.unreadable = ordersIn(p.notes)
	return p
}

func TestWhatAnActionWouldChange(t *testing.T) {
	held := leaseOf("1", "a", after(5))
	held.Term = 7
	held.Checkpoint.Progress, held.Checkpoint.Pending = []byte("progress"), checkpoint.Pending{Position: after(6)}
	free := leaseOf("2", "", after(1))
	ended := leaseOf("3", "a", stream.ShardEnd)
	child := leaseOf("1.1", "", stream.TrimHorizon, "1")
	rows := []Lease{held, free, ended, child}
	members := append(fleet("a", "b", "full", "out"), Member{Incarnation: "b#2", Worker: "twice"}, Member{Incarnation: "b#3", Worker: "twice"})
	members[2].MaxLeases = 1
	members[3].Fenced = true
	full := leaseOf("4", "full", after(1))
	fresh, unknown := leaseOf("5", "", stream.TrimHorizon), leaseOf("6", "java", stream.Latest)
	other := []StreamSet{NewStreamSet("s:1"), NewStreamSet("t:1")}
	shard := func(id string) Scope { return Scope{"s", id} }
	for _, test := range []struct {
		name    string
		given   []Action
		action  Action
		want    string // of the leases, as text
		notes   int
		skipped int
		err     string
	}{
		{"a pause takes what is held", nil, pausing("s", "1"), "1: from a to nobody", 1, 0, ""},
		{"a second pause changes nothing", []Action{pausing("s")}, pausing("s"), "", 0, 0, ""},
		{"a pause within a pause is one of its own", []Action{pausing()}, pausing("s"), "", 1, 0, ""},
		{"a resume", []Action{pausing("s")}, Action{Kind: ActionResume, Scope: Scope{Stream: "s"}}, "", 1, 0, ""},
		{"a resume gives up a seek", []Action{{Kind: ActionSeek, Scope: shard("1"), To: after(2)}}, Action{Kind: ActionResume, Scope: shard("1")}, "", 1, 0, ""},
		{"a resume within a wider pause", []Action{pausing(), pausing("s", "1")}, Action{Kind: ActionResume, Scope: shard("1")}, "", 1, 1, ""},
		{"a resume of what is not paused", []Action{pausing()}, Action{Kind: ActionResume, Scope: shard("1")}, "", 0, 0, "nobody has asked for a pause"},
		{"a drain", nil, Action{Kind: ActionDrain, Worker: "a"}, "1: from a to nobody", 1, 0, ""},
		{"a drain of nobody", nil, Action{Kind: ActionDrain, Worker: "x"}, "", 0, 0, "no worker of that name"},
		{"a drain of a fenced one", nil, Action{Kind: ActionDrain, Worker: "out"}, "", 0, 0, "no worker of that name"},
		{"a second drain", []Action{{Kind: ActionDrain, Worker: "a"}}, Action{Kind: ActionDrain, Worker: "a"}, "", 0, 0, ""},
		{"an undrain", []Action{{Kind: ActionDrain, Worker: "a"}}, Action{Kind: ActionUndrain, Worker: "a"}, "", 1, 0, ""},
		{"an undrain of nobody", nil, Action{Kind: ActionUndrain, Worker: "a"}, "", 0, 0, "nobody has asked for a drain"},
		{"a move", nil, Action{Kind: ActionMove, Scope: shard("1"), Worker: "b"}, "1: from a to b", 0, 0, ""},
		{"a move to where it is", nil, Action{Kind: ActionMove, Scope: shard("1"), Worker: "a"}, "", 0, 0, ""},
		{"a move of a free one", nil, Action{Kind: ActionMove, Scope: shard("2"), Worker: "b"}, "2: from nobody to b", 0, 0, ""},
		{"a move of a finished one", nil, Action{Kind: ActionMove, Scope: shard("3"), Worker: "b"}, "", 0, 0, "no such shard, or it is finished"},
		{"a move of one that nobody has had", nil, Action{Kind: ActionMove, Scope: shard("5"), Worker: "b"}, "", 0, 0, "it has yet to begin"},
		{"a move of one whose place is not known", nil, Action{Kind: ActionMove, Scope: shard("6"), Worker: "b"}, "", 0, 0, "it has yet to begin"},
		{"a move of one that waits", nil, Action{Kind: ActionMove, Scope: shard("1.1"), Worker: "b"}, "", 0, 0, "waits for a parent"},
		{"a move of a paused one", []Action{pausing()}, Action{Kind: ActionMove, Scope: shard("1"), Worker: "b"}, "", 0, 0, "paused by ada"},
		{"a move to a drained one", []Action{{Kind: ActionDrain, Worker: "b"}}, Action{Kind: ActionMove, Scope: shard("1"), Worker: "b"}, "", 0, 0, "no worker b that takes shards"},
		{"a move to one that is out", nil, Action{Kind: ActionMove, Scope: shard("1"), Worker: "out"}, "", 0, 0, "no worker out that takes shards"},
		{"a move to one that is full", nil, Action{Kind: ActionMove, Scope: shard("1"), Worker: "full"}, "", 0, 0, "as many shards as it takes"},
		{"a move to a name that two have", nil, Action{Kind: ActionMove, Scope: shard("1"), Worker: "twice"}, "", 0, 0, "2 starts"},
		{"a move to one of them", nil, Action{Kind: ActionMove, Scope: shard("1"), Worker: "b#2"}, "1: from a to b#2", 0, 0, ""},
		{"a seek of a shard", nil, Action{Kind: ActionSeek, Scope: shard("1"), To: after(2)}, "1: from AFTER:5 to AFTER:2, from a to nobody", 0, 0, ""},
		{"a seek of a finished shard", nil, Action{Kind: ActionSeek, Scope: shard("3"), To: stream.TrimHorizon}, "", 0, 0, "it is finished"},
		{"a seek of a shard that waits", nil, Action{Kind: ActionSeek, Scope: shard("1.1"), To: after(2)}, "", 0, 0, "waits for its parent 1"},
		{"a seek to the end of a shard that waits", nil, Action{Kind: ActionSeek, Scope: shard("1.1"), To: stream.Latest}, "", 0, 0, "waits for its parent 1"},
		{"a seek that leaves it waiting", nil, Action{Kind: ActionSeek, Scope: shard("1.1"), To: stream.AtTime(time.UnixMilli(0))}, "1.1: from TRIM_HORIZON to AT_TIMESTAMP:1970-01-01T00:00:00.000Z", 0, 0, ""},
		{"a seek of all", nil, Action{Kind: ActionSeek, To: stream.TrimHorizon}, "1: from AFTER:5 to TRIM_HORIZON, from a to nobody; 2: from AFTER:1 to TRIM_HORIZON; 1.1: as it is; 4: from AFTER:1 to TRIM_HORIZON, from full to nobody; 5: as it is; 6: from LATEST to TRIM_HORIZON, from java to nobody", 0, 1, ""},
		{"a seek of nothing", nil, Action{Kind: ActionSeek, Scope: Scope{Stream: "nowhere"}, To: stream.TrimHorizon}, "", 0, 0, "no lease in that scope"},
	} {
		p := pictured(append(rows[:4:4], full, fresh, unknown), members, test.given...)
		got, err := p.propose(test.action, "bob", time.UnixMilli(5).UTC())
		if (err == nil) != (test.err == "") || err != nil && (!strings.Contains(err.Error(), test.err) || !errors.Is(err, ErrNotPossible)) {
			t.Errorf("%s: error %v, want %q", test.name, err, test.err)
			continue
		}
		var texts []string
		for _, l := range got.Leases {
			texts = append(texts, l.String())
			if l.Before.Counter != l.After.Counter || l.Before.Key != l.After.Key {
				t.Errorf("%s: %+v", test.name, l)
			}
			if after := l.After.Checkpoint; test.action.Kind == ActionSeek && (after.Progress != nil || after.Pending.Position != stream.Position{} || l.After.Term != 0) {
				t.Errorf("%s: what was done beyond the former position is left: %+v", test.name, after)
			}
		}
		if strings.Join(texts, "; ") != test.want || len(got.Notes) != test.notes || len(got.Skipped) != test.skipped {
			t.Errorf("%s: leases %q, %d notes, skipped %v; want %q, %d, %d", test.name, strings.Join(texts, "; "), len(got.Notes), got.Skipped, test.want, test.notes, test.skipped)
		}
		text, err := json.Marshal(got)
		var back Change
		if err == nil {
			err = json.Unmarshal(text, &back)
		}
		if err != nil || !reflect.DeepEqual(back, got) && test.err == "" {
			t.Errorf("%s: %v: through JSON\n got %+v\nwant %+v", test.name, err, back, got)
		}
	}

	// Who does not serve the stream is not given it.
	members[0].Streams, members[1].Streams = other[0], other[1]
	if _, err := pictured(rows, members[:2]).propose(Action{Kind: ActionMove, Scope: shard("1"), Worker: "b"}, "bob", time.Now()); !errors.Is(err, ErrNotPossible) {
		t.Errorf("a move to one that does not serve the stream: error %v", err)
	}
	// What nobody else takes stays with who is drained.
	for _, others := range [][]Member{nil, members[1:2], members[2:4]} {
		p := pictured(append(rows[:4:4], full), append(members[:1:1], others...))
		c, err := p.propose(Action{Kind: ActionDrain, Worker: "a"}, "bob", time.Now())
		if err != nil || len(c.Notes) != 1 || len(c.Leases) != 0 || len(c.Skipped) != 1 || c.Skipped[0].Key != held.Key {
			t.Errorf("a drain beside %v: %+v, %v", others, c, err)
		}
	}
}

func TestAShardIsNotSoughtBehindItsChildren(t *testing.T) {
	parent, child := leaseOf("1", "", after(5)), leaseOf("1.1", "", stream.TrimHorizon, "1")
	for name, begins := range map[string]func(*Lease){
		"has a checkpoint": func(l *Lease) { l.Checkpoint = saved(1) },
		"is held":          func(l *Lease) { l.Owner, l.Term = "a", 9 },
	} {
		begun := child
		begins(&begun)
		_, err := pictured([]Lease{parent, begun}, fleet("a")).propose(Action{Kind: ActionSeek, Scope: Scope{"s", "1"}, To: stream.TrimHorizon}, "bob", time.Now())
		if !errors.Is(err, ErrNotPossible) {
			t.Errorf("a child that %s: error %v, want %v", name, err, ErrNotPossible)
		}
	}
}

func TestASeekWritesARowOnlyWhenNobodyHoldsIt(t *testing.T) {
	in := map[string]bool{"a": true, "b": true, "fenced": false}
	to := checkpoint.State{Position: after(2)}
	for _, test := range []struct {
		name string
		row  Lease
		want seekVerdict
	}{
		{"held", Lease{Owner: "a", Term: 7, Checkpoint: saved(5)}, seekWaits},
		{"assigned", Lease{Owner: "a", Checkpoint: saved(5)}, seekWaits},
		{"letting go", Lease{CheckpointOwner: "a", Term: 7, Checkpoint: saved(5)}, seekWaits},
		{"moving", Lease{Owner: "b", CheckpointOwner: "a", Term: 7, Checkpoint: saved(5)}, seekWaits},
		{"moving to a dead one", Lease{Owner: "gone", CheckpointOwner: "a", Term: 7, Checkpoint: saved(5)}, seekWaits},
		{"moving from a dead one", Lease{Owner: "b", CheckpointOwner: "gone", Term: 7, Checkpoint: saved(5)}, seekWaits},
		{"free", Lease{Checkpoint: saved(5)}, seekWrites},
		{"of a fenced one", Lease{Owner: "fenced", Term: 7, Checkpoint: saved(5)}, seekWrites},
		{"of one that is gone", Lease{Owner: "gone", Term: 7, Checkpoint: saved(5)}, seekWrites},
		{"from one that is gone to nobody", Lease{CheckpointOwner: "gone", Term: 7, Checkpoint: saved(5)}, seekWrites},
		{"there", Lease{Checkpoint: saved(2)}, seekDone},
		{"there, and of one that is gone", Lease{Owner: "gone", Term: 7, Checkpoint: saved(2)}, seekWrites},
		{"there, but for the progress", Lease{Checkpoint: checkpoint.State{Position: after(2), Progress: []byte("x")}}, seekWrites},
		{"finished", Lease{Owner: "a", Checkpoint: checkpoint.State{Position: stream.ShardEnd}}, seekFinished},
	} {
		next, got := soughtFrom(test.row, to, in)
		if got != test.want {
			t.Errorf("%s: verdict %d, want %d", test.name, got, test.want)
		}
		if got == seekWrites && (next.Owner != "" || next.CheckpointOwner != "" || next.Term != 0 || !sameState(next.Checkpoint, to)) {
			t.Errorf("%s: writes %+v", test.name, next)
		}
	}
}

func TestWhatIsTakenBackAndWhatHasMovedOn(t *testing.T) {
	seek := LeaseChange{Before: Lease{Key: "k", Owner: "a", Checkpoint: saved(9)}, After: Lease{Key: "k", Checkpoint: saved(3)}}
	for _, test := range []struct {
		name string
		now  Lease
		want stream.Position // zero for moved on
	}{
		{"as the seek left it", Lease{Key: "k", Checkpoint: saved(3)}, after(9)},
		{"processed since", Lease{Key: "k", Owner: "b", Checkpoint: saved(5)}, after(9)},
		{"processed beyond", Lease{Key: "k", Owner: "b", Checkpoint: saved(50)}, after(9)},
		{"back already", Lease{Key: "k", Checkpoint: saved(9)}, after(9)},
		{"sought further back", Lease{Key: "k", Checkpoint: saved(2)}, stream.Position{}},
		{"sought to the beginning", Lease{Key: "k", Checkpoint: checkpoint.State{Position: stream.TrimHorizon}}, stream.Position{}},
		{"finished", Lease{Key: "k", Checkpoint: checkpoint.State{Position: stream.ShardEnd}}, stream.Position{}},
		{"gone", Lease{}, stream.Position{}},
	} {
		got, err := seek.unsought(test.now)
		if got.Position != test.want || (err != nil) != test.want.IsZero() || err != nil && !errors.Is(err, ErrMovedOn) {
			t.Errorf("%s: got %v, %v, want %v", test.name, got.Position, err, test.want)
		}
	}

	move := LeaseChange{Before: Lease{Key: "k", Owner: "a"}, After: Lease{Key: "k", Owner: "b", CheckpointOwner: "a"}}
	for _, test := range []struct {
		name string
		now  Lease
		in   map[string]bool
		want string // who gets it; "-" for moved on
	}{
		{"as the move left it", Lease{Key: "k", Owner: "b", CheckpointOwner: "a"}, map[string]bool{"a": true, "b": true}, "a"},
		{"taken since", Lease{Key: "k", Owner: "b", Term: 9}, map[string]bool{"a": true, "b": true}, "a"},
		{"back already", Lease{Key: "k", Owner: "a", Term: 9}, map[string]bool{"a": true, "b": true}, "a"},
		{"moved on", Lease{Key: "k", Owner: "c", Term: 9}, map[string]bool{"a": true, "b": true}, "-"},
		{"the former owner is gone", Lease{Key: "k", Owner: "b", Term: 9}, map[string]bool{"b": true}, "-"},
		{"the row is gone", Lease{}, map[string]bool{"a": true}, "-"},
	} {
		got, err := move.unmoved(test.now, test.in)
		if err == nil && got.Owner != test.want || (err != nil) != (test.want == "-") || err != nil && !errors.Is(err, ErrMovedOn) {
			t.Errorf("%s: got %q, %v, want %q", test.name, got.Owner, err, test.want)
		}
	}

	note := Note{Name: "pause", Version: 5, Value: "x"}
	again := Note{Name: "pause", Version: 90, Value: "y"}
	for _, test := range []struct {
		name      string
		change    NoteChange
		now       Note
		old, next Note
		movedOn   bool
	}{
		{"a note that was written goes", NoteChange{After: note}, note, note, Note{}, false},
		{"one that is gone is gone", NoteChange{After: note}, Note{}, Note{}, Note{}, false},
		{"one of somebody else stays", NoteChange{After: note}, again, Note{}, Note{}, true},
		{"a note that was removed comes back", NoteChange{Before: note}, Note{}, Note{}, note, false},
		{"unless it is back", NoteChange{Before: note}, Note{Name: "pause", Version: 70, Value: "x"}, Note{}, Note{}, false},
		{"or another is there", NoteChange{Before: note}, again, Note{}, Note{}, true},
	} {
		old, next, err := test.change.reverse(test.now)
		if next != (Note{}) && next.Version > note.Version {
			next.Version = note.Version // a new one
		}
		if old != test.old || next != test.next || (err != nil) != test.movedOn || err != nil && !errors.Is(err, ErrMovedOn) {
			t.Errorf("%s: got %+v → %+v, %v", test.name, old, next, err)
		}
	}
}
