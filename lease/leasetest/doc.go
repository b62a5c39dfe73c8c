// Package leasetest is the contract of [lease.Store] as tests, and a wrapper
// that makes any store misbehave as networks do.
//
//	           Run ──► creation · swaps · deletion · lists · members ──► your Store
//	                   contention · histories · random walks beside a model
//
//	coordinator ──► Faulty ──► latency · errors · lost answers · late writes ──► any Store
//
// Whoever brings a backend calls [Run] from a test and needs no other proof:
//
//	func TestStore(t *testing.T) {
//		leasetest.Run(t, func(t testing.TB) lease.Store { return open(t) }, leasetest.Options{})
//	}
//
// [Operate] lets an operator act on a small fleet over a store.
//
// Each part of the contract is one test whose name is a sentence. The suite
// itself is tested with stores that are broken on purpose, one way each, and
// has to turn red for every one of them.
package leasetest
