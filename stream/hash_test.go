package stream_test

import (
	"crypto/md5"
	"math/big"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/millrace/millrace/stream"
)

func bigHash(h stream.Hash) *big.Int { return big3(0, h.Hi, h.Lo) }

func hashes(t *rapid.T, label string) stream.Hash {
	_, hi, lo := words(t, label)
	return stream.Hash{Hi: hi, Lo: lo}
}

// hashRange draws a range of at least one point.
func hashRange(t *rapid.T, label string) stream.HashRange {
	a, b := hashes(t, label+" one end"), hashes(t, label+" other end")
	if b.Compare(a) < 0 {
		a, b = b, a
	}
	return stream.HashRange{Start: a, End: b}
}

// points returns how many points a range has.
func points(r stream.HashRange) *big.Int {
	n := new(big.Int).Sub(bigHash(r.End), bigHash(r.Start))
	return n.Add(n, big.NewInt(1))
}

func TestAPartitionKeyFallsWhereItsMD5Says(t *testing.T) {
	for _, key := range []string{"", "a", "user-42", strings.Repeat("k", 256), strings.Repeat("long", 1000)} {
		sum := md5.Sum([]byte(key))
		if got, want := bigHash(stream.HashOf(key)), new(big.Int).SetBytes(sum[:]); got.Cmp(want) != 0 {
			t.Errorf("HashOf(%.10q) = %v, want %v", key, got, want)
		}
	}
}

func TestHashingAPartitionKeyAllocatesNothing(t *testing.T) {
	key := strings.Repeat("k", 256) // the longest that Kinesis allows
	if n := testing.AllocsPerRun(100, func() { stream.HashOf(key) }); n != 0 {
		t.Errorf("HashOf allocates %v times", n)
	}
}

func TestAnExplicitHashKeyOverridesThePartitionKey(t *testing.T) {
	key := stream.Hash{Hi: 1, Lo: 2}
	e := stream.Entry{PartitionKey: "k", HashKey: key}
	r := stream.Record{PartitionKey: "k", HashKey: key}
	if e.Hash() != stream.HashOf("k") || r.Hash() != stream.HashOf("k") {
		t.Error("a hash key that was not given counts")
	}
	e.HasHashKey, r.HasHashKey = true, true
	if e.Hash() != key || r.Hash() != key {
		t.Error("a hash key that was given does not count")
	}
}

func TestWhatIsNoHashKeyIsRefused(t *testing.T) {
	for _, text := range []string{"", "-1", "x", "1/0", "1/2", "340282366920938463463374607431768211456", strings.Repeat("9", 500)} {
		if h, err := stream.ParseHash(text); err == nil {
			t.Errorf("ParseHash(%q) = %v, want an error", text, h)
		}
	}
}

func TestHashArithmeticIsThatOfIntegersModulo128Bits(t *testing.T) {
	one, space := big.NewInt(1), new(big.Int).Lsh(big.NewInt(1), 128)
	rapid.Check(t, func(t *rapid.T) {
		h, g := hashes(t, "h"), hashes(t, "g")
		if got, err := stream.ParseHash(h.String()); err != nil || got != h {
			t.Fatalf("%v is read back as %v, %v", h, got, err)
		}
		if h.String() != bigHash(h).String() || h.Compare(g) != bigHash(h).Cmp(bigHash(g)) {
			t.Fatalf("%v, %v", h, g)
		}
		next := new(big.Int).Add(bigHash(h), one)
		prev := new(big.Int).Sub(bigHash(h), one)
		if bigHash(h.Next()).Cmp(next.Mod(next, space)) != 0 || bigHash(h.Prev()).Cmp(prev.Mod(prev, space)) != 0 {
			t.Fatalf("%v.Next() = %v, Prev() = %v", h, h.Next(), h.Prev())
		}
	})
}

func TestSplittingAndJoiningAreInverse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, at := hashRange(t, "range"), hashes(t, "at")
		low, high, err := r.SplitAt(at)
		if inside := r.Contains(at) && at != r.Start; (err == nil) != inside {
			t.Fatalf("%v.SplitAt(%v): %v", r, at, err)
		}
		if err != nil {
			return
		}
		if low.End.Next() != high.Start || high.Start != at {
			t.Fatalf("%v.SplitAt(%v) = %v, %v", r, at, low, high)
		}
		for _, pair := range [][2]stream.HashRange{{low, high}, {high, low}} {
			if got, err := pair[0].Join(pair[1]); err != nil || got != r {
				t.Fatalf("%v joined with %v is %v, %v", pair[0], pair[1], got, err)
			}
		}
	})
}

func TestRangesThatDoNotTouchCannotBeJoined(t *testing.T) {
	at := func(start, end uint64) stream.HashRange {
		return stream.HashRange{Start: stream.Hash{Lo: start}, End: stream.Hash{Lo: end}}
	}
	for _, pair := range [][2]stream.HashRange{
		{at(0, 9), at(11, 20)},                                   // a gap
		{at(0, 10), at(10, 20)},                                  // an overlap
		{at(0, 10), at(0, 10)},                                   // the same
		{stream.FullRange, at(0, 0)},                             // the space is no ring
		{stream.FullRange, stream.FullRange},                     // nor beyond its end
		{{Start: stream.MaxHash, End: stream.MaxHash}, at(0, 0)}, // the ends of the space
	} {
		if got, err := pair[0].Join(pair[1]); err == nil {
			t.Errorf("%v joined with %v is %v", pair[0], pair[1], got)
		}
	}
}

