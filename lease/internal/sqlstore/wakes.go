package sqlstore

import (
	"slices"

	"github.com/millrace/millrace/lease"
)

// Wakes reports whether others should hear of a swap at once: of anything but
// how far a shard has been processed, and at what cost, until its end, and that
// its owner has begun a term.
func Wakes(old, next *lease.Lease) bool {
	return old.Owner != next.Owner || old.CheckpointOwner != next.CheckpointOwner ||
		old.Finished() != next.Finished() || !slices.Equal(old.Children, next.Children)
}

// WakesMember reports whether others should hear of a swap of a member at
// once: of anything but a beat, and what the worker carries.
func WakesMember(old, next lease.Member) bool {
	next.Version, next.Beats, next.Load, next.Blocked = old.Version, old.Beats, old.Load, old.Blocked
	return old != next
}
