package lease

import "time"

// grip is what a worker knows of a lease that it has in hand, or reaches for. It
// is a value, and what it makes of a row is told by the row alone.
type grip struct {
	row     Lease     // the newest known
	takes   int64     // the Term that the pending take will have
	term    int64     // the Term, once the take is known to have gone through
	moved   bool      // while the take was pending the lease was given to others
	drainBy time.Time // when a handoff must be over; fixed when it is learned
}

// observe takes note of a row, as somebody read it. Rows may come in any order:
// one that is not newer says nothing, as a row of the worker's own term does.
// by is when a handoff must be over that is learned now.
func (g *grip) observe(row Lease, me string, by time.Time) Standing {
	if row.Counter <= g.row.Counter {
		return Held
	}
	g.row = row
	if g.term == 0 {
		// A take whose answer comes after this must not begin a hold.
		g.moved = g.moved || StandingOf(row, me, g.takes) != Held
		return Held
	}
	standing := StandingOf(row, me, g.term)
	if standing == Leaving && g.drainBy.IsZero() {
		g.drainBy = by
	}
	return standing
}
