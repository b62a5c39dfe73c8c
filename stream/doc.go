// Package stream is the model of a sharded record stream, and the seams
// through which every kind of stream is read and written.
//
//	        Entry ──► Putter ─┐                         ┌─► Reader.Next ──► Batch of Records
//	                          ▼                         │    (pull)
//	 Stream ── Shards ──► shard 0  ■■■■■■■■■■■■■■■■■■■──┤
//	   │                  shard 1  ■■■■■■■■■■ split     └─► Subscriber ──► Batch of Records
//	   │                    ├─ shard 2   ■■■■■■■             (push)
//	Identity                └─ shard 3   ■■■■■
//
// A stream is a set of shards that divide a hash space of 128 bits among them
// ([HashRange]). A record goes to the shard whose range holds the MD5 of its
// partition key, or the explicit hash key that its producer gave. Inside a
// shard, records are totally ordered by [Sequence]; between shards there is no
// order, but for lineage: a shard ends when it is split or merged, and its
// children hold what came later.
//
// Where to read is a [Position]; how far somebody has read is one, too.
//
// The package imports nothing else of Millrace. The built-in engine implements
// its interfaces; stream/streamtest is the contract as tests.
package stream
