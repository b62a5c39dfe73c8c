package lease

import "time"

// handoffs remembers which handoffs this leader has announced to the former
// owner by a bump of its member row, and when the bump was acknowledged. Only
// from its own acknowledged bump on may it count the time after which it
// forces: a bump by a former leader, or one without an answer, may never have
// reached the worker.
type handoffs struct {
	after     time.Duration // the leader's own H
	announced map[handoff]time.Time
}

// handoff is one worker's leaving of one term. A second move that changes only
// the new owner is the same handoff.
type handoff struct {
	key             string
	term            int64
	checkpointOwner string
}

func handoffOf(l Lease) handoff { return handoff{l.Key, l.Term, l.CheckpointOwner} }

func newHandoffs(after time.Duration) *handoffs {
	return &handoffs{after: after, announced: map[handoff]time.Time{}}
}

// acknowledged records that the former owner's row was bumped after the
// handoff had been written. The first time stays.
func (h *handoffs) acknowledged(l Lease, now time.Time) {
	if _, known := h.announced[handoffOf(l)]; !known {
		h.announced[handoffOf(l)] = now
	}
}

// pending reports whether the handoff was announced by this leader.
func (h *handoffs) pending(l Lease) bool {
	_, known := h.announced[handoffOf(l)]
	return known
}

// due reports whether the handoff may be forced, of which from is the former owner.
func (h *handoffs) due(l Lease, from Member, now time.Time) bool {
	at, known := h.announced[handoffOf(l)]
	return known && now.Sub(at) >= from.handoff(h.after)
}

// keep forgets all handoffs but those of the given leases.
func (h *handoffs) keep(leases []Lease) {
	kept := make(map[handoff]time.Time, len(h.announced))
	for _, l := range leases {
		if at, known := h.announced[handoffOf(l)]; known && l.CheckpointOwner != "" {
			kept[handoffOf(l)] = at
		}
	}
	h.announced = kept
}
