package lease

import (
	"reflect"
	"testing"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/stream"
)

func TestTransitions(t *testing.T) {
	held := Lease{Key: "k", Owner: "a", Counter: 9, Term: 7, Checkpoint: saved(3)}
	with := func(l Lease, change func(*Lease)) Lease { change(&l); return l }
	moving := with(held, func(l *Lease) { l.Owner, l.CheckpointOwner = "b", "a" })
	for _, test := range []struct {
		name      string
		got, want Lease
	}{
		{"an orphan is assigned", Assigned(Lease{Key: "k"}, "a"), Lease{Key: "k", Owner: "a"}},
		{"the term of one who is out is over", Assigned(held, "b"), with(held, func(l *Lease) { l.Owner, l.Term = "b", 0 })},
		{"a held lease is handed off", HandedOff(held, "b"), moving},
		{"a second move changes the owner only", HandedOff(moving, "c"), with(moving, func(l *Lease) { l.Owner = "c" })},
		{"a dead owner's move leaves the former owner its right", Assigned(moving, "c"), with(moving, func(l *Lease) { l.Owner = "c" })},
		{"a term is the counter of its take", Taken(held, "a"), with(held, func(l *Lease) { l.Term = 10 })},
		{"a lease of nobody is claimed", Taken(Lease{Key: "k", Counter: 4}, "a"), Lease{Key: "k", Counter: 4, Owner: "a", Term: 5}},
		{"a released lease is nobody's, and its term is over", Released(held, "a"), with(held, func(l *Lease) { l.Owner, l.Term = "", 0 })},
		{"a lease that is let go is the new owner's", Released(moving, "a"), with(moving, func(l *Lease) { l.CheckpointOwner, l.Term = "", 0 })},
		{"who waits for a lease cannot release it", Released(moving, "b"), moving},
		{"a lease of others is left alone", Released(held, "x"), held},
		{"a forced handoff ends the term", Forced(moving), with(moving, func(l *Lease) { l.CheckpointOwner, l.Term = "", 0 })},
		{"a finished lease is handed to nobody", Ended(moving, "a", []string{"x", "y"}), with(moving, func(l *Lease) {
			l.Owner, l.CheckpointOwner, l.Children = "a", "", []string{"x", "y"}
			l.Checkpoint = checkpoint.State{Position: stream.ShardEnd}
		})},
	} {
		if !reflect.DeepEqual(test.got, test.want) {
			t.Errorf("%s:\n got %+v\nwant %+v", test.name, test.got, test.want)
		}
	}
}

func TestStandings(t *testing.T) {
	finished := checkpoint.State{Position: stream.ShardEnd}
	for _, test := range []struct {
		row  Lease
		want Standing
	}{
		{Lease{Owner: "a", Term: 7}, Held},
		{Lease{Owner: "b", CheckpointOwner: "a", Term: 7}, Leaving},
		{Lease{Owner: "a", CheckpointOwner: "a", Term: 7}, Leaving},
		{Lease{Owner: "a", Term: 8}, Lost},
		{Lease{Owner: "a", CheckpointOwner: "b", Term: 7}, Lost},
		{Lease{Owner: "b", Term: 7}, Lost},
		{Lease{Term: 7}, Lost},
		{Lease{Owner: "a", Term: 7, Checkpoint: finished}, Lost},
	} {
		if got := StandingOf(test.row, "a", 7); got != test.want {
			t.Errorf("%+v: %v, want %v", test.row, got, test.want)
		}
	}
}
