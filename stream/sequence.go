package stream

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// Sequence is the place of a record in its shard: a sequence number of up to
// 192 bits, and a sub-sequence, the place of a user's record inside a record
// that carries many (a KPL aggregate), counted from 0.
//
// It is a comparable value: == is equality, [Sequence.Compare] the order.
// Kinesis writes sequence numbers as decimal text of 56 digits (186 bits);
// [ParseSequence] and [Sequence.String] keep that form at the edges, and
// nothing is allocated in between. The zero value is a valid number, smaller
// than every other one.
type Sequence struct {
	hi, mid, lo uint64
	sub         uint64
}

// MakeSequence returns the sequence number hi·2¹²⁸ + mid·2⁶⁴ + lo, sub-sequence 0.
func MakeSequence(hi, mid, lo uint64) Sequence { return Sequence{hi: hi, mid: mid, lo: lo} }

// Words returns the three words of the number, most significant first.
func (s Sequence) Words() (hi, mid, lo uint64) { return s.hi, s.mid, s.lo }

// Sub returns the sub-sequence.
func (s Sequence) Sub() uint64 { return s.sub }

// WithSub returns the same number with another sub-sequence.
func (s Sequence) WithSub(sub uint64) Sequence {
	s.sub = sub
	return s
}

// Add returns the number plus n, sub-sequence 0. It wraps beyond 2¹⁹².
func (s Sequence) Add(n uint64) Sequence {
	lo, c := bits.Add64(s.lo, n, 0)
	mid, c := bits.Add64(s.mid, 0, c)
	hi, _ := bits.Add64(s.hi, 0, c)
	return Sequence{hi: hi, mid: mid, lo: lo}
}

// Since returns by how much the number exceeds base, sub-sequences left aside.
// ok is false when it is smaller, or when the difference needs more than 64 bits.
func (s Sequence) Since(base Sequence) (n uint64, ok bool) {
	lo, b := bits.Sub64(s.lo, base.lo, 0)
	mid, b := bits.Sub64(s.mid, base.mid, b)
	hi, b := bits.Sub64(s.hi, base.hi, b)
	return lo, b == 0 && hi == 0 && mid == 0
}

// Compare orders by number, then by sub-sequence: -1, 0 or +1.
func (s Sequence) Compare(t Sequence) int {
	if c := cmp.Compare(s.hi, t.hi); c != 0 {
		return c
	}
	if c := cmp.Compare(s.mid, t.mid); c != 0 {
		return c
	}
	if c := cmp.Compare(s.lo, t.lo); c != 0 {
		return c
	}
	return cmp.Compare(s.sub, t.sub)
}

// Less reports whether s comes before t.
func (s Sequence) Less(t Sequence) bool { return s.Compare(t) < 0 }

// IsZero reports whether s is the zero value.
func (s Sequence) IsZero() bool { return s == Sequence{} }

// ten19 is the largest power of ten that fits in 64 bits.
const ten19 = 10_000_000_000_000_000_000

// AppendDecimal appends the number, without the sub-sequence, in Kinesis'
// decimal form.
func (s Sequence) AppendDecimal(dst []byte) []byte {
	// Three divisions by 10¹⁹ leave the number as up to four groups of 19 digits.
	hi, mid, lo := s.hi, s.mid, s.lo
	var groups [4]uint64
	n := 0
	for hi|mid|lo != 0 {
		var r uint64
		hi, r = bits.Div64(0, hi, ten19)
		mid, r = bits.Div64(r, mid, ten19)
		lo, r = bits.Div64(r, lo, ten19)
		groups[n] = r
		n++
	}
	if n == 0 {
		return append(dst, '0')
	}
	dst = strconv.AppendUint(dst, groups[n-1], 10)
	for n--; n > 0; n-- {
		dst = appendPadded19(dst, groups[n-1])
	}
	return dst
}

func appendPadded19(dst []byte, v uint64) []byte {
	var buf [19]byte
	for i := len(buf) - 1; i >= 0; i-- {
		buf[i] = byte('0' + v%10)
		v /= 10
	}
	return append(dst, buf[:]...)
}

// String returns the decimal number, followed by "/" and the sub-sequence when
// that is not 0: "49590338271490256608559692538361571095921575989136588898",
// "4959…898/3".
func (s Sequence) String() string {
	buf := s.AppendDecimal(make([]byte, 0, 64))
	if s.sub != 0 {
		buf = append(buf, '/')
		buf = strconv.AppendUint(buf, s.sub, 10)
	}
	return string(buf)
}

var errSequence = errors.New("want a decimal number below 2^192, and perhaps /sub-sequence")

// ParseSequence reads what [Sequence.String] writes.
func ParseSequence(text string) (Sequence, error) {
	number, subText, hasSub := strings.Cut(text, "/")
	var s Sequence
	if number == "" {
		return Sequence{}, fmt.Errorf("sequence number %q: %w", clip(text), errSequence)
	}
	for i := 0; i < len(number); {
		v, n := eightDigits(number[i:])
		power := uint64(100_000_000)
		if n == 0 {
			if v, n, power = uint64(number[i]-'0'), 1, 10; v > 9 {
				return Sequence{}, fmt.Errorf("sequence number %q: byte %d is no digit: %w", clip(text), i, errSequence)
			}
		}
		var over bool
		if s, over = s.timesPlus(power, v); over {
			return Sequence{}, fmt.Errorf("sequence number %q is too large: %w", clip(text), errSequence)
		}
		i += n
	}
	if hasSub {
		sub, err := strconv.ParseUint(subText, 10, 64)
		if err != nil {
			return Sequence{}, fmt.Errorf("sequence number %q: sub-sequence: %w", clip(text), errSequence)
		}
		s.sub = sub
	}
	return s, nil
}

// eightDigits reads the number in the first eight bytes; n is 0 when these are
// not digits all.
func eightDigits(text string) (v uint64, n int) {
	if len(text) < 8 {
		return 0, 0
	}
	w := binary.LittleEndian.Uint64([]byte(text[:8]))
	// The upper half of a digit is 3, and stays so when 6 is added to it.
	if w&0xf0f0f0f0f0f0f0f0 != 0x3030303030303030 || (w+0x0606060606060606)&0xf0f0f0f0f0f0f0f0 != 0x3030303030303030 {
		return 0, 0
	}
	w &= 0x0f0f0f0f0f0f0f0f
	w = (w*10 + w>>8) & 0x00ff00ff00ff00ff   // pairs of digits
	w = (w*100 + w>>16) & 0x0000ffff0000ffff // fours
	return (w*10_000 + w>>32) & 0x00000000ffffffff, 8
}

// timesPlus returns s·m + d.
func (s Sequence) timesPlus(m, d uint64) (_ Sequence, over bool) {
	c, lo := bits.Mul64(s.lo, m)
	lo, k := bits.Add64(lo, d, 0)
	c1, mid := bits.Mul64(s.mid, m)
	mid, k = bits.Add64(mid, c, k)
	c2, hi := bits.Mul64(s.hi, m)
	hi, k = bits.Add64(hi, c1, k)
	return Sequence{hi: hi, mid: mid, lo: lo}, c2+k != 0
}

// clip keeps an error message readable whatever it was given.
func clip(text string) string {
	const most = 80
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}

// MarshalText implements [encoding.TextMarshaler].
func (s Sequence) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *Sequence) UnmarshalText(text []byte) (err error) {
	*s, err = ParseSequence(string(text))
	return err
}
