package kinesis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/millrace/millrace/internal/unset"
)

const (
	// maxAnswer is how large an answer of GetRecords may be: 10 MiB of payloads
	// in base64, and of keys each character of which is escaped.
	maxAnswer = 96 << 20
	// unknownAnswer is what an answer that does not tell its length counts for, and
	// may have. One that is larger is asked for again, and then counts for the most
	// that there may be: none waits for more while it has some, or all would.
	unknownAnswer = 16 << 20
	// keptAnswer is how large a buffer may be that is used again.
	keptAnswer = 16 << 20
	// smallAnswer is how much is kept at hand for readers at the tip.
	smallAnswer = 64 << 10
)

var (
	errLarge  = fmt.Errorf("an answer to GetRecords has more than %d MiB", maxAnswer>>20)
	errLonger = fmt.Errorf("an answer to GetRecords that does not tell its length has more than %d MiB", unknownAnswer>>20)
)

// answers are buffers for answers, small and large ones. They are needed for as
// long as an answer is received and decoded, and not while a reader waits.
var answers [2]sync.Pool

// receive reads a whole answer, when there is room for it among those that the
// stream receives at the time. Until release is called it belongs to the caller.
// One that does not tell its length has to be a usual one (errLonger), unless any
// will do.
func (s *Stream) receive(ctx context.Context, resp *smithyhttp.Response, any bool) (answer []byte, release func(), err error) {
	size, most := resp.ContentLength, int64(maxAnswer)
	if size > most {
		resp.Body.Close() // else the SDK would read it to its end
		return nil, nil, errLarge
	}
	if size < 0 && !any {
		most = unknownAnswer
	}
	room := most
	if size >= 0 {
		room = size
	}
	releaseRoom, err := s.room(ctx, room)
	if err != nil {
		return nil, nil, err
	}
	class := &answers[0]
	if size < 0 || size > smallAnswer {
		class = &answers[1]
	}
	buf, _ := class.Get().(*[]byte)
	if buf == nil {
		buf = new([]byte)
	}
	release = func() {
		if cap(*buf) <= keptAnswer {
			class.Put(buf)
		}
		releaseRoom()
	}
	if size < 0 {
		err = readAll(buf, resp.Body, int(most))
	} else {
		if int64(cap(*buf)) < size {
			*buf = unset.Bytes(int(max(size, smallAnswer)))
		}
		*buf = (*buf)[:size]
		_, err = io.ReadFull(resp.Body, *buf)
	}
	if err == nil {
		return *buf, release, nil
	}
	release()
	if err != errTooMuch {
		return nil, nil, &cutError{err}
	}
	resp.Body.Close()
	if any {
		return nil, nil, errLarge
	}
	return nil, nil, errLonger
}

// room waits until there is room for that many bytes among those that the stream
// receives at the time, and takes it until release is called. Who has room waits
// for nothing but the network.
func (s *Stream) room(ctx context.Context, size int64) (release func(), err error) {
	weight := min(size, int64(s.cfg.ReceiveBytes))
	if s.receiving.Acquire(ctx, weight) != nil {
		return nil, context.Cause(ctx)
	}
	return func() { s.receiving.Release(weight) }, nil
}

var errTooMuch = errors.New("too much")

// readAll reads what does not tell its length, and has that many bytes at most. It
// grows in large steps, so that what it leaves behind with each is little.
func readAll(buf *[]byte, body io.Reader, most int) error {
	b := (*buf)[:0]
	for {
		if len(b) == cap(b) {
			b = append(unset.Bytes(min(max(16*cap(b), smallAnswer), most+1))[:0], b...)
		}
		n, err := body.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		*buf = b
		switch {
		case len(b) > most:
			return errTooMuch
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

// cutError says that an answer did not arrive as a whole. The SDK asks again.
type cutError struct{ err error }

func (e *cutError) Error() string { return "the answer was cut off: " + e.err.Error() }
func (e *cutError) Unwrap() error { return e.err }

// RetryableError is how the SDK finds out.
func (e *cutError) RetryableError() bool { return true }
