package lease

import (
	"cmp"
	"slices"
	"time"
)

// Status is what a coordinator is doing at a moment.
type Status struct {
	// Incarnation is the present start of the worker; empty before Run.
	Incarnation string
	// Leading says that this worker leads the fleet.
	Leading bool
	// Stopping says that the worker gives away what it holds.
	Stopping bool
	// Expired says that the worker could not reach the store in time and holds
	// nothing until it can.
	Expired bool
	// Leases are those that the worker holds or that were given to it, by key.
	Leases []LeaseStatus
}

// LeaseStatus is how one lease of a worker stands.
type LeaseStatus struct {
	// Lease is the row as last known; of a lease that is not yet taken only
	// the key is known.
	Lease Lease
	// State is one word: taking, held, leaving, ending, waiting, or stuck: the lease
	// was lost, and its callback has not returned for FailoverTime.
	State string
	// Reason tells for what a waiting lease waits: "for parent shardId-1".
	Reason string
	// Since is when the term began; zero when it has not.
	Since time.Time
	// Blocked tells why it does not get on; zero when it does.
	Blocked Blocked
}

// Status returns what the coordinator is doing now. It may be called at any
// time and asks nobody.
func (c *Coordinator) Status() Status {
	s := c.session.Load()
	if s == nil {
		return Status{}
	}
	stuck := c.stuck.status()
	s.mu.Lock()
	defer s.mu.Unlock()
	status := Status{Incarnation: s.me, Leading: s.leads, Stopping: s.leaving, Expired: s.lapsed || s.isOut, Leases: stuck}
	for _, h := range s.slots {
		status.Leases = append(status.Leases, LeaseStatus{Lease: h.row, State: h.state(), Since: h.since, Blocked: h.blocked})
	}
	for key, reason := range s.waiting {
		if s.slots[key] == nil && !c.stuck.has(key) {
			status.Leases = append(status.Leases, LeaseStatus{Lease: Lease{Key: key}, State: "waiting", Reason: reason})
		}
	}
	slices.SortFunc(status.Leases, func(a, b LeaseStatus) int { return cmp.Compare(a.Lease.Key, b.Lease.Key) })
	return status
}

// StreamIDs returns the IDs of Config.Streams, in that order, as they were when
// the worker last asked them; "" for one that has not answered or is not there. It
// may be called at any time and asks nobody.
func (c *Coordinator) StreamIDs() []string {
	s := c.session.Load()
	if s == nil {
		return make([]string, len(c.cfg.Streams))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.streams)
}

// state returns the word for Status. The caller holds the session's mu.
func (h *held) state() string {
	switch {
	case h.done || h.ctx.Err() != nil:
		return "ending"
	case h.term == 0:
		return "taking"
	case h.leaves:
		return "leaving"
	default:
		return "held"
	}
}
