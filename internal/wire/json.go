package wire

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/bits"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"

	"github.com/segmentio/asm/base64"
)

// JSON is a cursor over one JSON document: see [Reader]. Bytes are base64, times
// are seconds with a fraction.
type JSON struct {
	buf   []byte
	pos   int
	depth int
	first bool // the next item or member is the first one of its container
	key   []byte
	err   error
}

// NewJSON returns a cursor before the document, which it will rewrite.
func NewJSON(document []byte) JSON { return JSON{buf: document} }

// fail notes the first error, and leaves nothing to read.
func (r *JSON) fail(problem string) {
	if r.err == nil {
		r.err = &SyntaxError{r.pos, problem}
	}
	r.pos = len(r.buf)
}

// peek returns the next byte that is no white space; 0 at the end.
func (r *JSON) peek() byte {
	for r.pos < len(r.buf) {
		c := r.buf[r.pos]
		if c > ' ' || c != ' ' && c != '\n' && c != '\r' && c != '\t' {
			return c
		}
		r.pos++
	}
	return 0
}

// Kind implements [Reader].
func (r *JSON) Kind() Kind {
	switch c := r.peek(); c {
	case '"':
		return Text
	case '{':
		return Object
	case '[':
		return Array
	case 't', 'f':
		return Bool
	case 'n':
		return Null
	default:
		if c == '-' || '0' <= c && c <= '9' {
			return Number
		}
		return Invalid
	}
}

func (r *JSON) word(w string) bool {
	if bytes.HasPrefix(r.buf[r.pos:], []byte(w)) {
		r.pos += len(w)
		return true
	}
	return false
}

// Null implements [Reader].
func (r *JSON) Null() bool { return r.peek() == 'n' && r.word("null") }

// Bool implements [Reader].
func (r *JSON) Bool() bool {
	r.peek()
	switch {
	case r.word("true"):
		return true
	case !r.word("false"):
		r.fail("no boolean")
	}
	return false
}

// Array implements [Reader].
func (r *JSON) Array() { r.open('[', "no list") }

// Object implements [Reader].
func (r *JSON) Object() { r.open('{', "no object") }

func (r *JSON) open(bracket byte, otherwise string) {
	switch {
	case r.peek() != bracket:
		r.fail(otherwise)
		return
	case r.depth == MaxDepth:
		r.fail("too deeply nested")
		return
	}
	r.pos++
	r.depth++
	r.first = true
}

// Item implements [Reader].
func (r *JSON) Item() bool { return r.more(']') }

// Member implements [Reader].
func (r *JSON) Member() bool {
	if !r.more('}') {
		return false
	}
	if r.key = r.Text(); r.peek() != ':' {
		r.fail("no colon behind a name")
		return false
	}
	r.pos++
	return true
}

// more reads what stands before the next item, or behind the last one.
func (r *JSON) more(bracket byte) bool {
	c := r.peek()
	if c == bracket {
		r.pos++
		r.depth--
		r.first = false
		return false
	}
	if r.first {
		r.first = false
		return r.err == nil // whatever is wrong, the value's reader will find
	}
	if c != ',' {
		r.fail("no comma, and no end of the list or object")
		return false
	}
	r.pos++
	return true
}

// Key implements [Reader].
func (r *JSON) Key() []byte { return r.key }

// Int implements [Reader]. It takes 1.0 and 1e3 for whole numbers.
func (r *JSON) Int() int64 {
	text := r.Number()
	if n, ok := parseInt(text); ok {
		return n
	}
	f, err := strconv.ParseFloat(view(text), 64)
	if err != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
		r.fail("no whole number of 64 bits")
		return 0
	}
	return int64(f)
}

