// Package state is what the server knows of streams beside what the engine
// keeps: consumers, capacity modes, policies and the like.
//
//	operation ──► Begin ──► Draft: a copy ──► Save ──► SERVER   (replaced as a whole)
//	                        to work on             └─► State    (never changed; Load)
//
// The file lies in the engine's directory, which the engine's lock keeps for
// one process. It is written under another name, synced, renamed, and the
// directory synced: a crash leaves the old one or the new one.
//
// A [State] is a value of one moment that everybody may read without a lock.
// What it says of a stream belongs to one incarnation, by the engine's time of
// creation; what is left of streams that went is taken away by [Draft.Prune].
//
// Phases that end by themselves, like CREATING, are kept with their end, so
// that nobody has to be awake then: what a stream's status is, is a question of
// what time it is.
package state
