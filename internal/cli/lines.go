package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
)

// maxLine is how long a line may be: the largest record of a stream, in base64
// and with room for what is around it.
const maxLine = 16 << 20

var errLongLine = fmt.Errorf("it is longer than %d MiB", maxLine>>20)

// line is one line of the input, or what is wrong with it.
type line struct {
	number int
	text   []byte
	err    error
}

// readLines sends the lines of in, without their ends, and closes the channel
// behind the last one. An empty line is none. An error that is no line's own
// comes as the last line, with the number 0.
//
// A read that waits is not ended by ctx, only left alone: nothing can end a read
// of a terminal or a pipe. So the goroutine may outlive the command.
func readLines(ctx context.Context, in io.Reader, lines chan<- line) {
	defer close(lines)
	send := func(l line) bool {
		select {
		case lines <- l:
			return true
		case <-ctx.Done():
			return false
		}
	}
	r := bufio.NewReaderSize(in, 64<<10)
	for n := 1; ; n++ {
		text, err := readLine(r)
		tooLong := errors.Is(err, errLongLine)
		if len(text) > 0 || tooLong {
			l := line{number: n, text: text}
			if tooLong {
				l.err = errLongLine
			}
			if !send(l) {
				return
			}
		}
		if err != nil && !tooLong {
			if !errors.Is(err, io.EOF) {
				send(line{err: fmt.Errorf("read the input: %w", err)})
			}
			return
		}
	}
}

// readLine returns the next line in memory of its own. Of a line that is too
// long it returns nothing but errLongLine.
func readLine(r *bufio.Reader) ([]byte, error) {
	var text []byte
	long := false
	for {
		part, err := r.ReadSlice('\n')
		if long = long || len(text)+len(part) > maxLine; long {
			text = nil
		} else {
			text = append(text, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case long && (err == nil || errors.Is(err, io.EOF)):
			return nil, errLongLine
		}
		text = bytes.TrimSuffix(text, []byte("\n"))
		return bytes.TrimSuffix(text, []byte("\r")), err
	}
}
