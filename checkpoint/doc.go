// Package checkpoint is how far: which records of a shard are done, what of
// that is stored, and the face by which a processor asks for more.
//
//	delivered ──► Tracker ──► the last position with everything     State ──► Saver
//	done      ──►             at or before it done             ──►  (coalesced, fenced)
//	                                    ▲
//	      processor ── Checkpointer ────┘  Checkpoint · CheckpointAt · Prepare
//
// A stored checkpoint never goes back and never passes an unfinished record.
// Who may store one is not decided here: the [Saver] is the lease in hand, and
// it refuses when another worker has taken the shard.
package checkpoint
