package wire

import (
	"slices"
	"strconv"
	"unicode/utf8"
	"unsafe"

	"github.com/segmentio/asm/base64"
)

// AppendJSONString appends a string with its quotes. What is not UTF-8 becomes
// U+FFFD.
func AppendJSONString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for {
		n := plain(unsafe.Slice(unsafe.StringData(s), len(s)))
		dst = append(dst, s[:n]...)
		if n == len(s) {
			return append(dst, '"')
		}
		s = s[n:]
		if c := s[0]; c < utf8.RuneSelf {
			dst = appendEscape(dst, c)
			s = s[1:]
			continue
		}
		r, n := utf8.DecodeRuneInString(s)
		dst = utf8.AppendRune(dst, r)
		s = s[n:]
	}
}

func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	default:
		const digits = "0123456789abcdef"
		return append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
	}
}

// AppendJSONBytes appends data as a string of base64, with its quotes.
func AppendJSONBytes(dst, data []byte) []byte {
	n := base64.StdEncoding.EncodedLen(len(data))
	dst = append(slices.Grow(dst, n+2), '"')
	base64.StdEncoding.Encode(dst[len(dst):len(dst)+n], data)
	return append(dst[:len(dst)+n], '"')
}

// AppendJSONMillis appends a time, given in milliseconds since the epoch, as
// seconds: 1441215410.867.
func AppendJSONMillis(dst []byte, ms int64) []byte {
	if ms < 0 {
		dst = append(dst, '-')
		ms = -ms
	}
	dst = strconv.AppendUint(dst, uint64(ms)/1000, 10)
	f := uint64(ms) % 1000
	switch {
	case f == 0:
		return dst
	case f%100 == 0:
		return append(dst, '.', byte('0'+f/100))
	case f%10 == 0:
		return append(dst, '.', byte('0'+f/100), byte('0'+f/10%10))
	default:
		return append(dst, '.', byte('0'+f/100), byte('0'+f/10%10), byte('0'+f%10))
	}
}
