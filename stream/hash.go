package stream

import (
	"cmp"
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
	"strings"
)

// Hash is a point of the hash space, 0 to 2¹²⁸−1. It is a comparable value.
type Hash struct{ Hi, Lo uint64 }

// MaxHash is the last point of the hash space.
var MaxHash = Hash{^uint64(0), ^uint64(0)}

// FullRange is the whole hash space.
var FullRange = HashRange{End: MaxHash}

// HashOf returns where a partition key falls: its MD5, read as a big-endian
// number, as Kinesis does. MD5 serves to spread keys here, not to protect.
func HashOf(partitionKey string) Hash {
	// The array is on the stack for the keys that people use.
	var buf [256]byte
	sum := md5.Sum(append(buf[:0], partitionKey...))
	return Hash{binary.BigEndian.Uint64(sum[:8]), binary.BigEndian.Uint64(sum[8:])}
}

// ParseHash reads a decimal number below 2¹²⁸, the form in which Kinesis
// writes explicit hash keys and the ends of hash ranges.
func ParseHash(text string) (Hash, error) {
	s, err := ParseSequence(text)
	if err != nil || s.hi != 0 || strings.Contains(text, "/") {
		return Hash{}, fmt.Errorf("hash key %q: want a decimal number from 0 to 2^128-1", clip(text))
	}
	return Hash{s.mid, s.lo}, nil
}

// String returns the decimal form.
func (h Hash) String() string { return MakeSequence(0, h.Hi, h.Lo).String() }

// Compare returns -1, 0 or +1.
func (h Hash) Compare(g Hash) int {
	if c := cmp.Compare(h.Hi, g.Hi); c != 0 {
		return c
	}
	return cmp.Compare(h.Lo, g.Lo)
}

// Next returns h+1; the last point wraps to 0.
func (h Hash) Next() Hash {
	lo, c := bits.Add64(h.Lo, 1, 0)
	return Hash{h.Hi + c, lo}
}

// Prev returns h−1; 0 wraps to the last point.
func (h Hash) Prev() Hash {
	lo, b := bits.Sub64(h.Lo, 1, 0)
	return Hash{h.Hi - b, lo}
}

// MarshalText implements [encoding.TextMarshaler].
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (h *Hash) UnmarshalText(text []byte) (err error) {
	*h, err = ParseHash(string(text))
	return err
}

// HashRange is the part of the hash space that a shard holds. Both ends belong
// to it.
type HashRange struct{ Start, End Hash }

// String returns "start-end" in decimal.
func (r HashRange) String() string { return r.Start.String() + "-" + r.End.String() }

// Contains reports whether h lies in r.
func (r HashRange) Contains(h Hash) bool {
	return r.Start.Compare(h) <= 0 && h.Compare(r.End) <= 0
}

// SplitAt divides r into what is below start and what begins with it. Both
// parts must have at least one point.
func (r HashRange) SplitAt(start Hash) (low, high HashRange, err error) {
	if start.Compare(r.Start) <= 0 || start.Compare(r.End) > 0 {
		return low, high, fmt.Errorf("split at hash key %v: want a point above the start of %v and not above its end", start, r)
	}
	return HashRange{r.Start, start.Prev()}, HashRange{start, r.End}, nil
}

// Middle returns the point at which [HashRange.SplitAt] halves the range.
func (r HashRange) Middle() Hash {
	lo, c := bits.Add64(r.Start.Lo, r.End.Lo, 0)
	hi, c := bits.Add64(r.Start.Hi, r.End.Hi, c)
	half := Hash{hi>>1 | c<<63, lo>>1 | hi<<63}
	return half.Next()
}

// Span returns how far the last point is from the first.
func (r HashRange) Span() Hash {
	lo, b := bits.Sub64(r.End.Lo, r.Start.Lo, 0)
	hi, _ := bits.Sub64(r.End.Hi, r.Start.Hi, b)
	return Hash{hi, lo}
}

// Join returns the union of two ranges that lie side by side.
func (r HashRange) Join(s HashRange) (HashRange, error) {
	if s.Start.Compare(r.Start) < 0 {
		r, s = s, r
	}
	if r.End == MaxHash || r.End.Next() != s.Start {
		return HashRange{}, fmt.Errorf("hash ranges %v and %v do not lie side by side", r, s)
	}
	return HashRange{r.Start, s.End}, nil
}

// SplitHashSpace divides the whole hash space into n ranges that differ by at
// most one point. It panics when n < 1.
func SplitHashSpace(n int) []HashRange {
	if n < 1 {
		panic(fmt.Sprintf("stream: the hash space cannot be divided into %d ranges", n))
	}
	ranges := make([]HashRange, n)
	for i := range ranges {
		ranges[i].Start = fraction(uint64(i), uint64(n))
		ranges[i].End = fraction(uint64(i+1), uint64(n)).Prev()
	}
	return ranges
}

// fraction returns ⌊i·2¹²⁸/n⌋ modulo 2¹²⁸.
func fraction(i, n uint64) Hash {
	if i >= n {
		return Hash{}
	}
	hi, r := bits.Div64(i, 0, n)
	lo, _ := bits.Div64(r, 0, n)
	return Hash{hi, lo}
}

// Holes returns the parts of the hash space that none of the ranges covers, in
// order. Ranges may overlap; one that ends before it starts covers nothing.
func Holes(ranges []HashRange) []HashRange {
	sorted := slices.Clone(ranges)
	slices.SortFunc(sorted, func(a, b HashRange) int { return a.Start.Compare(b.Start) })
	var holes []HashRange
	next := Hash{} // the first point not yet covered
	for _, r := range sorted {
		if r.End.Compare(r.Start) < 0 {
			continue
		}
		if r.Start.Compare(next) > 0 {
			holes = append(holes, HashRange{next, r.Start.Prev()})
		}
		if r.End.Compare(next) >= 0 {
			if r.End == MaxHash {
				return holes
			}
			next = r.End.Next()
		}
	}
	return append(holes, HashRange{next, MaxHash})
}
