// Package processors is what is done with records: the [RecordProcessor] that
// users write, and ready-made behaviours to build it from.
//
//	Initialize ──► ProcessRecords ─┬─► ProcessRecords ─► … ─┬─► ShardEnded
//	                  ▲   │ error  │                        ├─► ShutdownRequested
//	                  └───┘ retry  │                        └─► LeaseLost
//
// One processor is made for each term on a shard and sees its records in
// order, one call at a time. [Base] gives the callbacks that do nothing, [Func]
// makes a processor of a plain function.
package processors
