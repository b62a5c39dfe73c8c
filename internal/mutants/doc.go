// Command mutants shows that every safety mechanism is needed, and that its
// absence is noticed: it takes them out one by one, and for each a named test
// has to fail.
//
//	table ──► the file with Old replaced by New ──► go test -c -overlay ──► the named test
//	                                                                          │
//	           a Markdown table: mechanism, promise, test that fails ◄────────┘
//
// A mutant is a patch of the source that exists for the compiler alone: nothing
// is written into the tree, and the product has no switch that turns safety off.
// Those of one test program whose patches lie inside of functions are compiled
// together, and the environment says which of them the program is (weave.go): else
// nearly all of the time would be the linker's. A patch of anything else, and a mutant
// that is not caught like this, has a program of its own.
//
//	go run ./internal/mutants            all of them, on the screen
//	go run ./internal/mutants -o FILE    the table as well
//	go run ./internal/mutants -run lease -list
//
// A mutant is caught when its test passes without it and, with it, fails by
// its own word. What does not count: a patch whose place is no longer in the
// source, or in it twice; one that does not compile; a test that panics, or that
// hangs. Each of these is an error, and so is a mutant that survives: then the
// exit code is 1. So the table cannot rot.
package main
