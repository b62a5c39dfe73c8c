// Package sim runs whole fleets in virtual time: real workers, coordinators
// and processors over a stream and a lease store in memory, with everything
// that goes wrong with machines and networks. An hour takes about a second.
//
//	producers ──► streamtest.Memory ◄── resharder
//	                   │
//	      worker slots │ each: start, live, then stop · crash · freeze · be cut off; again
//	                   ▼
//	          leasetest.Faulty ──► observed store ──► lease.Memory
//	                                   │
//	  processors ── delivered, done ───┴── terms, checkpoints ──► internal/check
//
// Every actor draws from a source of its own, derived from one seed, so that a
// seed replays. Safety is checked all the time; after the last fault the fleet
// must also come to rest: everything processed, shared out evenly, no moves.
package sim
