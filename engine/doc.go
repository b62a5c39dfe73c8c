// Package engine keeps sharded record streams on one machine: durably, in one
// directory, with one log for all of them.
//
//	Put ──► route by hash ──► log: all shards, one after the other ──► answer
//	                            │   000…1.log  000…2.log  …            (durable)
//	                            │
//	                            │   in the background: 8…1.chunk, shard by shard
//	                            ▼
//	        Reader.Next ◄── index of each shard ◄── from memory, without copying,
//	        Subscribe                               while recent; else from disk
//
//	        MANIFEST: streams, shards and their lineage, retention, tags
//
// [Open] takes a directory for one process at a time. A [*Stream] is a
// [stream.Stream], and can be put to ([stream.Putter]), pushes records
// ([stream.Subscriber]) and reshards ([stream.Resharder]).
//
// [Stream.Read] is for who keeps the place of a reader elsewhere, as a server does:
// it does not wait, and remembers nothing.
//
// What it promises:
//
//   - A put that was acknowledged survives kill -9 and a power cut
//     ([LoseOnPowerFailure] promises less, and says so).
//   - Readers see only what is durable, so no checkpoint can stand beyond the
//     log after a crash. No sequence number is given twice.
//   - What a crash left unfinished is cut off. What was durable and is damaged
//     is reported ([*stream.CorruptError], [Engine.Damage]) and never served;
//     all else goes on.
//   - When a disk fails to write the log, the engine turns read-only
//     ([stream.ErrReadOnly]); what was acknowledged can still be read. A file
//     that a disk has once failed to read or write is not written again.
//   - A stream that is deleted and created again is another one, by its
//     [stream.Identity] and by its sequence numbers.
//
// What it does not: replicate. It is as safe as the disk below it.
//
// What it costs, in memory: 32 bytes for each block within retention (a block is
// 64 KiB of one shard, or what the shard has in a file of less; before the log
// is rewritten, it is what came for the shard during one sync) and up to twice
// that while a shard's list of them is short, 8 KiB more at most, which makes 60 to
// 120 MB for a billion records of 100 bytes, over one shard or four thousand;
// [Config.ChunkBytes] and a third while it is rewritten; 1 KiB for a shard, and for a reader at the end of its
// shard. A reader on its way holds, beside its batch, what it
// has read from the disk and not given yet, 1 MiB at most; a batch keeps alive
// what its MaxFootprint allows, some MiB by default. The newest data takes
// [Config.CacheBytes]; what leaves it lives on in the batches that share it.
// And an opening reads the log that is not rewritten ([Stats.LogBytes]), some
// gigabytes a second when the page cache has it.
//
// The files are described in FORMAT.md.
package engine
