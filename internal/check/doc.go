// Package check holds the invariants of record processing against what a fleet
// does. Simulations, chaos tests and soak tests feed the same [Checker].
//
//	producer     Put ──────────────┐
//	stream       Shard ────────────┤
//	lease store  Took, Stored,     ├──► Checker ──► Err (violations, each with its invariant's name)
//	             Released, Retired ┤             └► Stats, Hash
//	worker       Began, Delivered, │
//	             Done, Cancelled,  │
//	             Returned ─────────┘
//
// The invariants, by their names in messages:
//
//	F1  terms of a shard strictly grow
//	F2  only the holder of the newest term stores anything
//	F3  after an effect of a later term none of an earlier one is accepted
//	F4  nothing is delivered under a term that is cancelled or over
//	F5  a term begins only after its predecessor was cancelled or has returned
//	C1  at rest, every acknowledged record is done and covered by a checkpoint
//	C2  inside a term records come in order, and from the checkpoint on
//	C3  a checkpoint never goes back
//	C4  a checkpoint never passes an acknowledged record that is not done, nor what was delivered
//	C5  a clean end of a term leaves nothing that would come again
//	P1  no record of a child is delivered before all its parents have ended
//	P2  a shard ends only after its last record is done
//	P4  a row goes only when its shard has ended
//
// An event costs O(log n) at most, n being the records that are put and not
// done; what is done and covered by a checkpoint is forgotten. Events about one
// shard must be fed in the order in which they took place; Put may come late,
// since a record can be processed before its producer hears of it.
package check
