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

// Beats are milliseconds of the sender's clock: who saw one of them soon knows how
// late it sees the others.
func TestSilenceCountsFromWhenTheLastBeatWasSentAtTheLatest(t *testing.T) {
	at := func(s float64) time.Time { return time.Unix(1000, 0).Add(time.Duration(s * float64(time.Second))) }
	type look struct {
		at, beat float64 // in seconds, on the observer's clock and on the sender's
		leader   bool    // at the leader's row
	}
	for _, test := range []struct {
		name  string
		looks []look
		since float64
	}{
		{"seen at once", []look{{at: 0, beat: 0}, {at: 3, beat: 3}, {at: 8, beat: 3}}, 3},
		{"seen late, after one that was seen at once", []look{{at: 0, beat: 0}, {at: 5, beat: 3}, {at: 9, beat: 3}}, 3 + 3.0/drift},
		{"all seen late", []look{{at: 2, beat: 0}, {at: 5, beat: 3}, {at: 9, beat: 3}}, 5},
		{"the clock of the sender runs faster", []look{{at: 0, beat: 0}, {at: 3, beat: 4}, {at: 9, beat: 4}}, 3},
		{"the clock of the sender stood still", []look{{at: 0, beat: 0}, {at: 4, beat: 0}, {at: 8, beat: 1}}, 8},
		{"one that was long under way", []look{{at: 0, beat: 0}, {at: 4, beat: 0}, {at: 6, beat: 3}}, 6},
		{"a new one, of whom the leader's row tells", []look{{at: 0, beat: 0, leader: true}, {at: 5, beat: 3, leader: true}, {at: 9, beat: 4}}, 4 + 4.0/drift},
		{"an observer that was away", []look{{at: 0, beat: 0}, {at: 60, beat: 50}}, 60},
		{"a leader's row that was not looked at for long", []look{{at: 0, beat: 0, leader: true}, {at: 60, beat: 50}}, 60},
	} {
		w := newWatch(10*time.Second, 7500*time.Millisecond)
		for _, l := range test.looks {
			m := Member{Incarnation: "a", Worker: "a", Beats: int64(l.beat*1000) + 1}
			if l.leader {
				w.observeLeader(at(l.at), at(l.at), m)
			} else {
				w.observe(at(l.at), at(l.at), m)
			}
		}
		last := test.looks[len(test.looks)-1].at
		want := time.Duration((last - test.since) * float64(time.Second))
		if got := w.silence("a"); (got - want).Abs() > time.Microsecond {
			t.Errorf("%s: silent for %v at %v s, want %v", test.name, got, last, want)
		}
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
		if got := h.due(test.l, Member{}, began.Add(testH)); got != test.due || h.pending(test.l) != test.due {
			t.Errorf("%s: due is %v", test.name, got)
		}
		if h.due(test.l, Member{}, began.Add(testH-1)) {
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
