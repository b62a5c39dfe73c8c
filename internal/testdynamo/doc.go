// Package testdynamo gives tests a DynamoDB API to talk to.
//
//	MILLRACE_DYNAMODB=URL ─────────────────────────────► that one
//	otherwise: moto (PyPI), dynalite (npm) ── on free ports of the loopback,
//	           pinned, installed into the    one process each for a test binary,
//	           user's cache at first use     ended with it, however that ends
//	           (or run in Docker)
//
// A test binary that uses it has a TestMain that calls [Main]; then [Each] runs
// a test against every API that can be had, and [Any] gives one of them. Where
// there is none the test is skipped with the reason, or fails when
// MILLRACE_NEED_SERVICES or CI is set.
//
// The two emulators differ from each other and from DynamoDB: see [API].
package testdynamo
