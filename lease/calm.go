package lease

import (
	"slices"
	"time"
)

// calm is what a leader remembers so that leases stay where they are while
// nothing but noise asks for a move. It belongs to the leader's goroutine.
//
//	rows ──► loads, smoothed again ──────────┐
//	     └─► leases whose load nobody knows ─┼──► View ──► Plan
//	members ──► has anything just changed? ──┘
//
// A new leader remembers nothing. It takes the loads as the rows have them,
// which is right but for some noise, and waits a moment before it balances.
type calm struct {
	pause  time.Duration // how long nothing may have changed before leases move for balance
	leases map[string]acquaintance
	fleet  map[string]bool // who might be given leases; nil before the first look

	looked   time.Time
	changed  time.Time // when leases or fleet were last found changed
	restless time.Time // since when balance has been put off; zero when it is not
	due      time.Time // when it is time, if nothing changes any more; zero when it is put off for nothing
}

// acquaintance is what is remembered of one unfinished lease.
type acquaintance struct {
	since time.Time // of the first look; zero when the lease was there before the leader
	load  Load      // smoothed
}

const (
	// calmMemory is over what time the leader smooths loads, which the workers
	// have smoothed over a minute already: what lasts is seen within another
	// minute, and what wavers from pass to pass is not.
	calmMemory = 30 * time.Second
	// unknownFor is how long the load of a new lease is not asked for: its
	// worker's first figures are of a few seconds.
	unknownFor = time.Minute
	// restlessFor is how many pauses long balance is put off at most. In a
	// fleet large enough something changes all the time.
	restlessFor = 10
)

func newCalm(pause time.Duration) *calm { return &calm{pause: pause} }

// look compares the leases and the fleet, those members who may be given any,
// with what they were. It returns the leases with the loads to plan with, those
// whose load is unknown, and whether nothing has changed for a while.
func (c *calm) look(now time.Time, leases []Lease, fleet map[string]bool) (steady []Lease, unknown map[string]bool, settled bool) {
	steady, unknown = slices.Clone(leases), map[string]bool{}
	known := make(map[string]acquaintance, len(leases))
	changed := len(fleet) != len(c.fleet)
	for name := range fleet {
		changed = changed || !c.fleet[name]
	}
	weight := min(1, now.Sub(c.looked).Seconds()/calmMemory.Seconds())
	for i := range steady {
		l := &steady[i]
		if l.Finished() {
			continue
		}
		a, met := c.leases[l.Key]
		switch {
		case !met:
			a.load = l.Load
			if c.fleet != nil || l.Term == 0 && !l.Begun() {
				a.since = now
			}
			changed = true
		case a.load == Load{}:
			a.load = l.Load
		default:
			a.load.BytesPerSecond += weight * (l.Load.BytesPerSecond - a.load.BytesPerSecond)
			a.load.RecordsPerSecond += weight * (l.Load.RecordsPerSecond - a.load.RecordsPerSecond)
		}
		known[l.Key] = a
		l.Load = a.load
		if now.Sub(a.since) < unknownFor {
			unknown[l.Key] = true
		}
	}
	changed = changed || len(known) != len(c.leases)
	c.leases, c.fleet, c.looked = known, fleet, now
	return steady, unknown, c.settle(now, changed)
}

// settle reports whether it is time to balance.
func (c *calm) settle(now time.Time, changed bool) bool {
	if changed {
		c.changed = now
		if c.restless.IsZero() {
			c.restless = now
		}
	}
	if now.Sub(c.changed) < c.pause && now.Sub(c.restless) < restlessFor*c.pause {
		c.due = c.changed.Add(c.pause)
		return false
	}
	c.restless, c.due = time.Time{}, time.Time{}
	return true
}
