// Package chaos tries whole programs, real processes over real files and real
// servers. It has nothing but tests.
//
// One process with everything in it, killed again and again:
//
//	parent ── starts, kills, starts again ──► child: producers ─► engine ─► workers ─► journal
//	   └──── reads the journal: what was acknowledged, what was done, under which term ◄──┘
//
// A fleet of worker processes over a lease store in PostgreSQL, in DynamoDB or in
// SQLite, disturbed in all ways at once:
//
//	arena: engine ── puts, splits, merges ──► worker processes ── a link each ──► lease store
//	   │ harms one ─────────────────────────────► kill, stop       └► cut off, slow,    │
//	   │ or all, moves shards                                         deaf, spoilt      │
//	   └──► ledger ◄── journals: every term, every record, every write asked for ◄──────┘
//	           └──► audit: each promise of package check, by its name
//
// Or the stream, too, is somebody else's: "millrace serve", of which the connections are
// cut and which is killed and comes back, while workers poll it or are pushed to.
//
//	service: serve ──► engine in a folder ◄── read at the end: nothing acknowledged is missing
//	   ▲ killed          ▲
//	   └── link ── polls and subscriptions of worker processes
//
// The clocks of the processes jump to and fro by an hour. No process can be given a
// clock of its own, but all that a worker reads of one is the number with which a
// new row begins, and that is changed on its way to the store.
package chaos
