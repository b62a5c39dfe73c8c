package chaos

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/internal/fleet"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/stream"
)

// Shards of stories: one that books its records, one that does not, and their child.
var (
	booking1  = nameFor(true, "a")
	plain     = nameFor(false, "b")
	offspring = nameFor(false, "c")
)

func nameFor(books bool, prefix string) string {
	for n := 0; ; n++ {
		if name := fmt.Sprint(prefix, n); fleet.Booked(name) == books {
			return name
		}
	}
}

func seq(n int) stream.Sequence { return stream.MakeSequence(1, 1, uint64(n)) }

func after(n int) stream.Position { return stream.After(seq(n)) }

// teller tells a story, an event each second.
type teller struct {
	ledger
	ids int64
}

func (s *teller) tell(who string, e fleet.Event) *fleet.Event {
	e.Who, e.At = who, int64(len(s.events)+1)*int64(time.Second)
	s.events = append(s.events, e)
	return &s.events[len(s.events)-1]
}

// write is a write of the shard's row that takes place.
func (s *teller) write(who, shard string, old, next fleet.Row) {
	s.ids++
	old.Shard, next.Shard = shard, shard
	s.tell(who, fleet.Event{Kind: fleet.Ask, ID: s.ids, Shard: shard, Old: &old, New: &next})
	s.tell(who, fleet.Event{Kind: fleet.Won, ID: s.ids, Shard: shard, New: &next})
}

func (s *teller) begin(who, shard string, term int64, from stream.Position) {
	s.write(who, shard, fleet.Row{Counter: term - 1, Checkpoint: from}, fleet.Row{Owner: who + "#1", Counter: term, Term: term, Checkpoint: from})
	s.tell(who, fleet.Event{Kind: fleet.Began, Shard: shard, Term: term, From: from})
}

func (s *teller) done(who, shard string, term int64, records ...string) {
	s.tell(who, fleet.Event{Kind: fleet.Done, Shard: shard, Term: term, Records: records})
}

func (s *teller) over(who, shard string, term int64, how fleet.Kind) {
	s.tell(who, fleet.Event{Kind: how, Shard: shard, Term: term})
	s.tell(who, fleet.Event{Kind: fleet.Cancelled, Shard: shard, Term: term})
}

// goodStory is one in which all is well: w1 hands the plain shard over, w2 is killed with
// a record done and not covered, which comes again to w3, who ends the shard.
func goodStory() *teller {
	s := &teller{ledger: ledger{booked: map[string]booking{}, parents: map[string][]string{offspring: {plain}}}}
	for n, record := range []string{"p1", "p2", "p3", "p4"} {
		s.put = append(s.put, put{record, plain, seq(n + 1)})
	}
	s.put = append(s.put, put{"c1", offspring, seq(9)}, put{"b1", booking1, seq(1)}, put{"b2", booking1, seq(2)})
	s.begin("w1", plain, 10, stream.TrimHorizon)
	s.done("w1", plain, 10, "p1", "p2")
	held := fleet.Row{Owner: "w1#1", Counter: 10, Term: 10, Checkpoint: stream.TrimHorizon}
	s.write("w1", plain, held, fleet.Row{Owner: "", Counter: 11, Checkpoint: after(2)})
	s.over("w1", plain, 10, fleet.HandedOver)
	s.begin("w2", plain, 20, after(2))
	s.done("w2", plain, 20, "p3")
	s.faults = append(s.faults, fault{killed, "w2", int64(len(s.events))*int64(time.Second) + 1, int64(len(s.events))*int64(time.Second) + 2})
	s.begin("w3", plain, 30, after(2))
	s.done("w3", plain, 30, "p3", "p4")
	s.tell("w3", fleet.Event{Kind: fleet.Ended, Shard: plain, Term: 30})
	held = fleet.Row{Owner: "w3#1", Counter: 30, Term: 30, Checkpoint: after(2)}
	s.write("w3", plain, held, fleet.Row{Owner: "w3#1", Counter: 31, Term: 30, Checkpoint: stream.ShardEnd})
	s.tell("w3", fleet.Event{Kind: fleet.Cancelled, Shard: plain, Term: 30})
	s.begin("w3", offspring, 40, stream.TrimHorizon)
	s.done("w3", offspring, 40, "c1")
	s.begin("w3", booking1, 50, stream.TrimHorizon)
	s.done("w3", booking1, 50, "b1", "b2")
	s.booked["b1"], s.booked["b2"] = booking{1, 50}, booking{1, 50}
	s.leases = []lease.Lease{rowAt(offspring, "w3#1", 41, 40, after(9)), rowAt(booking1, "w3#1", 51, 50, after(2))}
	return s
}

