// Package sqlite keeps leases in an SQLite file: the store of fleets that live
// on one machine. It needs no server and no C compiler.
//
//	process 1 ── Store ──┐                          millrace_lease     who owns a shard, and how far it got
//	process 2 ── Store ──┼──► leases.db (+ -wal) ──► millrace_member    which workers live
//	process 3 ── Store ──┘                          millrace_migration which tables there are
//
// Any number of processes may share the file, each through as many handles as
// it likes; every row is linearizable among all of them. Many applications may
// share it, too: each sees its own rows only. The tables are plain, so that a
// person can read them with any SQLite tool while workers run.
//
// Every write is one guarded statement, and durable before it is acknowledged
// (one fsync, unless [Config.MayForgetOnPowerCut]). Writers take turns: SQLite
// has one at a time for the whole file. A handle waits for its turn until the
// context of the call is done, so a process that is stopped in the middle of a
// write, which takes little longer than its fsync, holds up all others.
//
// The file uses SQLite's write-ahead log. That needs shared memory, so all
// processes have to run on one machine, and the file has to lie on a local
// disk: network file systems lose writes.
package sqlite
