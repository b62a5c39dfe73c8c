package stream_test

import (
	"math/big"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/millrace/millrace/stream"
)

// kinesis is a sequence number as Kinesis writes them.
const kinesis = "49590338271490256608559692538361571095921575989136588898"

// limit is 2¹⁹², the first number that is too large.
var limit = new(big.Int).Lsh(big.NewInt(1), 192)

func big3(hi, mid, lo uint64) *big.Int {
	n := new(big.Int).SetUint64(hi)
	n.Lsh(n, 64).Or(n, new(big.Int).SetUint64(mid))
	return n.Lsh(n, 64).Or(n, new(big.Int).SetUint64(lo))
}

func bigOf(s stream.Sequence) *big.Int { return big3(s.Words()) }

// words draws words with many zero and all-one ones, where carries happen.
func words(t *rapid.T, label string) (hi, mid, lo uint64) {
	word := rapid.OneOf(rapid.Uint64(), rapid.SampledFrom([]uint64{0, 1, 1<<63 - 1, 1 << 63, 1<<64 - 1}))
	return word.Draw(t, label+" hi"), word.Draw(t, label+" mid"), word.Draw(t, label+" lo")
}

func sequences(t *rapid.T, label string) stream.Sequence { return stream.MakeSequence(words(t, label)) }

func TestSequenceNumbersAreReadAndWrittenAsKinesisDoes(t *testing.T) {
	for _, text := range []string{"0", "1", "9", "10", "18446744073709551615", "18446744073709551616", kinesis, kinesis + "/3",
		"10000000000000000000", "100000000000000000000000000000000000000",
		"6277101735386680763835789423207666416102355444464034512895/18446744073709551615"} {
		s, err := stream.ParseSequence(text)
		if err != nil {
			t.Errorf("ParseSequence(%q): %v", text, err)
		} else if got := s.String(); got != text {
			t.Errorf("ParseSequence(%q) is written as %q", text, got)
		}
	}
}

func TestWhatIsNoSequenceNumberIsRefused(t *testing.T) {
	for _, text := range []string{"", "/", "/1", "x", "-1", "+1", " 1", "1 ", "1_0", "0x1", "1/", "1/x", "1/-1", "1/2/3",
		"1/18446744073709551616", limit.String(), kinesis + kinesis, strings.Repeat("9", 1000), "TRIM_HORIZON", "１"} {
		s, err := stream.ParseSequence(text)
		if err == nil {
			t.Errorf("ParseSequence(%q) = %v, want an error", text, s)
		} else if len(err.Error()) > 300 {
			t.Errorf("the error for a long text is %d bytes long", len(err.Error()))
		}
	}
}

func TestSequenceArithmeticIsThatOfIntegers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, n := sequences(t, "a"), sequences(t, "b"), rapid.Uint64().Draw(t, "n")
		bigA, bigB := bigOf(a), bigOf(b)

		if got := a.String(); got != bigA.String() {
			t.Fatalf("%v is written as %q", bigA, got)
		}
		back, err := stream.ParseSequence(a.String())
		if err != nil || back != a {
			t.Fatalf("%v is read back as %v, %v", a, back, err)
		}
		if got := a.Compare(b); got != bigA.Cmp(bigB) || a.Less(b) != (got < 0) {
			t.Fatalf("%v.Compare(%v) = %d", a, b, got)
		}
		sum := new(big.Int).Add(bigA, new(big.Int).SetUint64(n))
		if got := a.Add(n); bigOf(got).Cmp(sum.Mod(sum, limit)) != 0 {
			t.Fatalf("%v.Add(%d) = %v", a, n, got)
		}
		diff := new(big.Int).Sub(bigA, bigB)
		got, ok := a.Since(b)
		if ok != diff.IsUint64() || ok && got != diff.Uint64() {
			t.Fatalf("%v.Since(%v) = %d, %v", a, b, got, ok)
		}
		if got, ok := stream.MakeSequence(0, 0, n).Add(7).Since(stream.MakeSequence(0, 0, n)); !ok || got != 7 {
			t.Fatalf("adding 7 to %d and taking it away gives %d, %v", n, got, ok)
		}
	})
}

func TestTheSubSequenceOrdersRecordsOfOneNumber(t *testing.T) {
	s := stream.MakeSequence(1, 2, 3)
	inOrder := []stream.Sequence{{}, s, s.WithSub(1), s.WithSub(2), s.WithSub(1<<64 - 1), s.Add(1), s.Add(1).WithSub(1)}
	if !slices.IsSortedFunc(inOrder, stream.Sequence.Compare) {
		t.Error("not in order")
	}
	if got := s.WithSub(9).Add(1); got != stream.MakeSequence(1, 2, 4) {
		t.Errorf("Add keeps the sub-sequence: %v", got)
	}
	if n, ok := s.Add(5).WithSub(3).Since(s.WithSub(4)); n != 5 || !ok {
		t.Errorf("Since counts sub-sequences: %d, %v", n, ok)
	}
}

func TestWritingASequenceNumberAllocatesNothing(t *testing.T) {
	s, _ := stream.ParseSequence(kinesis)
	buf := make([]byte, 0, 64)
	if n := testing.AllocsPerRun(100, func() { buf = s.AppendDecimal(buf[:0]) }); n != 0 {
		t.Errorf("AppendDecimal allocates %v times", n)
	}
	if n := testing.AllocsPerRun(100, func() { stream.ParseSequence(kinesis) }); n != 0 {
		t.Errorf("ParseSequence allocates %v times", n)
	}
}

func FuzzParseSequence(f *testing.F) {
	for _, seed := range []string{"0", "007", kinesis, kinesis + "/12", limit.String(), "1/", "/1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := stream.ParseSequence(text)
		if err != nil {
			if s != (stream.Sequence{}) {
				t.Fatalf("ParseSequence(%q) gives %v beside an error", text, s)
			}
			return
		}
		back, err := stream.ParseSequence(s.String())
		if err != nil || back != s {
			t.Fatalf("%q is read as %v, and that as %v, %v", text, s, back, err)
		}
		number, _, _ := strings.Cut(text, "/")
		if want, ok := new(big.Int).SetString(number, 10); !ok || want.Cmp(bigOf(s)) != 0 {
			t.Fatalf("%q is read as %v", text, s)
		}
	})
}

func BenchmarkAppendDecimal(b *testing.B) {
	s, err := stream.ParseSequence(kinesis)
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 0, 64)
	b.ReportAllocs()
	for b.Loop() {
		buf = s.AppendDecimal(buf[:0])
	}
}

func BenchmarkParseSequence(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := stream.ParseSequence(kinesis); err != nil {
			b.Fatal(err)
		}
	}
}
