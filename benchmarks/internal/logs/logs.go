// Package logs holds the logs that are compared behind one small interface, one
// file each, every one set up to be as fast as its users could make it:
//
//	load ──► Writer.Append(records) ──► Millrace        one log for all shards
//	         one for each caller        raft-wal        + group commit (group.go)
//	                                    Pebble          its own commit pipeline
//	                                    NATS JetStream  embedded server
//	                                    file per shard  the design one would try first
//
// Records go to shards at random; who has no shards keeps the key only.
package logs

import "context"

// Record is what is appended. Key and Data together are its size. The memory is
// the caller's again when Append returns.
type Record struct {
	Key   string
	Shard int // that the key falls into
	Data  []byte
}

// Log is a log that is open.
type Log interface {
	// Writer returns a way in for one more caller.
	Writer() Writer
	// Close ends it; no Append may be under way.
	Close() error
}

// Writer is one caller's way into a log. It belongs to one goroutine at a time.
type Writer interface {
	// Append stores the records, in order, and returns when they are as durable
	// as the log was opened to be.
	Append(ctx context.Context, records []Record) error
}
