// Package clients tries the served API with clients that are not ours. It has nothing
// but tests.
//
//	engine ── server ── loopback, with TLS and without ◄── each client of internal/testclients
//	                                                  ◄── a shell with the AWS CLI
//	                                                  ◄── workers of the Java KCL ──► leases in a DynamoDB emulator
//	                                                  ◄── the KPL                             ▲
//	                                                  ◄── workers of ours ────────────────────┘
//
// One story, a stream's whole life, is told to each client in each way in which it
// speaks to the API; what it read is compared with what it put, byte by byte. The KCL and
// the KPL take their time, and are tried where MILLRACE_KCL is set: make test-kcl.
package clients
