// Package wal is the engine's log: one sequence of bytes on disk in which the
// records of all shards lie in the order of their arrival, and the files into
// which it is rewritten in the background, shard by shard.
//
//	Append ─► arena ─► group ──write──► segment ──sync──► publish ─► Shard index ─► wake
//	 (lock,   (1 MiB,   (all that        file              │             │
//	 counter,  memory =  came while      000…7.log         answer        ▼
//	 copy,     file)     one sync ran)      │                         Cursor ─► Batch
//	 checksum)    ▲                         └─ Rewriter ─► 8…1.chunk ─┤     │
//	              └──────────── views, no copy ───────────────────────┘   pread, checksums
//
// Promises:
//
//   - An append that was answered without an error is durable: written and
//     synced (with [Options.SyncEvery], written only).
//   - What a [Cursor] reads is as durable as that; it never sees more.
//   - A counter is never given to two records, not even when the first one was
//     lost before it was durable.
//   - After a failing write or sync nothing more is answered, ever; what was
//     answered stays readable.
//   - Damage to what was durable is found, reported, and not served; an
//     unfinished end that no one was promised is cut off.
//
// What it takes: CacheBytes and PendingBytes of memory; 32 bytes for each block
// in the log, and for each 64 KiB that were rewritten, but one block at least of
// each shard for each ChunkBytes; while it rewrites, ChunkBytes (or one segment,
// if that is more) and 120 bytes for each block of it. Four times ChunkBytes may
// wait in the log to be rewritten, before the rewriter goes as fast as it can,
// and eight times, before appends go no faster than it does. More waits only
// while it cannot work: on a disk that is full or fails, and behind damage that
// nobody has accepted.
//
// The format of the files is in FORMAT.md beside the package engine.
//
// Locks: Log.mu guards the end of the log, where appends and commits meet;
// Shard.mu guards one shard's index; segments.mu and cache.mu guard their maps.
// Log.mu may be held when one of the others is taken, Shard.mu when segments.mu
// is; no other nesting, and nothing waits while it holds one.
package wal
