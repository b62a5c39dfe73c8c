package wire

import (
	"encoding/binary"
	"math"
	"time"
	"unicode/utf8"
)

// CBOR is a cursor over one data item of CBOR (RFC 8949): see [Reader]. It reads
// strings, lists and maps of definite and indefinite length, and looks through
// tags.
type CBOR struct {
	buf   []byte
	pos   int
	tag   uint64 // the last tag before the next value, noTag where there is none
	unit  time.Duration
	depth int
	left  [MaxDepth]uint64 // what is left of each container, or indefinite
	key   []byte
	err   error
}

// The major types of CBOR, and what follows them instead of an argument.
const (
	majorUint = iota
	majorNegative
	majorBytes
	majorText
	majorArray
	majorMap
	majorTag
	majorSimple

	infoFalse, infoTrue, infoNull, infoUndefined = 20, 21, 22, 23
	infoHalf, infoSingle, infoDouble             = 25, 26, 27
	infoIndefinite                               = 31
	breakByte                                    = 0xff
)

const (
	tagTime    = 1
	noTag      = math.MaxUint64
	indefinite = math.MaxUint64
)

// NewCBOR returns a cursor before the message, which it will rewrite. Times are
// counted in unit: AWS's own form has milliseconds, Smithy's seconds.
func NewCBOR(message []byte, unit time.Duration) CBOR {
	return CBOR{buf: message, tag: noTag, unit: unit}
}

// fail notes the first error, and leaves nothing to read.
func (r *CBOR) fail(problem string) {
	if r.err == nil {
		r.err = &SyntaxError{r.pos, problem}
	}
	r.pos = len(r.buf)
}

// head reads an item's first byte and its argument. An indefinite length, and
// the break, have the argument 0.
func (r *CBOR) head() (major, info byte, arg uint64) {
	if r.pos == len(r.buf) {
		r.fail("the message ends too early")
		return majorSimple, infoIndefinite, 0
	}
	c := r.buf[r.pos]
	major, info = c>>5, c&31
	rest := r.buf[r.pos+1:]
	n := 0
	switch {
	case info < 24:
		arg = uint64(info)
	case info == 24 && len(rest) >= 1:
		n, arg = 1, uint64(rest[0])
	case info == 25 && len(rest) >= 2:
		n, arg = 2, uint64(binary.BigEndian.Uint16(rest))
	case info == 26 && len(rest) >= 4:
		n, arg = 4, uint64(binary.BigEndian.Uint32(rest))
	case info == 27 && len(rest) >= 8:
		n, arg = 8, binary.BigEndian.Uint64(rest)
	case info == infoIndefinite && major != majorUint && major != majorNegative && major != majorTag:
	default:
		r.fail("an item that is none, or ends too early")
		return majorSimple, infoIndefinite, 0
	}
	r.pos += 1 + n
	return major, info, arg
}

// value reads the head of the next value, through its tags.
func (r *CBOR) value() (major, info byte, arg uint64) {
	r.tags()
	r.tag = noTag
	return r.head()
}

// tags reads the tags before the next value.
func (r *CBOR) tags() {
	for r.pos < len(r.buf) && r.buf[r.pos]>>5 == majorTag {
		_, _, r.tag = r.head()
	}
}

// Kind implements [Reader].
func (r *CBOR) Kind() Kind {
	r.tags()
	if r.pos == len(r.buf) {
		return Invalid
	}
	switch c := r.buf[r.pos]; c >> 5 {
	case majorUint, majorNegative:
		return r.number()
	case majorBytes:
		return Bytes
	case majorText:
		return Text
	case majorArray:
		return Array
	case majorMap:
		return Object
	default:
		switch c & 31 {
		case infoFalse, infoTrue:
			return Bool
		case infoNull, infoUndefined:
			return Null
		case infoHalf, infoSingle, infoDouble:
			return r.number()
		}
		return Invalid
	}
}

func (r *CBOR) number() Kind {
	if r.tag == tagTime {
		return Time
	}
	return Number
}

// Null implements [Reader]. It takes undefined for null.
func (r *CBOR) Null() bool {
	if r.Kind() != Null {
		return false
	}
	r.value()
	return true
}

// Bool implements [Reader].
func (r *CBOR) Bool() bool {
	if r.Kind() != Bool {
		r.fail("no boolean")
		return false
	}
	_, info, _ := r.value()
	return info == infoTrue
}

// Int implements [Reader]. It takes 1.0 for a whole number.
func (r *CBOR) Int() int64 {
	switch major, info, arg := r.value(); major {
	case majorUint:
		if arg <= math.MaxInt64 {
			return int64(arg)
		}
	case majorNegative:
		if arg <= math.MaxInt64 {
			return -1 - int64(arg)
		}
	case majorSimple:
		if f, ok := float(info, arg); ok && f == math.Trunc(f) && math.Abs(f) <= 1<<53 {
			return int64(f)
		}
	}
	r.fail("no whole number of 64 bits")
	return 0
}

// Float implements [Reader].
func (r *CBOR) Float() float64 {
	switch major, info, arg := r.value(); major {
	case majorUint:
		return float64(arg)
	case majorNegative:
		if arg == math.MaxUint64 {
			return -(1 << 64)
		}
		return -float64(arg + 1)
	case majorSimple:
		if f, ok := float(info, arg); ok {
			return f
		}
	}
	r.fail("no number")
	return 0
}

