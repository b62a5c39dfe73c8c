package sqlstore

import (
	"testing"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/stream"
)

func TestOthersHearOfASwapThatIsTheirBusiness(t *testing.T) {
	row := lease.Lease{
		Key: "k", Owner: "a", Counter: 7, Term: 5, Children: []string{"c"},
		Checkpoint: checkpoint.State{Position: stream.After(stream.MakeSequence(0, 0, 1))},
	}
	for name, c := range map[string]struct {
		change func(*lease.Lease)
		wakes  bool
	}{
		"nothing":          {func(*lease.Lease) {}, false},
		"a checkpoint":     {func(l *lease.Lease) { l.Checkpoint.Position = stream.After(stream.MakeSequence(0, 0, 2)) }, false},
		"a pending one":    {func(l *lease.Lease) { l.Checkpoint.Pending.Position = l.Checkpoint.Position }, false},
		"the load":         {func(l *lease.Lease) { l.Load.BytesPerSecond = 9 }, false},
		"owner":            {func(l *lease.Lease) { l.Owner = "" }, true},
		"checkpoint owner": {func(l *lease.Lease) { l.CheckpointOwner = "b" }, true},
		"term":             {func(l *lease.Lease) { l.Term++ }, false},
		"the end":          {func(l *lease.Lease) { l.Checkpoint.Position = stream.ShardEnd }, true},
		"children":         {func(l *lease.Lease) { l.Children = nil }, true},
	} {
		next := row
		c.change(&next)
		if got := Wakes(&row, &next); got != c.wakes {
			t.Errorf("%s: %v, want %v", name, got, c.wakes)
		}
	}
}

func TestOthersHearOfAMemberButNotOfItsBeats(t *testing.T) {
	row := lease.Member{Incarnation: "w#1", Worker: "w", Version: 3, Beats: 3, Revision: 1}
	for name, c := range map[string]struct {
		next  lease.Member
		wakes bool
	}{
		"a beat": {func() lease.Member {
			m := row
			m.Version, m.Beats, m.Load = 4, 4, lease.Load{BytesPerSecond: 1}
			return m
		}(), false},
		"a bump":  {func() lease.Member { m := row; m.Revision++; return m }(), true},
		"a fence": {func() lease.Member { m := row; m.Fenced = true; return m }(), true},
		"a drain": {func() lease.Member { m := row; m.Draining = true; return m }(), true},
		"its end": {lease.Member{}, true},
	} {
		if got := WakesMember(row, c.next); got != c.wakes {
			t.Errorf("%s: %v, want %v", name, got, c.wakes)
		}
	}
	if !WakesMember(lease.Member{}, row) {
		t.Error("a join wakes nobody")
	}
}
