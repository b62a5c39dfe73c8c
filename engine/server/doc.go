// Package server serves an engine as the Kinesis Data Streams API, so that
// programs written for Kinesis, in any language, run against it unchanged.
//
//	request ──► route ────────► read body ──► decode ──► check ──► operation ──► encode ──► answer
//	            X-Amz-Target    pooled,       JSON 1.1,  tags of    one file      same       headers as
//	            or rpc-v2 path  bounded       CBOR 1.1,  the shape  each          protocol   AWS sends them
//	                                          rpc-v2-cbor
//
// [New] makes an http.Handler of an engine; what can be set is in [Config].
//
// # How an operation is added
//
// One file, named after the operation (describe_stream_summary.go is the
// pattern), with three things:
//
//   - The input shape, a struct whose fields are named as the members of the
//     API. A `wire` tag states the constraints of the service model (shape.go
//     lists the words). What reaches the operation is decoded and satisfies
//     them: a required member is there, a string that must not be empty is
//     empty only where it was not given.
//   - The output shape. All fields are written, but for nil pointers and
//     those tagged `wire:"omitzero"` that are zero.
//   - A method of *Server, func(ctx, *input) (*output, error). It returns
//     errors made by the constructors of errors.go; what the engine returns
//     may be passed on as it is, see translate.
//
// And one line in the table of operations.go: unary(method), or action(method)
// for an operation without output, or streaming(method) for one that writes an
// event stream. A shape on a hot path may bring codecs of its own: an input
// that is a bodyDecoder, an output that is an answerEncoder (operation.go).
package server