func float(info byte, arg uint64) (f float64, ok bool) {
	switch info {
	case infoHalf:
		return half(uint16(arg)), true
	case infoSingle:
		return float64(math.Float32frombits(uint32(arg))), true
	case infoDouble:
		return math.Float64frombits(arg), true
	}
	return 0, false
}

// half reads a number of 16 bits: sign, 5 bits of exponent, 10 of fraction.
func half(b uint16) float64 {
	exponent, fraction := int(b>>10&31), float64(b&1023)
	f := 0.0
	switch exponent {
	case 0:
		f = math.Ldexp(fraction, -24)
	case 31:
		if f = math.Inf(1); fraction != 0 {
			return math.NaN()
		}
	default:
		f = math.Ldexp(fraction+1024, exponent-25)
	}
	if b>>15 != 0 {
		return -f
	}
	return f
}

// Millis implements [Reader]. The tag may be missing.
func (r *CBOR) Millis() int64 {
	factor := int64(r.unit / time.Millisecond)
	if r.Kind(); r.pos < len(r.buf) && r.buf[r.pos]>>5 == majorSimple {
		if f := math.Round(r.Float() * float64(factor)); math.Abs(f) <= 1<<53 {
			return int64(f)
		}
	} else if n := r.Int(); n <= math.MaxInt64/factor && n >= math.MinInt64/factor {
		return n * factor
	}
	r.fail("no time")
	return 0
}

// Text implements [Reader].
func (r *CBOR) Text() []byte {
	text := r.bytes(majorText, "no string")
	if !utf8.Valid(text) {
		r.fail("a string that is not UTF-8")
		return nil
	}
	return text
}

// Bytes implements [Reader].
func (r *CBOR) Bytes() []byte { return r.bytes(majorBytes, "no byte string") }

func (r *CBOR) bytes(major byte, otherwise string) []byte {
	m, info, n := r.value()
	if m != major {
		r.fail(otherwise)
		return nil
	}
	if info != infoIndefinite {
		return r.take(n)
	}
	// Pieces are moved together, over their heads.
	start := r.pos
	w := start
	for r.err == nil {
		if r.pos < len(r.buf) && r.buf[r.pos] == breakByte {
			r.pos++
			return r.buf[start:w:w]
		}
		m, info, n := r.head()
		if m != major || info == infoIndefinite {
			r.fail("a piece of a string that is none")
			return nil
		}
		piece := r.take(n)
		if major == majorText && !utf8.Valid(piece) {
			r.fail("a string that is not UTF-8")
		}
		w += copy(r.buf[w:], piece)
	}
	return nil
}

func (r *CBOR) take(n uint64) []byte {
	if n > uint64(len(r.buf)-r.pos) {
		r.fail("a string is longer than the message")
		return nil
	}
	start := r.pos
	r.pos += int(n)
	return r.buf[start:r.pos:r.pos]
}

// Array implements [Reader].
func (r *CBOR) Array() { r.open(majorArray, "no list") }

// Object implements [Reader].
func (r *CBOR) Object() { r.open(majorMap, "no map") }

func (r *CBOR) open(major byte, otherwise string) {
	m, info, n := r.value()
	switch {
	case m != major:
		r.fail(otherwise)
		return
	case r.depth == MaxDepth:
		r.fail("too deeply nested")
		return
	case info == infoIndefinite:
		n = indefinite
	case n > uint64(len(r.buf)-r.pos): // an item has one byte at least
		r.fail("a list or map is longer than the message")
		return
	}
	r.left[r.depth] = n
	r.depth++
}

// Item implements [Reader].
func (r *CBOR) Item() bool {
	if r.err != nil {
		return false
	}
	left := &r.left[r.depth-1]
	switch {
	case *left == 0:
		r.depth--
		return false
	case *left != indefinite:
		*left--
	case r.pos < len(r.buf) && r.buf[r.pos] == breakByte:
		r.pos++
		r.depth--
		return false
	}
	return true
}

// Member implements [Reader].
func (r *CBOR) Member() bool {
	if !r.Item() {
		return false
	}
	r.key = r.Text()
	return r.err == nil
}

// Key implements [Reader].
func (r *CBOR) Key() []byte { return r.key }

// Skip implements [Reader].
func (r *CBOR) Skip() {
	switch r.Kind() {
	case Bytes:
		r.Bytes()
	case Text:
		r.Text()
	case Array:
		for r.Array(); r.Item(); {
			r.Skip()
		}
	case Object:
		// Names of any kind: what is not known may be anything.
		for r.Object(); r.Item(); {
			r.Skip()
			r.Skip()
		}
	default:
		major, info, arg := r.value()
		if major == majorSimple && (info == infoIndefinite || info == 24 && arg < 32) {
			r.fail("no value")
		}
	}
}

// Err implements [Reader].
func (r *CBOR) Err() error { return r.err }

// End implements [Reader].
func (r *CBOR) End() error {
	if r.err == nil && r.pos < len(r.buf) {
		r.fail("the message goes on behind its end")
	}
	return r.err
}
