// Package sim runs whole fleets in virtual time: real workers, coordinators
// and processors over a stream and a lease store in memory, with everything
// that goes wrong with machines and networks. An hour of a worker takes less
// than a second.
//
//	producers ──► streamtest.Memory ◄── resharder, retention
//	                   │
//	                 inlet (may hang)
//	                   │
//	      machines: start, live, then stop · crash · freeze · be cut off; again
//	                   │
//	                 line (a script's ambush) ──► leasetest.Faulty ──► check.Store ──► lease.Memory
//	                                                                       │
//	  processors ── delivered, done ───────────────────────────────────────┴──► internal/check
//
// [Run] draws what happens from a seed. In the mode [Safety] faults are hostile
// and never end, and nothing may ever be violated. In the mode [Liveness] they
// end, and the fleet must come to rest: everything processed, shared out evenly,
// no more moves, and what is put is processed soon. In the mode [Calm] only
// loads waver, and leases must stay where they are. Incidents (the tests of that
// name) are the same fleets led by a script.
//
// Every actor draws from a source of its own, derived from one seed, so that a
// seed replays whatever the order in which goroutines run.
package sim
