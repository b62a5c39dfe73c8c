// Package testclients gives tests clients of the Kinesis API that are not ours:
// Amazon's, in the languages in which programs for Kinesis are written.
//
//	test ── Call("PutRecord", input) ──► Client ─┬─ the SDK for Go, in this process
//	     ◄── output, or *Error, as that          ├─ node     client.js    the SDK for JavaScript
//	         client sees it                      ├─ python3  client.py    boto3
//	                                             └─ java     Client.java  the SDK for Java, asynchronous
//	                                    lines of JSON over the standard input and output of a process
//
//	test ── Run(script) ──► a shell with the AWS CLI on its PATH
//	test ── Consume ──► a worker of the Java KCL
//	test ── Produce ──► the KPL, with its program in C++
//
// Inputs and outputs are the types of the SDK for Go, whichever client is asked: a
// story is told once, and each client lives through it.
//
// The clients are installed into the user's cache at first use, pinned, from their
// languages' registries; as root, the languages too, from the system's packages.
// Where that cannot be, a test is skipped with the reason, or fails when
// MILLRACE_NEED_SERVICES or CI is set.
package testclients
