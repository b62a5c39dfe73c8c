// Package server serves an engine as the Kinesis Data Streams API, so that
// programs written for Kinesis, in any language, run against it unchanged.
//
//	request ──► route ────────► read body ──► decode ──► check ──► operation ──► encode ──► answer
//	            X-Amz-Target    pooled,       JSON 1.1,  tags of    one file      same       headers as
//	            or rpc-v2 path  bounded       CBOR 1.1,  the shape  each          protocol   AWS sends them
//	                                          rpc-v2-cbor
//
// [New] makes an http.Handler of an engine; what can be set is in [Config].
// [Server.Serve] is that handler with all that a port needs around it: HTTP/1.1
// and HTTP/2, plain and over TLS, bounds for what clients may take, and a stop
// that leaves nothing behind.
//
// Signatures are checked when there are [Config.AccessKeys]. Without, they are
// believed, and only clients on the same machine are.
//
// # What is different from Amazon's
//
//   - What a call asks for is done when it returns. CREATING and UPDATING are told
//     for [Config.StateDelay] after that; only a deletion is done at its end. While
//     a stream is CREATING its shards are not told, and it takes no records.
//   - What makes no sense on one machine is kept, checked and told, and has no
//     effect: keys of KMS (nothing is encrypted), metrics of shards, resource
//     policies, capacity modes and warm throughput (a stream does what the machine
//     can, and the shards of an on-demand stream stay as they are), commitments.
//   - There are no channels, and none can be created.
//   - Limits that Amazon has for the sake of others (throughput, calls per second,
//     changes per day, shards of an account, steps of UpdateShardCount) are kept
//     only with [engine.KinesisLimits]. Those of sizes and counts always are.
//   - A stream has at most 50,000 shards, with those that are closed and can still be
//     read: what would make more of them is a LimitExceededException.
//   - Who calls SubscribeToShard within 5 seconds of another call is refused while
//     that one lasts; after its end only with [engine.KinesisLimits].
//   - ContinuationSequenceNumber stands still while nothing comes. In Amazon's
//     service sequence numbers have a clock in them, here they count.
//
// # What it costs
//
// A record of 1 KiB put in batches of 500 and made durable takes about 1.5 µs of
// one core, a record read 0.2 µs (data_bench_test.go; the network comes on top). A
// subscription at rest has 22 KiB of memory over HTTP/2 and 36 KiB over HTTP/1.1,
// of which 13 KiB are not the connection's; 5,000 of them take 4 % of a core.
// Requests, answers and events under way share [Config.MaxRequestMemory], and the
// more records are under way, the less each read gets: 64 KiB or one record at
// least. Who finds no room waits, while clients that are too slow are cut off, and
// is told to try again after 20 seconds.
//
// # How an operation is added
//
// One file, named after the operation (describe_stream_summary.go is the
// pattern), with three things:
//
//   - The input shape, a struct whose fields are named as the members of the
//     API. A `wire` tag states the constraints of the service model (shape.go
//     lists the words). What reaches the operation is decoded and satisfies
//     them: a required member is there, a string that must not be empty is
//     empty only where it was not given.
//   - The output shape. All fields are written, but for nil pointers and
//     those tagged `wire:"omitzero"` that are zero.
//   - A method of *Server, func(ctx, *input) (*output, error). It returns
//     errors made by the constructors of errors.go; what the engine returns
//     may be passed on as it is, see translate.
//
// And one line in the table of operations.go: unary(method), or action(method)
// for an operation without output, listing(method) for one that looks through all
// shards, or streaming(method) for one that writes its answer piece by piece. Those
// that take records read and write without shapes: recording(method), over a cursor
// of internal/wire and a document.
package server
