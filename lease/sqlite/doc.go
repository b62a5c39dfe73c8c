// Package sqlite keeps leases in an SQLite file: the store of fleets that live
// on one machine. It needs no server and no C compiler.
//
//	process 1 ── Store ──┐                          millrace_lease     who owns a shard, and how far it got
//	process 2 ── Store ──┼──► leases.db (+ -wal) ──► millrace_member    which workers live
//	process 3 ── Store ──┘                          millrace_note      what people want of the fleet
//	                                                millrace_change    whether others should look
//	                                                millrace_migration which tables there are
//
// Any number of processes may share the file, each through as many handles as
// it likes; every row is linearizable among all of them. Many applications may
// share it, too: each sees its own rows only. The tables are plain, so that a
// person can read them with any SQLite tool while workers run.
//
// Every write is guarded, and durable before it is acknowledged (one fsync, unless
// [Config.MayForgetOnPowerCut]). Swaps that come while another one is under way go
// out together, as one transaction: a hundred checkpoints cost little more than ten
// one by one. Nothing is delayed to wait for company, and a row that cannot be
// stored fails alone.
//
// Writers take turns: SQLite has one at a time for the whole file. A handle waits
// for its turn until the context of the call is done, so a process that is stopped
// in the middle of a write, which takes little longer than its fsync, holds up all
// others.
//
// A processor whose own tables are in the file can store its checkpoint in the
// transaction in which it writes them: see [CheckpointTx].
//
// The file uses SQLite's write-ahead log. That needs shared memory, so all
// processes have to run on one machine, and the file has to lie on a local
// disk: network file systems lose writes.
package sqlite
