// Package vfs is the part of a file system that the engine stands on: one flat
// directory of files.
//
//	engine ──► FS ─┬─► Dir     a directory of the operating system
//	               ├─► Memory  nothing but memory
//	               ├─► Scratched  another one, with pages that cannot be read
//	               └─► Crash   memory that records what is done, and where calls
//	                     │     can be made to fail, or to pretend
//	                     ▼
//	                   Replay  what a power cut would have left at any moment
//
// What the engine relies on is said at [FS] and [File], and it relies on
// nothing else: data is safe after [File.Sync], names are safe after
// [FS.SyncDir], a rename is atomic.
package vfs
