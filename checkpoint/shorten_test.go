package checkpoint

import (
	"testing"

	"github.com/millrace/millrace/stream"
)

func TestASpanThatIsShortenedLeavesTheRestToTheNext(t *testing.T) {
	at := func(n uint64) stream.Sequence { return stream.MakeSequence(0, n, 0) }
	after := func(n uint64) stream.Position { return stream.After(at(n)) }
	tracker := NewTracker(after(1))
	check := func(step string, position, claimed stream.Position) {
		t.Helper()
		if p, c := tracker.Position(), tracker.Claimed(); p != position || c != claimed {
			t.Errorf("%s: at %v, claimed %v; want %v and %v", step, p, c, position, claimed)
		}
	}
	n := tracker.Deliver(at(9))
	tracker.Failed(n, true)
	tracker.Shorten(n, at(5))
	tracker.Failed(n, false)
	check("the first half is given", after(1), after(5))
	tracker.Failed(n, true)
	tracker.Shorten(n, at(3))
	tracker.Failed(n, false)
	check("a quarter is given", after(1), after(3))
	tracker.Done(n)
	check("it is done", after(3), after(3))
	tracker.Failed(n+1, false)
	check("the rest is given", after(3), after(9))
	tracker.Shorten(n, at(2))
	tracker.Shorten(n+7, at(2))
	check("what is done, or was never opened, is not shortened", after(3), after(9))
	tracker.Done(n + 1)
	check("all is done", after(9), after(9))
	if last, ok := tracker.Delivered(); !ok || last != at(9) {
		t.Errorf("delivered %v", last)
	}
	if next := tracker.Deliver(at(12)); next != n+2 {
		t.Errorf("the next span is %d, want %d", next, n+2)
	}
}
