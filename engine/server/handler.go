package server

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
)

// ServeHTTP answers one request of the API.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, p, routed := route(r)
	c := &call{ctx: r.Context(), protocol: p, request: r, w: w}
	c.identify()
	op, known := s.operations[name]
	if !routed || !known {
		c.fail(failure("UnknownOperationException", "%s", ""))
		return
	}
	buf := buffers.Get().(*[]byte)
	defer recycle(buf)
	var err error
	if c.body, err = readBody((*buf)[:0], r, op.maxBody); err == nil {
		*buf = c.body
		err = op.serve(s, c)
	}
	if err != nil {
		c.fail(s.translate(err))
	}
}

// identify writes the headers that every answer has.
func (c *call) identify() {
	var b [16 + 72]byte
	rand.Read(b[:])
	id := b[:16]
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	h := c.w.Header()
	h.Set("x-amzn-RequestId", fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:]))
	h.Set("x-amz-id-2", base64.StdEncoding.EncodeToString(b[16:]))
	if c.protocol == rpcCBOR {
		h.Set("Smithy-Protocol", "rpc-v2-cbor")
	}
}

// send answers with a body, which may be empty.
func (c *call) send(body []byte) { c.sendStatus(http.StatusOK, body) }

func (c *call) sendStatus(status int, body []byte) {
	h := c.w.Header()
	h.Set("Content-Type", c.protocol.contentType())
	h.Set("Content-Length", strconv.Itoa(len(body)))
	c.w.WriteHeader(status)
	c.w.Write(body) // a client that has gone needs no answer
}

func (c *call) fail(f *fault) {
	body, err := appendShape(nil, c.protocol, &struct {
		Type    string `wire:"name=__type"`
		Message string `wire:"name=message"`
	}{f.name, f.message})
	if err != nil {
		panic(err) // two strings
	}
	c.sendStatus(f.status, body)
}

// buffers hold the bodies of requests and answers on their way.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

// recycle gives a buffer back, unless an exceptional body has made it large.
func recycle(b *[]byte) {
	if cap(*b) <= 2<<20 {
		buffers.Put(b)
	}
}

// readBody reads a request's body behind dst. One over the limit is refused
// before it is read when it says its length.
func readBody(dst []byte, r *http.Request, limit int) ([]byte, error) {
	tooLarge := &fault{"RequestEntityTooLargeException", fmt.Sprintf("the body has more than %d bytes", limit), http.StatusRequestEntityTooLarge}
	if r.ContentLength > int64(limit) {
		return dst, tooLarge
	}
	if n := int(r.ContentLength) + 1; n > cap(dst) {
		dst = make([]byte, 0, n)
	}
	for {
		if len(dst) == cap(dst) {
			dst = append(dst, 0)[:len(dst)]
		}
		n, err := r.Body.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		switch {
		case len(dst) > limit:
			return dst, tooLarge
		case errors.Is(err, io.EOF):
			return dst, nil
		case err != nil:
			return dst, serialization("the body could not be read: %v", err)
		}
	}
}