func rowAt(shard, owner string, counter, term int64, p stream.Position) lease.Lease {
	return lease.Lease{Shard: shard, Owner: owner, Counter: counter, Term: term, Checkpoint: checkpoint.State{Position: p}}
}

func TestAStoryInWhichAllIsWellHasNoProblems(t *testing.T) {
	a := goodStory().audit()
	if len(a.problems) > 0 {
		t.Error(a.problems)
	}
	if a.again != 1 || a.againAfter[killed] != 1 || a.done != 7 || a.booked != 2 || a.terms != 5 || a.ended != 1 {
		t.Errorf("the account is %+v", a)
	}
}

// find returns the nth event of a kind.
func (s *teller) find(kind fleet.Kind, nth int) *fleet.Event {
	for i := range s.events {
		if s.events[i].Kind == kind {
			if nth == 0 {
				return &s.events[i]
			}
			nth--
		}
	}
	panic("no such event")
}

func (s *teller) without(kind fleet.Kind, nth int) {
	e := s.find(kind, nth)
	s.events = slices.DeleteFunc(s.events, func(x fleet.Event) bool { return x.At == e.At })
}

func TestEachBrokenPromiseIsNoticed(t *testing.T) {
	for _, c := range []struct {
		name, rule string
		spoil      func(s *teller)
	}{
		{"a record is not processed", "C1", func(s *teller) { s.put = append(s.put, put{"lost", offspring, seq(10)}) }},
		{"a record is processed and not covered", "C1", func(s *teller) { s.leases[0].Checkpoint.Position = after(8) }},
		{"a record is passed over", "C2", func(s *teller) { s.find(fleet.Done, 0).Records = []string{"p2"} }},
		{"records come in the wrong order", "C2", func(s *teller) { s.find(fleet.Done, 0).Records = []string{"p2", "p1"} }},
		{"a record is invented", "D3", func(s *teller) { s.find(fleet.Done, 0).Records = []string{"p1", "p2", "invented"} }},
		{"a term does not begin at the checkpoint", "C3", func(s *teller) { s.find(fleet.Began, 1).From = after(1) }},
		{"a checkpoint goes back", "C3", func(s *teller) {
			s.leases = append(s.leases, rowAt(plain, "", 60, 0, after(3)))
		}},
		{"a checkpoint is stored before its record is done", "C4", func(s *teller) {
			s.find(fleet.Done, 0).At = s.find(fleet.HandedOver, 0).At - 1
			slices.SortFunc(s.events, func(x, y fleet.Event) int { return int(x.At - y.At) })
		}},
		{"records come again after a hand-over in good order", "C5", func(s *teller) {
			s.faults = nil
			s.begin("w4", offspring, 60, stream.TrimHorizon)
			s.done("w4", offspring, 60, "c1")
			s.find(fleet.Began, 3).Who = "w3"
			e := s.tell("w3", fleet.Event{Kind: fleet.HandedOver, Shard: offspring, Term: 40})
			e.At = s.find(fleet.Done, 3).At + 1
			e = s.tell("w3", fleet.Event{Kind: fleet.Cancelled, Shard: offspring, Term: 40})
			e.At = s.find(fleet.Done, 3).At + 2
			slices.SortFunc(s.events, func(x, y fleet.Event) int { return int(x.At - y.At) })
		}},
		{"records come again after an end that was heard of, in the middle of faults", "C5", func(s *teller) {
			s.faults = append(s.faults, fault{"cut off", "w1", 1, s.events[len(s.events)-1].At})
			s.find(fleet.Done, 1).Records = []string{"p2", "p3"}
		}},
		{"records come again for no reason", "C6", func(s *teller) {
			s.faults = nil
			e := s.tell("w2", fleet.Event{Kind: fleet.Cancelled, Shard: plain, Term: 20})
			e.At = s.find(fleet.Began, 2).At - 1
			slices.SortFunc(s.events, func(x, y fleet.Event) int { return int(x.At - y.At) })
		}},
		{"a record is booked twice", "C7", func(s *teller) { s.booked["b1"] = booking{2, 50} }},
		{"a record is not booked", "C7", func(s *teller) { delete(s.booked, "b1") }},
		{"a record of another shard is booked", "C7", func(s *teller) { s.booked["p1"] = booking{1, 10} }},
		{"a former holder books after a later one", "F3", func(s *teller) { s.booked["b2"] = booking{1, 49} }},
		{"a shard ends before its records are done", "P2", func(s *teller) {
			s.find(fleet.Done, 2).At = s.find(fleet.Cancelled, 1).At - 1
			slices.SortFunc(s.events, func(x, y fleet.Event) int { return int(x.At - y.At) })
		}},
		{"two hold a shard", "F5", func(s *teller) { s.without(fleet.HandedOver, 0); s.without(fleet.Cancelled, 0) }},
		{"a term goes back", "F1", func(s *teller) { s.find(fleet.Began, 0).Term = 25; s.find(fleet.Done, 0).Term = 25 }},
		{"two writes win against each other", "F1", func(s *teller) {
			s.write("w4", plain, fleet.Row{Counter: 29, Checkpoint: after(2)}, fleet.Row{Owner: "w4#1", Counter: 30, Term: 30, Checkpoint: after(2)})
		}},
		{"a term is begun by somebody else", "F2", func(s *teller) {
			for i := range s.events {
				if e := &s.events[i]; e.Shard == offspring && e.Kind != fleet.Ask && e.Kind != fleet.Won {
					e.Who = "w4"
				}
			}
		}},
		{"a term that was never begun", "F2", func(s *teller) { s.without(fleet.Began, 0) }},
		{"a child begins before its parent has ended", "P1", func(s *teller) { s.parents[offspring] = []string{booking1} }},
	} {
		s := goodStory()
		c.spoil(s)
		found := fmt.Sprint(s.audit().problems)
		if !strings.Contains(found, c.rule+": ") {
			t.Errorf("%s: %s is not noticed, but %s", c.name, c.rule, found)
		}
	}
}

