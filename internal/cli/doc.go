// Package cli is the command millrace: what it understands, says and returns.
//
//	args ──► longFlags ──► cobra ──► one command ──► source ──► a data directory (engine), or
//	         -data is       parse     a file each               an endpoint (Kinesis' API)
//	         --data                       │
//	                                      └──► Out: table, JSON or bytes     Err: what a person should know
//
// Everything that a command touches is handed to [Run] as a value, so that tests
// run it in their own process. Commands return errors; what became of them, the
// exit codes, is decided in one place (exit.go), and documented in the help.
package cli