// parseInt reads up to 18 digits fast, and other integers as well as they go.
func parseInt(text []byte) (n int64, ok bool) {
	digits := text
	if len(text) > 0 && text[0] == '-' {
		digits = text[1:]
	}
	if len(digits) > 18 {
		n, err := strconv.ParseInt(view(text), 10, 64)
		return n, err == nil
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	if len(digits) < len(text) {
		n = -n
	}
	return n, len(digits) > 0
}

// Float implements [Reader].
func (r *JSON) Float() float64 {
	f, err := strconv.ParseFloat(view(r.Number()), 64)
	if err != nil {
		r.fail("no number that can be kept")
	}
	return f
}

// Millis implements [Reader]. AWS writes 1.441215410867E9.
func (r *JSON) Millis() int64 {
	ms, ok := parseMillis(r.Number())
	if !ok {
		r.fail("no time")
	}
	return ms
}

// parseMillis reads a decimal number of seconds. It is exact, and what cannot be
// held in 18 digits has no business in a time.
func parseMillis(text []byte) (ms int64, ok bool) {
	sign, shift, digits := int64(1), 3, 0
	i := 0
	if i < len(text) && text[i] == '-' {
		sign, i = -1, i+1
	}
	fraction := false
	for ; i < len(text); i++ {
		c := text[i]
		if c == '.' {
			fraction = true
			continue
		}
		if c < '0' || c > '9' {
			break
		}
		if fraction {
			shift--
		}
		if digits == 18 {
			shift++ // beyond what counts
			continue
		}
		ms = ms*10 + int64(c-'0')
		if ms != 0 {
			digits++
		}
	}
	if i < len(text) { // the exponent
		e, err := strconv.Atoi(view(text[i+1:]))
		if err != nil || e < -400 || e > 400 {
			return 0, false
		}
		shift += e
	}
	for ; shift > 0 && ms != 0; shift-- {
		if ms > math.MaxInt64/10 {
			return 0, false
		}
		ms *= 10
	}
	if shift < -18 {
		return 0, len(text) > 0
	}
	if shift < 0 {
		by := int64(1)
		for ; shift < 0; shift++ {
			by *= 10
		}
		rest := ms % by
		ms /= by
		if rest >= by-rest {
			ms++
		}
	}
	return sign * ms, len(text) > 0
}

// Number reads a number as it is written.
func (r *JSON) Number() []byte {
	r.peek()
	start := r.pos
	if r.pos < len(r.buf) && r.buf[r.pos] == '-' {
		r.pos++
	}
	whole := r.pos
	ok := r.digits()
	ok = ok && (r.buf[whole] != '0' || r.pos == whole+1)
	if ok && r.pos < len(r.buf) && r.buf[r.pos] == '.' {
		r.pos++
		ok = r.digits()
	}
	if ok && r.pos < len(r.buf) && r.buf[r.pos]|0x20 == 'e' {
		r.pos++
		if r.pos < len(r.buf) && (r.buf[r.pos] == '+' || r.buf[r.pos] == '-') {
			r.pos++
		}
		ok = r.digits()
	}
	if !ok {
		r.fail("no number")
		return nil
	}
	return r.buf[start:r.pos]
}

func (r *JSON) digits() bool {
	start := r.pos
	for r.pos < len(r.buf) && '0' <= r.buf[r.pos] && r.buf[r.pos] <= '9' {
		r.pos++
	}
	return r.pos > start
}

// Text implements [Reader]. Half a surrogate pair becomes U+FFFD.
func (r *JSON) Text() []byte {
	if r.peek() != '"' {
		r.fail("no string")
		return nil
	}
	start := r.pos + 1
	ascii := true
	for p := start; ; p++ {
		p += plain(r.buf[p:])
		if p == len(r.buf) {
			r.fail("a string does not end")
			return nil
		}
		switch c := r.buf[p]; {
		case c == '"':
			r.pos = p + 1
			return r.checked(r.buf[start:p:p], ascii)
		case c == '\\':
			return r.unescape(start, p, ascii)
		case c < ' ':
			r.pos = p
			r.fail("a control character in a string")
			return nil
		default:
			ascii = false
		}
	}
}

func (r *JSON) checked(text []byte, ascii bool) []byte {
	if !ascii && !utf8.Valid(text) {
		r.fail("a string that is not UTF-8")
		return nil
	}
	return text
}

// unescape goes on with a string from its first escape, moving what follows to
// the left: no escape is shorter than what it stands for.
func (r *JSON) unescape(start, p int, ascii bool) []byte {
	buf := r.buf
	w := p
	for p < len(buf) {
		switch c := buf[p]; {
		case c == '"':
			r.pos = p + 1
			return r.checked(buf[start:w:w], ascii)
		case c == '\\':
			char, n := escape(buf[p:])
			if n == 0 {
				r.pos = p
				r.fail("an escape that is none")
				return nil
			}
			p += n
			w += utf8.EncodeRune(buf[w:w+min(n, utf8.UTFMax)], char)
		case c < ' ':
			r.pos = p
			r.fail("a control character in a string")
			return nil
		default:
			ascii = ascii && c < utf8.RuneSelf
			buf[w] = c
			w++
			p++
		}
	}
	r.fail("a string does not end")
	return nil
}

// escape returns what an escape stands for, and its length; 0 when it is none.
func escape(text []byte) (char rune, n int) {
	if len(text) < 2 {
		return 0, 0
	}
	switch c := text[1]; c {
	case '"', '\\', '/':
		return rune(c), 2
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 'u':
		char, ok := hex4(text)
		if !ok {
			return 0, 0
		}
		if !utf16.IsSurrogate(char) {
			return char, 6
		}
		if second, ok := hex4(text[6:]); ok {
			if pair := utf16.DecodeRune(char, second); pair != utf8.RuneError {
				return pair, 12
			}
		}
		return utf8.RuneError, 6
	}
	return 0, 0
}

// hex4 reads the four digits of an escape \uXXXX.
func hex4(text []byte) (char rune, ok bool) {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0, false
	}
	for _, c := range text[2:6] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		char = char<<4 | rune(c)
	}
	return char, true
}

