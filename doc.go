// Package millrace is the root of a framework that processes sharded record
// streams with fleets of workers.
//
//	producers ──► stream of shards ──────────────► worker fleet ───────────────► your RecordProcessor
//	              built-in engine                  one goroutine per held shard   batches in order, per shard
//	                                                   │            ▲
//	                                                   ▼            │ who owns which shard, and how far it got
//	                                               lease store: SQLite · PostgreSQL · DynamoDB · memory
//
// The root holds no code. What a program needs lies in
//
//   - worker: Run takes leases, reads, calls the processor and drains;
//   - processors: the RecordProcessor to write, and behaviours to build it from;
//   - engine: the built-in durable stream;
//   - lease/sqlite, lease/postgres, lease/dynamodb: who owns which shard, for the
//     processes of one machine, and for fleets across machines;
//   - lease: the state of a running fleet, and the actions of its operators;
//   - stream: the model, and the seams that every stream implements.
//
// Whoever brings a stream or a lease store of its own tests it with
// stream/streamtest or lease/leasetest. README.md begins with a program of ten
// lines, DESIGN.md tells how it holds together.
package millrace