// What a callback has done and says it has not is done again, by whoever holds the
// shard then.
func TestABatchComesAgainWhenItsCallbackHasFailed(t *testing.T) {
	for _, c := range []struct {
		name           string
		before, within bool // whether the callback failed at the end of the first term, and in the second
		again, failed  int
		rule           string
	}{
		{"it has", true, true, 0, 3, ""},
		{"it has not, and the term is over", false, true, 1, 2, "C5: "},
		{"it has not, and the term goes on", true, false, 0, 1, "C2: "},
	} {
		s := &teller{}
		for n, record := range []string{"p1", "p2", "p3"} {
			s.put = append(s.put, put{record, plain, seq(n + 1)})
		}
		s.begin("w1", plain, 10, stream.TrimHorizon)
		s.done("w1", plain, 10, "p1")
		s.done("w1", plain, 10, "p2")
		s.find(fleet.Done, 1).Failed = c.before
		held := fleet.Row{Owner: "w1#1", Counter: 10, Term: 10, Checkpoint: stream.TrimHorizon}
		s.write("w1", plain, held, fleet.Row{Counter: 11, Checkpoint: after(1)})
		s.over("w1", plain, 10, fleet.HandedOver)
		s.begin("w2", plain, 20, after(1))
		s.done("w2", plain, 20, "p2", "p3")
		s.find(fleet.Done, 2).Failed = c.within
		s.done("w2", plain, 20, "p2", "p3")
		s.leases = []lease.Lease{rowAt(plain, "w2#1", 21, 20, after(3))}
		a := s.audit()
		found := fmt.Sprint(a.problems)
		if (c.rule == "") != (len(a.problems) == 0) || !strings.Contains(found, c.rule) {
			t.Errorf("%s: problems %v, want %q", c.name, found, c.rule)
		}
		if a.again != c.again || a.againFailed != c.failed {
			t.Errorf("%s: %d came again, and %d since the callback had failed; want %d and %d", c.name, a.again, a.againFailed, c.again, c.failed)
		}
	}
}

