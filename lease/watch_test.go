package lease

import (
	"testing"
	"time"
)

func TestAMemberIsDeadWhenItsBeatsStandStillForAsLongAsItIsWatched(t *testing.T) {
	at := func(s float64) time.Time { return time.Unix(1000, 0).Add(time.Duration(s * float64(time.Second))) }
	m := func(beats int64) Member { return Member{Incarnation: "a", Beats: beats} }
	type look struct {
		asked, answered float64
		beats           int64
		dead            bool
	}
	for _, test := range []struct {
		name  string
		looks []look
	}{
		{"standing still", []look{{0, 0, 1, false}, {5, 5, 1, false}, {10, 10, 1, true}}},
		{"moving", []look{{0, 0, 1, false}, {5, 5, 2, false}, {10, 10, 2, false}, {15, 15, 2, true}}},
		{"a slow answer is no sign of silence", []look{{0, 6, 1, false}, {10, 10, 1, false}, {16, 16, 1, true}}},
		{"an observer that was away begins anew", []look{{0, 0, 1, false}, {60, 60, 1, false}, {65, 65, 1, false}, {70, 70, 1, true}}},
	} {
		w := newWatch(10*time.Second, 7500*time.Millisecond)
		for _, l := range test.looks {
			w.observe(at(l.asked), at(l.answered), m(l.beats))
			if got := w.dead("a"); got != l.dead {
				t.Errorf("%s: dead is %v at %v", test.name, got, l.answered)
			}
		}
	}
	if newWatch(time.Second, time.Second).dead("unseen") {
		t.Error("somebody who was never seen is dead")
	}
}

func TestAHandoffIsTheLeavingOfOneTermByOneWorker(t *testing.T) {
	moving := Lease{Key: "k", Term: 7, Owner: "b", CheckpointOwner: "a"}
	with := func(change func(*Lease)) Lease { l := moving; change(&l); return l }
	began := time.Unix(1000, 0)
	for _, test := range []struct {
		name string
		l    Lease
		due  bool
	}{
		{"the one that was announced", moving, true},
		{"moved on to another owner", with(func(l *Lease) { l.Owner = "c" }), true},
		{"a later term", with(func(l *Lease) { l.Term = 9 }), false},
		{"another former owner", with(func(l *Lease) { l.CheckpointOwner = "c" }), false},
		{"another lease", with(func(l *Lease) { l.Key = "x" }), false},
	} {
		h := newHandoffs(testH)
		h.acknowledged(moving, began)
		h.acknowledged(moving, began.Add(time.Second)) // the first time stays
		if got := h.due(test.l, began.Add(testH)); got != test.due || h.pending(test.l) != test.due {
			t.Errorf("%s: due is %v", test.name, got)
		}
		if h.due(test.l, began.Add(testH-1)) {
			t.Errorf("%s: due too early", test.name)
		}
	}
}

func TestAReReadProvesNoMoreThanTheBeatBeforeIt(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(1000+int64(s), 0) }
	r := newRight(testF, testH)
	r.joined(at(0), 1)
	r.beaten(at(3), 2) // a bump is seen
	reading := r.read()
	r.beaten(at(6), 3) // another one comes while the rows are being read
	r.apply(reading)
	if want := at(3).Add(testH - testH/margin); !r.stale() || !r.drainBy().Equal(want) {
		t.Errorf("stale is %v, holds end at %v, want %v", r.stale(), r.drainBy(), want)
	}
	r.apply(r.read())
	if want := at(6).Add(testH - testH/margin); r.stale() || !r.drainBy().Equal(want) {
		t.Errorf("stale is %v, holds end at %v, want %v", r.stale(), r.drainBy(), want)
	}
}
