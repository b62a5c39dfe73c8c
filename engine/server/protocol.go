package server

import (
	"mime"
	"net/http"
	"strings"
)

// protocol is a form of requests and answers.
type protocol uint8

const (
	// json11 is AWS JSON 1.1, which most SDKs speak.
	json11 protocol = iota
	// cbor11 is its twin in CBOR, which the Java SDK and what is built on it
	// speak. Timestamps are tag 1 and whole milliseconds.
	cbor11
	// rpcCBOR is Smithy's RPC v2. Timestamps are tag 1 and seconds.
	rpcCBOR
)

// contentType is what requests and answers are labelled with.
func (p protocol) contentType() string {
	switch p {
	case cbor11:
		return "application/x-amz-cbor-1.1"
	case rpcCBOR:
		return "application/cbor"
	default:
		return "application/x-amz-json-1.1"
	}
}

const (
	targetPrefix = "Kinesis_20131202."
	rpcPrefix    = "/service/Kinesis_20131202/operation/"
)

// route tells the operation that a request wants, and how it speaks.
func route(r *http.Request) (name string, p protocol, ok bool) {
	if name, ok = strings.CutPrefix(r.URL.Path, rpcPrefix); ok {
		return name, rpcCBOR, r.Header.Get("Smithy-Protocol") == "rpc-v2-cbor"
	}
	switch media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); media {
	case "application/x-amz-json-1.1", "application/json":
		p = json11
	default:
		p = cbor11
	}
	name, ok = strings.CutPrefix(r.Header.Get("X-Amz-Target"), targetPrefix)
	return name, p, ok
}
