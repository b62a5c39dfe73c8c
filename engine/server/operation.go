package server

import (
	"context"
	"net/http"
	"time"
)

// operation serves one kind of request.
type operation struct {
	// maxBody bounds the request's body, in bytes.
	maxBody int
	// input makes an empty input shape, for those who look at the table.
	input func() any
	// output is an empty output shape, nil where there is none.
	output any
	// serve answers the call, unless it returns an error; then nothing was
	// written yet, and the error is the answer.
	serve func(*Server, *call) error
}

// Bodies of requests without records are small: the largest members are a
// resource policy of 20 KiB and 200 tags. Those with records hold 10 MiB of
// data, in base64, and 500 partition keys, with room for escapes.
const (
	smallBody = 1 << 20
	largeBody = 24 << 20
)

// call is one request on its way.
type call struct {
	ctx      context.Context
	server   *Server
	protocol protocol
	request  *http.Request
	w        http.ResponseWriter
	// body is valid until the call is answered.
	body []byte
	// in and out are what is held for the body, and for an answer that is larger.
	in, out share
	bounded bool // the body has to have come by a time, or there is none
	begun   bool // the answer is on its way
	// until is when the client has to have taken what is written so far.
	until time.Time
}

func empty[I any]() any { return new(I) }

// unary makes an operation with one output for one input.
func unary[I, O any](run func(*Server, context.Context, *I) (*O, error)) operation {
	return operation{maxBody: smallBody, input: empty[I], output: new(O), serve: func(s *Server, c *call) error {
		var in I
		if err := decode(c.protocol, c.body, &in); err != nil {
			return err
		}
		out, err := run(s, c.ctx, &in)
		if err != nil {
			return err
		}
		return c.respond(out)
	}}
}

// listBytes is what it takes to look through the shards of a stream, of which there
// may be 50,000, and to write down those of one page.
const listBytes = 16 << 20

// listing makes an operation like unary, which looks through all shards of a stream.
func listing[I, O any](run func(*Server, context.Context, *I) (*O, error)) operation {
	op := unary(run)
	list := op.serve
	op.serve = func(s *Server, c *call) error {
		if err := c.reserve(&c.out, s.budget.answers, listBytes); err != nil {
			return err
		}
		return list(s, c)
	}
	return op
}

// action makes an operation that answers by its success alone.
func action[I any](run func(*Server, context.Context, *I) error) operation {
	return operation{maxBody: smallBody, input: empty[I], serve: func(s *Server, c *call) error {
		var in I
		if err := decode(c.protocol, c.body, &in); err != nil {
			return err
		}
		if err := run(s, c.ctx, &in); err != nil {
			return err
		}
		c.send(nil)
		return nil
	}}
}

// streaming makes an operation that writes its answer itself, piece by piece. It
// returns an error only as long as nothing is written, and sets call.begun when
// something is. The memory of the body is not its own: blobs must not be kept.
func streaming[I any](run func(*Server, *call, *I) error) operation {
	return operation{maxBody: smallBody, input: empty[I], serve: func(s *Server, c *call) error {
		var in I
		if err := decode(c.protocol, c.body, &in); err != nil {
			return err
		}
		c.releaseBody()
		return run(s, c, &in)
	}}
}

// recording makes an operation that takes records. It is on the hot path, reads
// call.body itself, where records stay as long as it works on them, and gives its
// answer to call.send.
func recording(serve func(*Server, *call) error) operation {
	return operation{maxBody: largeBody, serve: serve}
}

// respond answers with an output shape.
func (c *call) respond(out any) error {
	body, err := appendShape(borrow(0), c.protocol, out)
	if err == nil {
		c.send(body)
	}
	return err
}
