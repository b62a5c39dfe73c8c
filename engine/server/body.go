package server

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// A body has to come, and an answer to go, at slowestRate at least, after
// patience: slow clients are served, and those who stand still are not for long.
const (
	patience    = 20 * time.Second
	slowestRate = 64 << 10 // bytes a second
)

// atSlowest is how long so many bytes take at the slowest rate.
func atSlowest(n int) time.Duration { return time.Duration(n) * time.Second / slowestRate }

func deadline(n int) time.Time { return time.Now().Add(patience + atSlowest(n)) }

// receive reads the request's body. One that says that it is over the limit is
// refused before it is read, and one that is found to be is read no further.
func (c *call) receive(limit int) error {
	r := c.request
	size := int(min(r.ContentLength, int64(limit)+1))
	switch {
	case size > limit:
		return tooLarge(limit)
	case size == 0:
		c.bounded = true
		return c.reserve(&c.in, c.server.budget.small, requestBytes)
	case size < 0:
		size = limit // it does not say
	}
	of := c.server.budget.bodies
	if size <= smallBytes {
		of = c.server.budget.small
	}
	if err := c.reserve(&c.in, of, requestBytes+bufferSize(size+1)); err != nil {
		return err
	}
	control := c.boundBody(size)
	if r.ContentLength < 0 {
		size = smallestBuffer
	}
	c.in.move(c.w, true)
	body, err := readAll(borrow(size+1), r.Body, limit, &c.in.moved)
	c.body = body
	if c.in.rest() {
		c.server.tellSlow(r)
		return unavailable("the body came too slowly while others waited for the memory that it held: try again")
	}
	if err != nil {
		return err
	}
	control.SetReadDeadline(time.Time{})
	c.in.resize(requestBytes + cap(body))
	return nil
}

// boundBody gives the client some time for so much of the body.
func (c *call) boundBody(size int) *http.ResponseController {
	c.bounded = true
	control := http.NewResponseController(c.w)
	control.SetReadDeadline(deadline(size))
	return control
}

func tooLarge(limit int) error {
	return &fault{"RequestEntityTooLargeException", fmt.Sprintf("the body has more than %d bytes", limit), http.StatusRequestEntityTooLarge}
}

// readAll reads behind dst, which has room for one byte more than is expected, and
// counts what has come.
func readAll(dst []byte, from io.Reader, limit int, come *atomic.Int64) ([]byte, error) {
	for {
		if len(dst) == cap(dst) {
			more := borrow(min(2*cap(dst), limit+1))
			more = append(more, dst...)
			giveBack(dst)
			dst = more
		}
		n, err := from.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		come.Add(int64(n))
		switch {
		case len(dst) > limit:
			return dst, tooLarge(limit)
		case errors.Is(err, io.EOF):
			return dst, nil
		case err != nil:
			return dst, failure("RequestTimeoutException", "the body did not arrive as a whole: %v", err)
		}
	}
}

// takeBody returns the body's memory, for an operation that needs the body no
// longer, and the memory for its answer.
func (c *call) takeBody() []byte {
	b := c.body[:0]
	c.body = nil
	return b
}

// releaseBody gives the body's memory back: after the operation, or when a
// streaming one has begun.
func (c *call) releaseBody() {
	c.dropBody()
	c.in.release()
}

// dropBody gives the body back, and leaves what is counted for it to the answer.
func (c *call) dropBody() {
	if c.body != nil {
		giveBack(c.body)
		c.body = nil
	}
}
