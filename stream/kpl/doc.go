// Package kpl reads and writes aggregates: records of a stream that carry many
// records of users, as the Kinesis Producer Library makes them.
//
//	F3 89 9A C2 │ protobuf                                        │ MD5 of the protobuf
//	            │ 1: partition keys   2: explicit hash keys       │
//	            │ 3: records: 1: which key  2: which hash key     │
//	            │             3: data       4: tags               │
//
//	stream.Reader   ──► record 7 ■  record 8 ▦▦▦▦  record 9 ■
//	                                         │ Open
//	                                         ▼
//	what a worker sees    7/0 ■   8/0 ▪  8/1 ▪  8/2 ▪  8/3 ▪   9/0 ■
//
// A record inside an aggregate has the sequence number of the aggregate and, as
// its sub-sequence, its place there, counted from 0. So has a record outside of
// any, with sub-sequence 0: that the aggregate 8 is done up to and including its
// second record is After(8/1), and whether After(8/0) is behind a whole record
// or inside an aggregate is known only to who reads record 8 again. That is what
// [Open] does, and the KCL.
//
// What only looks like an aggregate is a record like any other: the checksum
// decides, and a message that does not say what it must. Aggregates are not
// looked for inside of aggregates.
//
// Nothing is copied: data and keys are views of the aggregate, which each of
// them keeps alive as a whole. A record that is no aggregate costs a comparison
// of four bytes.
package kpl
