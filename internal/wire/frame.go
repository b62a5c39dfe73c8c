package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// A frame of an event stream, all numbers big-endian:
//
//	total u32 | headers u32 | CRC-32 of these 8 bytes | headers | payload | CRC-32 of all before
//
// and a header: length of the name u8, name, type u8, value. The value of a
// string has its length, u16, before it.
const (
	preludeBytes  = 12
	frameOverhead = preludeBytes + 4
	headerString  = 7
)

// MaxFrame is how large a frame may be, in bytes: one with a record of 10 MiB in
// base64, and generous room for what is around it.
const MaxFrame = 24 << 20

// ErrFrame says that the bytes are not a frame, or not any more.
var ErrFrame = errors.New("broken event stream")

// Header is one header of a frame. All that Kinesis sends are strings. Name has
// up to 255 bytes, Value up to 32767.
type Header struct{ Name, Value string }

// BeginFrame begins a frame. The payload is to be appended, and then EndFrame
// called with the length that dst had before.
func BeginFrame(dst []byte, headers ...Header) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, preludeBytes)...)
	for _, h := range headers {
		dst = append(dst, byte(len(h.Name)))
		dst = append(dst, h.Name...)
		dst = append(dst, headerString)
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(h.Value)))
		dst = append(dst, h.Value...)
	}
	binary.BigEndian.PutUint32(dst[start+4:], uint32(len(dst)-start-preludeBytes))
	return dst
}

// EndFrame ends the frame that begins at start.
func EndFrame(dst []byte, start int) []byte {
	frame := dst[start:]
	binary.BigEndian.PutUint32(frame, uint32(len(frame)+4))
	binary.BigEndian.PutUint32(frame[8:], crc32.ChecksumIEEE(frame[:8]))
	return binary.BigEndian.AppendUint32(dst, crc32.ChecksumIEEE(frame))
}

// FrameSize returns how long a frame is, from its first 12 bytes: that many have
// to be read for ParseFrame.
func FrameSize(prelude []byte) (int, error) {
	if len(prelude) < preludeBytes {
		return 0, fmt.Errorf("%w: %d bytes instead of the first %d of a frame", ErrFrame, len(prelude), preludeBytes)
	}
	total := binary.BigEndian.Uint32(prelude)
	headers := binary.BigEndian.Uint32(prelude[4:])
	switch {
	case crc32.ChecksumIEEE(prelude[:8]) != binary.BigEndian.Uint32(prelude[8:]):
		return 0, fmt.Errorf("%w: the checksum of a frame's length is wrong", ErrFrame)
	case total > MaxFrame:
		return 0, fmt.Errorf("%w: a frame of %d bytes; %d are allowed", ErrFrame, total, MaxFrame)
	case total < frameOverhead || headers > total-frameOverhead:
		return 0, fmt.Errorf("%w: a frame of %d bytes with %d bytes of headers", ErrFrame, total, headers)
	}
	return int(total), nil
}

// Frame is a frame that was parsed. It consists of views.
type Frame struct {
	headers []byte
	// Payload is what the frame carries.
	Payload []byte
}

// ParseFrame checks a whole frame, of exactly the size that FrameSize tells.
func ParseFrame(frame []byte) (Frame, error) {
	size, err := FrameSize(frame)
	if err != nil {
		return Frame{}, err
	}
	if size != len(frame) {
		return Frame{}, fmt.Errorf("%w: a frame of %d bytes says that it has %d", ErrFrame, len(frame), size)
	}
	body := frame[:size-4]
	if crc32.ChecksumIEEE(body) != binary.BigEndian.Uint32(frame[size-4:]) {
		return Frame{}, fmt.Errorf("%w: the checksum of a frame is wrong", ErrFrame)
	}
	payload := preludeBytes + int(binary.BigEndian.Uint32(frame[4:]))
	f := Frame{headers: body[preludeBytes:payload], Payload: body[payload:]}
	for rest := f.headers; len(rest) > 0; {
		var ok bool
		if _, _, _, rest, ok = cutHeader(rest); !ok {
			return Frame{}, fmt.Errorf("%w: a header of a frame is broken", ErrFrame)
		}
	}
	return f, nil
}

// Header returns the value of a header that is a string; nil when the frame has
// none of that name.
func (f Frame) Header(name string) []byte {
	for rest := f.headers; len(rest) > 0; {
		n, kind, value, after, _ := cutHeader(rest)
		if kind == headerString && string(n) == name {
			return value
		}
		rest = after
	}
	return nil
}

// headerSizes are the lengths of values by their type; -1 is told before them.
var headerSizes = [...]int{0, 0, 1, 2, 4, 8, -1, -1, 8, 16}

func cutHeader(b []byte) (name []byte, kind byte, value, rest []byte, ok bool) {
	n := int(b[0])
	if n == 0 || len(b) < n+2 {
		return nil, 0, nil, nil, false
	}
	name, kind, b = b[1:n+1], b[n+1], b[n+2:]
	if int(kind) >= len(headerSizes) {
		return nil, 0, nil, nil, false
	}
	size := headerSizes[kind]
	if size < 0 {
		if len(b) < 2 {
			return nil, 0, nil, nil, false
		}
		size, b = int(binary.BigEndian.Uint16(b)), b[2:]
	}
	if len(b) < size {
		return nil, 0, nil, nil, false
	}
	return name, kind, b[:size], b[size:], true
}
