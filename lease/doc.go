// Package lease decides which worker of a fleet processes which shard, and
// keeps that decision in the rows of a [Store].
//
//	              Members: one row per start of a worker        Leases: one row per shard
//	              ┌────────────────────────────────┐            ┌───────────────────────────────┐
//	beat ────────►│ Beats · Revision · Fenced      │            │ Owner · CheckpointOwner · Term│◄──── take, checkpoint,
//	every F/3     └───────▲────────────────────────┘            └──────▲────────────────────────┘      end, release
//	              observes│ fences, bumps              creates, assigns│ hands off, forces, retires         │
//	                   ┌──┴───────────────────────────────────────────┴──┐                                  │
//	stream.Shards ────►│ leader (one worker at a time): Sync, then Plan  │                                  │
//	                   └─────────────────────────────────────────────────┘                                  │
//	every worker: [Coordinator] ── polls Owned, re-reads what a bump announces ──► one [HoldFunc] per lease ┘
//
// The life of a lease:
//
//	             assign             take                 hand off                  stopped
//	Owner=""  ──────────► Owner=a ────────► Owner=a  ──────────────► Owner=b  ──────────────► Owner=b ──► take …
//	   ▲                                    Term=7                   CheckpointOwner=a
//	   └──────────── released ◄───────────────┘ │ shard end
//	                                            ▼
//	                                Checkpoint=SHARD_END: nobody takes it again
//
// People act on a running fleet through its store, too: an [Operator] pauses and
// resumes, drains, moves and seeks by notes that the leader obeys and by the same
// guarded swaps; [FleetStatus] tells who owns what, and why a shard is not
// processed.
//
// The decisions are pure functions of rows: transitions ([Taken], [Released],
// [HandedOff] …), [Plan] and [Sync]. Everything else carries them out, by
// guarded swaps. Two leaders at a time, paused processes, lost answers and
// stores that are away for hours cost time and moves, never two holders:
//
//   - A worker's right to process ends by its own monotonic clock before
//     anyone else may take its shards; then the contexts of its holds are
//     cancelled, with the reason as their cause.
//   - Nobody's leases are taken before his member row is fenced, and that
//     fails if he has beaten since he was last seen.
//   - A live owner is asked: it goes on until its successor has been told, finishes
//     its batch, stores its checkpoint and lets go, all in one write; only after
//     [Config.HandoffTimeout] is it forced.
//   - A write without an answer is read back before the next decision.
//
// No clock of one machine is ever compared with that of another. What is not
// promised: that a callback which ignores its cancelled context has returned
// before the next holder begins. For that there is the term ([Hold.Term]), a
// fencing token for sinks that can refuse older ones.
package lease