func TestTheMiddleHalvesARange(t *testing.T) {
	if got := stream.FullRange.Middle(); got != (stream.Hash{Hi: 1 << 63}) {
		t.Errorf("the middle of the space is %v", got)
	}
	rapid.Check(t, func(t *rapid.T) {
		r := hashRange(t, "range")
		low, high, err := r.SplitAt(r.Middle())
		if r.Start == r.End {
			if err == nil {
				t.Fatalf("a range of one point is split into %v and %v", low, high)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if diff := new(big.Int).Sub(points(low), points(high)); diff.CmpAbs(big.NewInt(1)) > 0 {
			t.Fatalf("%v is halved with a difference of %v points", r, diff)
		}
	})
}

func TestTheHashSpaceIsDividedEvenlyAndCompletely(t *testing.T) {
	for _, n := range []int{1, 2, 3, 4, 5, 7, 10, 64, 100, 127, 1000, 4096, 4999, 5000} {
		ranges := stream.SplitHashSpace(n)
		if len(ranges) != n || ranges[0].Start != (stream.Hash{}) || ranges[n-1].End != stream.MaxHash {
			t.Fatalf("%d ranges from %v to %v, want %d of the whole space", len(ranges), ranges[0].Start, ranges[len(ranges)-1].End, n)
		}
		smallest, largest := points(ranges[0]), points(ranges[0])
		for i, r := range ranges {
			if i > 0 && ranges[i-1].End.Next() != r.Start {
				t.Fatalf("n=%d: range %d ends at %v, range %d starts at %v", n, i-1, ranges[i-1].End, i, r.Start)
			}
			size := points(r)
			if size.Cmp(smallest) < 0 {
				smallest = size
			}
			if size.Cmp(largest) > 0 {
				largest = size
			}
		}
		if diff := new(big.Int).Sub(largest, smallest); diff.Cmp(big.NewInt(1)) > 0 {
			t.Errorf("n=%d: ranges differ by %v points", n, diff)
		}
		if holes := stream.Holes(ranges); len(holes) != 0 {
			t.Errorf("n=%d: holes %v", n, holes)
		}
	}
}

func TestDividingTheHashSpaceByLessThanOnePanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	stream.SplitHashSpace(0)
}

func TestHolesAreFound(t *testing.T) {
	at := func(start, end uint64) stream.HashRange {
		return stream.HashRange{Start: stream.Hash{Lo: start}, End: stream.Hash{Lo: end}}
	}
	upFrom := func(start uint64) stream.HashRange {
		return stream.HashRange{Start: stream.Hash{Lo: start}, End: stream.MaxHash}
	}
	for _, c := range []struct {
		name        string
		cover, want []stream.HashRange
	}{
		{"nothing covered", nil, []stream.HashRange{stream.FullRange}},
		{"all covered", []stream.HashRange{stream.FullRange}, nil},
		{"in the middle", []stream.HashRange{upFrom(20), at(0, 9)}, []stream.HashRange{at(10, 19)}},
		{"at the start", []stream.HashRange{upFrom(1)}, []stream.HashRange{at(0, 0)}},
		{"at the end", []stream.HashRange{at(0, 9)}, []stream.HashRange{upFrom(10)}},
		{"the last point", []stream.HashRange{{End: stream.MaxHash.Prev()}}, []stream.HashRange{{Start: stream.MaxHash, End: stream.MaxHash}}},
		{"ranges inside others hide nothing", []stream.HashRange{at(0, 50), at(10, 20), upFrom(60)}, []stream.HashRange{at(51, 59)}},
		{"a parent beside its children", []stream.HashRange{stream.FullRange, at(0, 9), upFrom(10)}, nil},
		{"several", []stream.HashRange{at(5, 6), at(8, 8), upFrom(10)}, []stream.HashRange{at(0, 4), at(7, 7), at(9, 9)}},
		{"a range that ends before it starts covers nothing", []stream.HashRange{at(0, 9), at(20, 10), upFrom(30)}, []stream.HashRange{at(10, 29)}},
	} {
		if got := stream.Holes(c.cover); !slices.Equal(got, c.want) {
			t.Errorf("%s: holes %v, want %v", c.name, got, c.want)
		}
	}
}

func TestRangesAndTheirHolesCoverTheSpaceExactly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var ranges []stream.HashRange
		for range rapid.IntRange(0, 6).Draw(t, "n") {
			ranges = append(ranges, hashRange(t, "range"))
		}
		before := slices.Clone(ranges)
		holes := stream.Holes(ranges)
		if !slices.Equal(before, ranges) {
			t.Fatal("Holes changes its argument")
		}
		if left := stream.Holes(append(ranges, holes...)); len(left) != 0 {
			t.Fatalf("holes of %v leave %v", before, left)
		}
		for _, hole := range holes {
			for _, r := range before {
				if r.Contains(hole.Start) || r.Contains(hole.End) || hole.Contains(r.Start) {
					t.Fatalf("hole %v is covered by %v", hole, r)
				}
			}
		}
	})
}

func FuzzParseHash(f *testing.F) {
	for _, seed := range []string{"0", "1", "1/0", stream.MaxHash.String(), "340282366920938463463374607431768211456"} {
		f.Add(seed)
	}
	space := new(big.Int).Lsh(big.NewInt(1), 128)
	f.Fuzz(func(t *testing.T, text string) {
		h, err := stream.ParseHash(text)
		if err != nil {
			return
		}
		if want, ok := new(big.Int).SetString(text, 10); !ok || want.Cmp(space) >= 0 || want.Cmp(bigHash(h)) != 0 {
			t.Fatalf("%q is read as %v", text, h)
		}
		if back, err := stream.ParseHash(h.String()); err != nil || back != h {
			t.Fatalf("%v is read back as %v, %v", h, back, err)
		}
	})
}

func BenchmarkHashOf(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		stream.HashOf("customer-4711")
	}
}
