// Package worker runs record processors over the shards of streams: it takes
// leases, reads, calls the processor in order, checkpoints and drains.
//
//	lease.Coordinator ── one goroutine per held shard ──┐
//	                                                    ▼
//	stream.Reader ──► fetcher ──► batch n+1 ──► ProcessRecords(batch n) ──► Tracker
//	                    (one batch ahead,          │ error or panic:          │ done
//	                     bounded in bytes)         └─ the same records again  ▼
//	                                                  after a pause        Keeper ──► Hold.Save
//	                                                                    (each 5 s, and at the end)
//
// A fleet is any number of workers with the same Application and the same
// lease store, in one process or on many machines; they share out the shards
// among themselves.
//
// What is promised: every record reaches a processor at least once and in the
// order of its shard; nothing is skipped, whatever a processor returns; a
// graceful stop hands every shard over without repeating a record; a child
// shard begins when its parents are finished; memory is bounded. A stream that
// is away or damaged holds up its own shards only, and they say so.
//
// Records that carry many, as the Kinesis Producer Library makes them, are
// unpacked on their way (stream/kpl): all that is said of records is true of those
// inside, and checkpoints may stand between them.
//
// What it costs: nothing per record but the reading, some microseconds per
// batch. A shard at rest does nothing at all, and takes about 32 KiB of memory,
// the stacks of its three goroutines most of it. A shard at work has two
// batches, which keep alive no more than its share of Config.Memory, and 120
// bytes for each of their records.
//
// What is not promised: after a crash the records since the last checkpoint
// come again, so effects should bear repetition or be fenced by the shard's
// term. And records that leave retention before they were read are lost; the
// log tells, as an error, and so does the metric millrace.shard.trimmed. A closed
// shard leaves its stream with the last of them: then it ends, and its children
// begin, when the records that were read are done.
package worker
