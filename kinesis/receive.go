package kinesis

import (
	"bytes"
	"context"
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
	// unknownAnswer is what an answer that does not tell its length counts for.
	unknownAnswer = 16 << 20
	// smallAnswer is how much is kept at hand for readers at the tip.
	smallAnswer = 64 << 10
)

var errLarge = fmt.Errorf("an answer to GetRecords has more than %d MiB", maxAnswer>>20)

// answers are buffers for answers, small and large ones. They are needed for as
// long as an answer is received and decoded, and not while a reader waits.
var answers [2]sync.Pool

// receive reads a whole answer, when there is room for it among those that the
// stream receives at the time. Until release is called it belongs to the caller.
func (s *Stream) receive(ctx context.Context, resp *smithyhttp.Response) (answer []byte, release func(), err error) {
	size := resp.ContentLength
	if size > maxAnswer {
		resp.Body.Close() // else the SDK would read it to its end
		return nil, nil, errLarge
	}
	weight := min(size, int64(s.cfg.ReceiveBytes))
	if size < 0 {
		weight = min(unknownAnswer, int64(s.cfg.ReceiveBytes))
	}
	if s.receiving.Acquire(ctx, weight) != nil {
		return nil, nil, context.Cause(ctx)
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
		class.Put(buf)
		s.receiving.Release(weight)
	}
	if size < 0 {
		err = readAll(buf, resp.Body)
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
	if err != errLarge {
		err = &cutError{err}
	}
	return nil, nil, err
}

// readAll reads what does not tell its length.
func readAll(buf *[]byte, body io.Reader) error {
	b := bytes.NewBuffer((*buf)[:0])
	n, err := b.ReadFrom(io.LimitReader(body, maxAnswer+1))
	*buf = b.Bytes()
	if err == nil && n > maxAnswer {
		err = errLarge
	}
	return err
}

// cutError says that an answer did not arrive as a whole. The SDK asks again.
type cutError struct{ err error }

func (e *cutError) Error() string { return "the answer was cut off: " + e.err.Error() }
func (e *cutError) Unwrap() error { return e.err }

// RetryableError is how the SDK finds out.
func (e *cutError) RetryableError() bool { return true }