// A process that is stopped cannot say that its time is over.
func TestATakeoverFromAStoppedProcessIsNoBreach(t *testing.T) {
	s := goodStory()
	from := s.find(fleet.Done, 0).At + 1
	e := s.find(fleet.HandedOver, 0)
	late := e.At + 20*int64(time.Second)
	s.without(fleet.HandedOver, 0)
	s.find(fleet.Cancelled, 0).Why = "no heartbeat in time"
	s.find(fleet.Cancelled, 0).At = late
	slices.SortFunc(s.events, func(x, y fleet.Event) int { return int(x.At - y.At) })
	s.faults = append(s.faults, fault{paused, "w1", from, late - 1})
	a := s.audit()
	if len(a.problems) > 0 || a.overlaps == 0 {
		t.Errorf("%d terms began meanwhile, problems %v", a.overlaps, a.problems)
	}

	// When it goes on, it has to stop at once.
	s.faults[len(s.faults)-1].to -= 3 * slack
	if found := fmt.Sprint(s.audit().problems); !strings.Contains(found, "F5: ") {
		t.Errorf("a term that goes on when its process does is not noticed, but %s", found)
	}
}

// An operator has a shard begin again at an earlier place.
func TestRecordsComeAgainAfterASeekAndAfterNothingElse(t *testing.T) {
	story := func() *teller {
		s := &teller{}
		for n, record := range []string{"p1", "p2", "p3"} {
			s.put = append(s.put, put{record, plain, seq(n + 1)})
		}
		s.begin("w1", plain, 10, stream.TrimHorizon)
		s.done("w1", plain, 10, "p1", "p2", "p3")
		held := fleet.Row{Owner: "w1#1", Counter: 10, Term: 10, Checkpoint: stream.TrimHorizon}
		s.write("w1", plain, held, fleet.Row{Counter: 11, Checkpoint: after(3)})
		s.over("w1", plain, 10, fleet.HandedOver)
		now := int64(len(s.events)) * int64(time.Second)
		s.seeks = []seek{{shard: plain, to: after(1), counter: 11, from: now, end: now + 1}}
		s.begin("w2", plain, 20, after(1))
		s.done("w2", plain, 20, "p2", "p3")
		s.leases = []lease.Lease{rowAt(plain, "w2#1", 21, 20, after(3))}
		return s
	}
	if a := story().audit(); len(a.problems) > 0 || a.again != 2 || a.againAfter[sought] != 2 {
		t.Errorf("%d came again, %v; problems %v", a.again, a.againAfter, a.problems)
	}
	for name, c := range map[string]struct {
		rule  string
		spoil func(*seek)
	}{
		"of another shard":                  {"C3", func(s *seek) { s.shard = offspring }},
		"to a later place":                  {"C3", func(s *seek) { s.to = after(2) }},
		"to a later place than the records": {"C5", func(s *seek) { s.to = after(2) }},
		"that came later":                   {"C5", func(s *seek) { s.from += int64(time.Hour); s.end += int64(time.Hour) }},
		"that came before the first term":   {"C5", func(s *seek) { s.from, s.end = 0, 1 }},
	} {
		s := story()
		c.spoil(&s.seeks[0])
		if found := fmt.Sprint(s.audit().problems); !strings.Contains(found, c.rule+": ") {
			t.Errorf("a seek %s: %s is not noticed, but %s", name, c.rule, found)
		}
	}
}