// plain returns for how many bytes text has nothing but ASCII that stands for
// itself: no quote, no backslash, no control character.
func plain(text []byte) int {
	const (
		ones  = 0x0101010101010101
		tops  = 0x8080808080808080
		quote = ones * '"'
		slash = ones * '\\'
		space = ones * ' '
	)
	n := 0
	for ; n+8 <= len(text); n += 8 {
		// A byte of the sums has its top bit set where it is one of those; above
		// the first such byte they may be wrong.
		w := binary.LittleEndian.Uint64(text[n:])
		q, b := w^quote, w^slash
		if found := ((q-ones)&^q | (b-ones)&^b | (w-space)&^w | w) & tops; found != 0 {
			return n + bits.TrailingZeros64(found)/8
		}
	}
	for ; n < len(text); n++ {
		if c := text[n]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			break
		}
	}
	return n
}

// Bytes implements [Reader]: it decodes base64 with padding, in place.
func (r *JSON) Bytes() []byte {
	if r.peek() != '"' {
		r.fail("no string")
		return nil
	}
	start := r.pos + 1
	n := bytes.IndexByte(r.buf[start:], '"')
	if n < 0 {
		r.fail("a string does not end")
		return nil
	}
	text := r.buf[start : start+n]
	if bytes.IndexByte(text, '\\') >= 0 { // "\/" of some clients
		if text = r.Text(); r.err != nil {
			return nil
		}
	} else {
		r.pos = start + n + 1
	}
	data, ok := decodeBase64(text)
	if !ok {
		r.pos = start
		r.fail("a string that is not base64")
		return nil
	}
	return data
}

// decodeBase64 decodes in place. The decoder leaves line breaks aside, which the
// length then tells, and which are not allowed in a string of JSON.
func decodeBase64(text []byte) ([]byte, bool) {
	want := len(text) / 4 * 3
	for i := len(text) - 1; i >= max(0, len(text)-2) && text[i] == '='; i-- {
		want--
	}
	n, err := base64.StdEncoding.Decode(text, text)
	if err != nil || n != want || len(text)%4 != 0 {
		return nil, false
	}
	return text[:n:n], true
}

// Skip implements [Reader].
func (r *JSON) Skip() {
	switch r.Kind() {
	case Null:
		if !r.Null() {
			r.fail("no value")
		}
	case Bool:
		r.Bool()
	case Number:
		r.Number()
	case Text:
		r.Text()
	case Array:
		for r.Array(); r.Item(); {
			r.Skip()
		}
	case Object:
		for r.Object(); r.Member(); {
			r.Skip()
		}
	default:
		r.fail("no value")
	}
}

// Err implements [Reader].
func (r *JSON) Err() error { return r.err }

// End implements [Reader].
func (r *JSON) End() error {
	if r.err == nil && (r.peek() != 0 || r.pos < len(r.buf)) {
		r.fail("the document goes on behind its end")
	}
	return r.err
}

// view returns bytes as a string for as long as they do not change.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
