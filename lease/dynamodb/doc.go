// Package dynamodb keeps leases in DynamoDB, in the lease table of Amazon's
// Kinesis Client Library: the store of fleets on AWS, and the way from there to
// here and back.
//
//	                    LeaseOwnerToLeaseKeyIndex, CheckpointOwnerToLeaseKeyIndex: Owned
//	                                        ▲
//	leader ── one Scan a pass ──► lease table (the KCL's) ◄── UpdateItem: take, checkpoint, release
//	worker ── one UpdateItem a beat ──► members table (ours)
//
// # The lease table
//
// It is the table of the KCL 2.x and 3.x: the same key, attributes, types and
// words, and no rows but leases. Where an application is pointed at the table of
// a KCL application that has stopped ([Config.SingleStream] or
// [Config.MultiStream] says which), it goes on from its checkpoints; when it
// stops in turn, the KCL goes on from where it got. What the KCL has no
// attributes for (terms, progress beyond the checkpoint, positions that are no
// record's) is kept in two attributes beside, millraceShard and millrace, which
// the KCL leaves alone; it holds for as long as nobody else has written the row.
//
// Of which incarnation of its stream a row of the KCL's is, the stream itself
// says: [Store.Inherit] tells what it is at present, and [Store.Leases] writes it
// into the rows that do not say so, once and for all.
//
// Leases of shards that were pinned and never checkpointed, which the KCL has no
// word for, say TRIM_HORIZON to it: it reads such a shard from its beginning,
// and misses nothing. A row that the KCL has created counts from 0, and one of
// ours from the Unix millisecond of its creation; so where somebody deletes rows
// and lets the KCL make them anew, terms begin again below those of before.
//
// A KCL and Millrace must not run on one table at the same time: the KCL gives
// leases away whose counter stands still, and Millrace does not move it. Every
// write of either makes a swap of the other conflict all the same, and the log
// tells of it.
//
// # The members table
//
// It has the members of any number of applications, the notes of their operators,
// and which streams each member serves, which a member's own row has a digest of:
// so a beat is one write unit, however many they are.
//
// # Writes
//
// Each write is one UpdateItem with a condition on the counter and the owner,
// and carries a mark of its own. Lost answers are tried again with jittered
// pauses; when a second attempt fails on its condition, the mark tells whether the
// first one had gone through. Where even that cannot be known the error is no
// conflict, and the caller reads back. Throttled requests are tried again for a
// minute, if their context allows it, and listings go on from the page that they
// have come to. A clock that is off does no harm: what was refused for it is signed
// again, by DynamoDB's.
//
// A row has 400 KB at most, which bounds the notes of prepared checkpoints, and
// what is kept of progress beyond a checkpoint ([checkpoint.ErrTooLarge]). The
// table must be in one region: the replicas of a global table accept writes that
// conflict, so that two workers can hold one shard.
//
// # More
//
// README.md, beside the source, has the way from a KCL and back step by step, what
// a fleet costs, an IAM policy, and what to do when something is wrong.
package dynamodb
