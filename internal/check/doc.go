// Package check holds the invariants of record processing against what a fleet
// does. Simulations, chaos tests and soak tests feed the same [Checker].
//
//	producer     Put ──────────────┐
//	stream       Shard, Gone ──────┤
//	lease store  Took, Stored,     ├──► Checker ──► Err (violations, each with its invariant's name)
//	             Released, Retired,│             └► Stats, Hash
//	             GivenUp, Covered ─┤
//	worker       Began, Delivered, │
//	             Done, Cancelled,  │
//	             Returned ─────────┤
//	user's sink  Effect ───────────┘
//
// The invariants, by their names in messages:
//
//	F1  terms of a shard strictly grow, also when its row is deleted and created again
//	F2  only the holder of the newest term stores anything; no term begins that was not issued
//	F3  after an effect of a later term none of an earlier one is accepted
//	F4  nothing is delivered under a term that is cancelled or over
//	F5  a term begins only after its predecessor was cancelled or has returned
//	C1  at rest, every acknowledged record is done and covered by a checkpoint
//	C2  inside a term records come in order, and from the checkpoint on
//	C3  a checkpoint never goes back
//	C4  a checkpoint never passes an acknowledged record that is not done, nor what was delivered
//	C5  a clean end of a term leaves nothing that would come again
//	C6  a term repeats no more than was delivered and not covered when it was issued
//	P1  no record of a child is delivered before all its parents have ended
//	P2  a shard ends only after its last record is done
//	P3  at rest, the shards that are not ended cover the hash space once
//	P4  a row goes only when its shard has ended, or left the stream, and all its children have begun
//	P5  a shard is given up unprocessed only when the stream has it no longer, and what is lost is counted
//
// What the names F6 to F8, C7 and C8, D and L stand for are no statements about
// events. They are held by stores (lease/leasetest), by the engine's own tests,
// and by the simulation: F6 and F7 by lost answers and wrong clocks under which
// none of the above may be violated, L by the rest of a fleet without faults.
//
// An event costs O(log n) at most, n being the records that are put and not
// done; what is done and covered by a checkpoint is forgotten, and of a shard
// whose row is deleted there is left how it ended. Events about one shard must
// be fed in the order in which they took place; Put may come late, since a
// record can be processed before its producer hears of it.
package check
