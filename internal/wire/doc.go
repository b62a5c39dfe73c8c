// Package wire reads and writes the three forms in which records of Kinesis
// travel: JSON, CBOR and event streams. It works on byte slices, does no I/O,
// and does not allocate where the caller brings the memory.
//
// Readers are cursors over a message that is in memory as a whole; what they
// return are views of it wherever possible. They promise an error, and no
// panic, for every input, and bounded depth. Writers append to a slice, in the
// way of strconv.AppendInt.
package wire
