package server

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"
)

// ServeHTTP answers one request of the API.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{ctx: r.Context(), server: s, request: r, w: w}
	defer c.out.release()
	defer c.releaseBody()
	defer c.recover()
	underWay := s.requests.Add(1)
	defer s.requests.Add(-1)
	if underWay > 2*mostRequests {
		panic(http.ErrAbortHandler)
	}
	c.identify()
	if s.cors(c) {
		return
	}
	name := ""
	c.protocol, name = route(r)
	op, known := s.operations[name]
	switch {
	case underWay > mostRequests:
		c.fail(s.translate(unavailable("too many requests and subscriptions are under way: try again")))
		return
	case r.Method != http.MethodPost || name == "":
		c.refuse("AccessDeniedException", "Unable to determine service/operation name to be authorized")
		return
	case c.protocol == rpcCBOR && !saysCBOR(r):
		c.fail(&fault{"UnsupportedMediaTypeException", fmt.Sprintf("the Content-Type is %q: use application/cbor", clip(header(r, "Content-Type"))), http.StatusUnsupportedMediaType})
		return
	case !known:
		c.fail(failure("UnknownOperationException", ""))
		return
	}
	if err := s.perform(c, op); err != nil {
		c.fail(s.translate(err))
	}
}

// perform does what a request wants that is known by its name.
func (s *Server) perform(c *call, op operation) error {
	sig, err := s.authenticate(c.request)
	if err != nil {
		return err
	}
	if err := c.receive(op.maxBody); err != nil {
		return err
	}
	if err := sig.verify(c.request, c.body); err != nil {
		return err
	}
	return op.serve(s, c)
}

// recover answers for an operation that panicked: a mistake of ours, which ends
// one request and no more. One that has begun its answer breaks it off.
func (c *call) recover() {
	p := recover()
	if p == nil {
		return
	}
	if p != http.ErrAbortHandler {
		c.server.config.Logger.Error("an operation panicked", "panic", p, "stack", string(debug.Stack()))
		if !c.begun {
			c.fail(failure("InternalFailureException", "the server failed; its log tells why"))
			return
		}
	}
	panic(http.ErrAbortHandler) // net/http cuts the connection, or the stream
}

// identify writes the headers that every answer has.
func (c *call) identify() {
	var b [16 + 72]byte
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], rand.Uint64())
	}
	id := b[:16]
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80 // a UUID, version 4
	text := make([]byte, 36, 36+96)
	hex.Encode(text[:8], id[:4])
	hex.Encode(text[9:13], id[4:6])
	hex.Encode(text[14:18], id[6:8])
	hex.Encode(text[19:23], id[8:10])
	hex.Encode(text[24:36], id[10:])
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	ids := string(base64.StdEncoding.AppendEncode(text, b[16:]))
	h := c.w.Header()
	h["X-Amzn-Requestid"] = []string{ids[:36]}
	h["X-Amz-Id-2"] = []string{ids[36:]}
}

// label says how the answer speaks.
func (c *call) label() {
	h := c.w.Header()
	h["Content-Type"] = []string{c.protocol.contentType()}
	if c.protocol == rpcCBOR {
		h["Smithy-Protocol"] = []string{"rpc-v2-cbor"}
	}
}

// send answers with a body, which may be empty. The body is given back.
func (c *call) send(body []byte) {
	c.label()
	c.answer(http.StatusOK, body)
}

// answer writes the whole answer. A client that has gone needs none.
func (c *call) answer(status int, body []byte) {
	c.w.Header()["Content-Length"] = []string{strconv.Itoa(len(body))}
	c.begin(status)
	c.dropBody()
	c.holder().resize(requestBytes + cap(body))
	if c.write(body) == nil {
		giveBack(body)
	}
}

// begin writes the head of the answer. For a body that nobody has read net/http
// waits before it sends anything, and would wait for ever.
func (c *call) begin(status int) {
	c.begun = true
	if !c.bounded {
		c.boundBody(0)
	}
	c.w.WriteHeader(status)
}

// write writes a piece of the answer, for which the client has some time, but no
// patience for each piece anew. When it fails the piece must not be used again:
// HTTP/2 may still be reading from it.
func (c *call) write(piece []byte) error {
	if c.until.IsZero() {
		c.until = time.Now().Add(patience)
	}
	c.until = c.until.Add(atSlowest(len(piece)))
	http.NewResponseController(c.w).SetWriteDeadline(c.until)
	held := c.holder()
	held.move(c.w, false)
	n, err := c.w.Write(piece)
	held.moved.Add(int64(n))
	if held.rest() {
		c.server.tellSlow(c.request)
		err = errTooSlow
	}
	return err
}

var errTooSlow = errors.New("the client took the answer too slowly while others waited")

// holder is whose memory the answer is: most are written into that of the body.
func (c *call) holder() *share {
	if c.out.held > 0 {
		return &c.out
	}
	return &c.in
}

// fail answers with an error, for which nothing need be held.
func (c *call) fail(f *fault) {
	c.releaseBody()
	c.out.release()
	d := document{p: c.protocol}
	d.begin('{')
	d.name("__type")
	d.text(f.name)
	if f.message != "" {
		d.name(f.messageMember())
		d.text(f.message)
	}
	d.end('}')
	if f.status == http.StatusRequestEntityTooLarge && c.request.ProtoMajor == 1 {
		c.w.Header()["Connection"] = []string{"close"} // what else comes is the rest of the body
	}
	c.label()
	c.answer(f.status, d.buf)
	c.flush()
}

// flush waits until the client has taken the answer, so that a request that is
// refused counts until then. HTTP/2 alone would end the handler before, and anybody
// can leave answers on thousands of streams.
func (c *call) flush() {
	if c.request.ProtoMajor == 2 {
		http.NewResponseController(c.w).Flush()
	}
}

// refuse answers who did not say what it wants, and so not in which form.
func (c *call) refuse(name, message string) {
	c.answer(http.StatusForbidden, fmt.Appendf(nil, "<%s>\n  <Message>%s</Message>\n</%s>\n", name, message, name))
	c.flush()
}

// cors lets programs in browsers in, where they may: it says so, and answers the
// browser that asks beforehand. A server that believes everybody on its machine
// must not believe every page that somebody there has open, so that without
// access keys only pages from this machine may.
func (s *Server) cors(c *call) (answered bool) {
	origin := header(c.request, "Origin")
	if origin == "" {
		return false
	}
	h := c.w.Header()
	if !s.trustsOrigin(origin) {
		c.refuse("AccessDeniedException", "A page from elsewhere may not use a server without access keys: set -access-key, or Config.AccessKeys")
		return true
	}
	h.Set("Access-Control-Allow-Origin", "*")
	if c.request.Method != http.MethodOptions {
		h.Set("Access-Control-Expose-Headers", "x-amzn-RequestId,x-amzn-ErrorType,x-amz-request-id,x-amz-id-2,x-amzn-ErrorMessage,Date")
		return false
	}
	for _, what := range []string{"Headers", "Method"} {
		asked := header(c.request, "Access-Control-Request-"+what)
		if asked == "" {
			continue
		}
		if what == "Method" {
			what = "Methods"
		}
		h.Set("Access-Control-Allow-"+what, asked)
	}
	h.Set("Access-Control-Max-Age", "172800")
	c.answer(http.StatusOK, nil)
	return true
}
