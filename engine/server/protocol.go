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
	// speak. Times are milliseconds.
	cbor11
	// rpcCBOR is Smithy's RPC v2, in CBOR as well. Times are seconds, operations
	// are named by the path, and what has no input or output has no body.
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

// route tells how a request speaks, and which operation it wants: "" when that
// cannot be told. As on AWS, the path matters to RPC v2 alone.
func route(r *http.Request) (p protocol, operation string) {
	if name, ok := strings.CutPrefix(r.URL.Path, rpcPrefix); ok {
		if header(r, "Smithy-Protocol") != "rpc-v2-cbor" {
			name = ""
		}
		return rpcCBOR, name
	}
	operation, _ = strings.CutPrefix(header(r, "X-Amz-Target"), targetPrefix)
	return protocolOf(header(r, "Content-Type")), operation
}

// protocolOf tells a protocol by its media type. AWS answers in CBOR whatever it
// does not know.
func protocolOf(media string) protocol {
	if media == "application/x-amz-json-1.1" {
		return json11
	}
	media, _, _ = mime.ParseMediaType(media)
	switch media {
	case "application/x-amz-json-1.1", "application/json":
		return json11
	default:
		return cbor11
	}
}

// saysCBOR reports whether a request of RPC v2 is labelled as it has to be: with
// nothing else, and where there is a body, by all means. Other protocols are
// believed to be what they are labelled.
func saysCBOR(r *http.Request) bool {
	label := header(r, "Content-Type")
	if label == "" {
		return r.ContentLength == 0
	}
	media, _, err := mime.ParseMediaType(label)
	return err == nil && media == rpcCBOR.contentType()
}

// header returns the first value of a header, whose name is in canonical form.
func header(r *http.Request, name string) string {
	if v := r.Header[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}
