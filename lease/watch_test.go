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
