// Package postgres keeps leases in PostgreSQL: the store of fleets on many
// machines that have a database already. It needs PostgreSQL 12 or newer.
//
//	worker 1 ── Store ──┐                            millrace_lease     who owns a shard, and how far it got
//	worker 2 ── Store ──┼── your pools ──► schema ──► millrace_member    which workers live
//	worker 3 ── Store ──┘      ▲                     millrace_note      what people want of the fleet
//	               │           │                     millrace_migration which tables there are
//	               └── LISTEN ─┴── NOTIFY, with whatever moves a lease or a member
//
// A [Store] works on a pgxpool.Pool that its user owns: it neither opens nor
// closes it, and has nothing to close itself. Call [Store.Migrate] once at the
// start of every worker; many may do so at the same time. Who runs migrations
// by other means prints them with [SQL].
//
// Many applications may share the tables: each sees its own rows only. The
// tables are plain, so that a person can read them with psql while workers run.
//
// Every write is one guarded statement, found through an index. Swaps that come
// while another one is under way go out together, as one statement: a lone one
// goes at once, and a hundred cost little more than one. Nothing is delayed to
// wait for company. A row that somebody else has locked holds up its own swap
// and no other.
//
// Everything works through a pooler in transaction mode (PgBouncer), with the
// pool's DefaultQueryExecMode set to QueryExecModeExec or to
// QueryExecModeSimpleProtocol, and [Config.PollOnly].
//
// With [Config.FastFailover] the shards of a process that has died are taken over
// within a second, and not after FailoverTime.
//
// The pool's address may name several hosts, with target_session_attrs=read-write: a
// connection to a standby is not used, since what it shows may be old; each is asked
// once, so a pooler must not change from a primary to a standby behind it. A firewall
// that forgets connections keeps a call waiting until that is found out, and those
// that the pool itself finds dead keep their places in it for some seconds more: give
// the pool's ConnConfig a ConnectTimeout of a second or two, its DialFunc a net.Dialer
// whose KeepAliveConfig probes within FailoverTime, and set pgxpool's PingTimeout.
//
// What the server promises is what the leases promise: with
// synchronous_commit=off, or after a failover to a standby that lagged behind, a
// term (a fencing token) that was given out may be forgotten, and be given out
// a second time.
package postgres
