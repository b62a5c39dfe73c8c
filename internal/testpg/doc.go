// Package testpg gives tests a PostgreSQL server, and takes it away again.
//
//	MILLRACE_POSTGRES=postgres://…  ──► that server ──────────────┐
//	                                                              ├──► Server ── Schema, Pool ──► one test
//	else initdb, postgres: PATH, /usr/lib/postgresql/*/bin, ──────┘      │
//	     else installed, as root; else in Docker                         └── end, from TestMain
//	     a throw-away cluster on a free loopback port
//
// The first test of a test binary that asks for [Shared] starts the server, and
// the binary's TestMain ends it. Tests share it, each in a schema of its own. A
// test that restarts or starves its server starts one for itself: [Start].
//
// Where there is no server the test is skipped, with a sentence that says what
// is missing; where CI or MILLRACE_NEED_SERVICES is set it fails instead.
//
// A cluster that was started here does not wait for the disk (fsync is off), so
// it is fast and survives anything but a power cut. As root it runs as user
// postgres, since PostgreSQL refuses to run as root.
package testpg
