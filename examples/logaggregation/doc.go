// Command logaggregation counts the lines of log files per minute and status, with a
// fleet of three workers over a durable stream, and counts every line once:
// also when a worker dies half-way, and when the whole program does.
//
//	go run ./examples/logaggregation [-kill] [-data DIR] [-v] [FILE… | -]
//
//	 FILE… ──► source ──► stream "logs" ──► worker-1 ─┐
//	 lines,    numbers     12 shards,  ├──► worker-2 ─┼──► tally: counts and marks
//	 any       each line   durable     └──► worker-3 ─┘    in one transaction
//	 format                                  │  ▲
//	                                         ▼  │
//	                                       leases.db
//
// Every line travels with the number of its source and its place in it. A
// shard holds the lines of one source in order, so the tally keeps one mark for
// each shard and source, the last line counted, and moves it in the transaction
// that counts. What comes again after a crash, put twice or delivered twice, is
// at or before the mark and is not counted again.
package main
