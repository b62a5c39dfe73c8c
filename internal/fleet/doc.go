// Package fleet runs fleets of real worker processes over one stream, for tests of
// chaos and for benchmarks.
//
//	this process                              worker processes, one [Config] each
//	 engine ── Host ── loopback ───────────►  remote ──► worker.Worker ──► callbacks
//	   ▲         │                                          │                 │
//	   │         └── Start, Kill, Pause, Stop ──►           ▼                 ▼
//	 puts, reshards                           lease store (PostgreSQL, DynamoDB, SQLite)
//	                                                        │
//	 Host.Events ◄──── journals, a file each ◄──────────────┘ what it did, under which term
//
// A worker process is the program itself, started again: its main function, or
// TestMain, calls [Main] first. The stream reaches it by a private protocol over a
// connection of the loopback that nothing disturbs, or by the Kinesis API of a server
// that has it; the lease store by whatever address it is given, which may be that of a
// proxy that disturbs a lot.
//
// Everything that a worker process does, and everything that it asks of the lease
// store, is in its journal before or as soon as it is done: an [Event] a line, with
// the time of the machine's one clock. A journal outlives its process, however
// that ends.
package fleet
