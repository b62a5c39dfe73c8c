// Package streamtest is the contract of package stream as tests, and the
// stream in memory that is the first to pass them.
//
//	                       ┌─► EveryRecordComesOnceAndInOrder ─┐
//	Run(t, Features, new) ─┼─► NextWaitsForAPut               ─┼─► your stream.Stream
//	                       └─► …                              ─┘
//
// Whoever brings a stream calls [Run] from a test of its own and says in
// [Features] what the stream can do. Every scenario is an exported function,
// too, so that one can be run alone.
//
// [Memory] keeps everything in slices under one mutex. It is meant for tests:
// it needs no disk and no clock of its own, and works inside the bubbles of
// testing/synctest.
package streamtest
