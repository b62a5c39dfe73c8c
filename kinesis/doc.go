// Package kinesis makes a stream of Amazon Kinesis Data Streams, or of any
// server that speaks its API, a [stream.Stream].
//
//	               DescribeStreamSummary ──► Identity: which incarnation is it?
//	               ListShards            ──► Shards
//	 Kinesis ────► GetShardIterator ┐                            one page in use,
//	               GetRecords       ┴──► pace ──► decoder ──► page ──► Batch
//	               PutRecords            SplitShard            one page ahead
//	                   ▲                 MergeShards
//	                   └── Put           UpdateShardCount
//
//	 Kinesis ────► SubscribeToShard ──► decoder ──► page ──► Subscribe (push),
//	               RegisterStreamConsumer, …                 read by package fanout
//
//	cfg, err := config.LoadDefaultConfig(ctx)
//	s, err := kinesis.New(sdk.NewFromConfig(cfg), "orders", kinesis.Config{})
//
// The client is the user's: endpoint, credentials, signing, retries and
// middleware are as it was made. Only the answers of GetRecords, and the events of
// SubscribeToShard, are decoded by this package, straight into memory that the
// records then live in; what the decoder does not understand is left to the SDK.
//
// Readers of many shards need many connections: give the client an HTTP client
// whose transport keeps as many idle ones for each host (MaxIdleConnsPerHost),
// or it makes new ones all the time.
//
// What the role of the client must be allowed: kinesis:DescribeStreamSummary,
// ListShards, GetShardIterator and GetRecords to read; PutRecords to write, and
// DescribeStreamSummary for records beyond 1 MiB; SplitShard, MergeShards and
// UpdateShardCount for what is called like them.
//
// A [Stream] is bound to the incarnation of the stream that it meets first.
// When the stream is deleted every call says [stream.ErrStreamNotFound], also
// after another one of its name was created: make a new Stream for that one.
package kinesis
