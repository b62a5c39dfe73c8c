package wire

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var _ = []Reader{(*JSON)(nil), (*CBOR)(nil)}

// tree reads a value of any kind.
func tree(r Reader, number func(Reader) any) any {
	switch r.Kind() {
	case Null:
		if !r.Null() {
			r.Skip() // nul, which is an error
		}
		return nil
	case Bool:
		return r.Bool()
	case Number, Time:
		return number(r)
	case Text:
		return string(r.Text())
	case Bytes:
		return append([]byte{}, r.Bytes()...)
	case Array:
		list := []any{}
		for r.Array(); r.Item(); {
			list = append(list, tree(r, number))
		}
		return list
	case Object:
		doc := map[string]any{}
		for r.Object(); r.Member(); {
			key := string(r.Key())
			doc[key] = tree(r, number)
		}
		return doc
	default:
		r.Skip()
		return nil
	}
}

func literal(r Reader) any { return json.Number(r.(*JSON).Number()) }

func float64s(r Reader) any { return r.Float() }

// readJSON reads a copy of a document.
func readJSON(text string) *JSON {
	r := NewJSON([]byte(text))
	return &r
}

func wantErr(t testing.TB, what string, err error, want bool) {
	t.Helper()
	if (err != nil) != want {
		t.Errorf("%s: the error is %v", what, err)
	}
}

func TestNumbersOfJSONAreReadExactly(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "-0": 0, "7": 7, "-12": -12, "1e3": 1000, "1.0": 1, "120e-1": 12,
		"999999999999999999": 999999999999999999, "9223372036854775807": math.MaxInt64, "-9223372036854775808": math.MinInt64,
	} {
		r := readJSON(text)
		if got := r.Int(); got != want || r.End() != nil {
			t.Errorf("%s is read as %d, %v", text, got, r.End())
		}
	}
	for _, text := range []string{"", "-", "01", "1.", ".5", "1e", "1e+", "+1", "0x1", "1.5", "9223372036854775808", "1e30", "NaN", `"1"`, "true"} {
		r := readJSON(text)
		r.Int()
		wantErr(t, text, r.End(), true)
	}
}

func TestTimesOfJSONAreReadToTheMillisecond(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1": 1000, "1441215410.867": 1441215410867, "1.441215410867E9": 1441215410867, "1.441215410867e+9": 1441215410867,
		"-1.5": -1500, "0.0004": 0, "0.0005": 1, "1441215410.8674999": 1441215410867, "1441215410.86749999999999999999": 1441215410867,
		"1e-400": 0, "0e400": 0, "0.000000000000000000000001": 0, "1700000000": 1700000000000, "17000000000e-1": 1700000000000, "0.1e1": 1000,
	} {
		r := readJSON(text)
		if got := r.Millis(); got != want || r.End() != nil {
			t.Errorf("%s is read as %d, %v", text, got, r.End())
		}
	}
	for _, text := range []string{"1e300", "123456789012345678901234567890", "1e99999999999", `"1"`, ""} {
		r := readJSON(text)
		r.Millis()
		wantErr(t, text, r.End(), true)
	}
}

func TestStringsOfJSON(t *testing.T) {
	for text, want := range map[string]string{
		`""`: "", `"a"`: "a", `"12345678"`: "12345678", `"1234567890\n"`: "1234567890\n", `"\"\\\/\b\f\n\r\t"`: "\"\\/\b\f\n\r\t",
		`"\u0041\u00e9\u4e16"`: "Aé世", `"\ud83d\ude00!"`: "😀!", `"\uD83D"`: "\uFFFD", `"\uDE00x"`: "\uFFFDx", `"\ud83d\u0041"`: "\uFFFDA",
		`"\u0000"`: "\x00", `"世界"`: "世界", "\"\x7f\"": "\x7f", `  "a"  `: "a", `"\\\\"`: `\\`, `"世\n界"`: "世\n界",
	} {
		r := readJSON(text)
		if got := string(r.Text()); got != want || r.End() != nil {
			t.Errorf("%s is read as %q, %v", text, got, r.End())
		}
	}
	for _, text := range []string{`"`, `"a`, `"\"`, `"\x"`, `"\u12"`, `"\u12g4"`, "\"\n\"", "\"\x00\"", "\"\xff\"", "\"\xed\xa0\x80\"", `"a"b`, `'a'`, "\"\\n\x01\""} {
		r := readJSON(text)
		r.Text()
		wantErr(t, text, r.End(), true)
	}
}

func TestBase64InJSONIsDecodedStrictly(t *testing.T) {
	for text, want := range map[string]string{
		`""`: "", `"YQ=="`: "a", `"YWI="`: "ab", `"YWJj"`: "abc", `"YWJjZGVmZ2hpamts"`: "abcdefghijkl",
		`"\/\/\/\/"`: "\xff\xff\xff", `"\u0059Q=="`: "a",
		`"` + strings.Repeat("YWJj", 100) + `"`: strings.Repeat("abc", 100),
		// 3 bytes of padding bits that are not zero: lenient, as the readers of others are.
		`"YR=="`: "a",
	} {
		r := readJSON(text)
		if got := string(r.Bytes()); got != want || r.End() != nil {
			t.Errorf("%s is read as %q, %v", text, got, r.End())
		}
	}
	long := strings.Repeat("YWJj", 100)
	for _, text := range []string{
		`"Y"`, `"YQ"`, `"YQ="`, `"YQ==="`, `"===="`, `"Y==="`, `"Y=Q="`, `"YQ==YQ=="`, `"YW-_"`, "\"YW\nJj\"", `"YW\nJj"`, "\"YWJj\r\n\r\n\"",
		`"` + long + `\n\n\n\n"`, `"` + long + `YQ"`, `"` + long[:200] + "*" + long[201:] + `"`, "\"" + long[:200] + "\n" + long[201:] + `"`,
		`"YQ==`, `3`, "\"\xff\xff\xff\xff\"", `"` + long[:100] + "====" + long[:100] + `"`,
	} {
		r := readJSON(text)
		r.Bytes()
		wantErr(t, text, r.End(), true)
	}
}

func TestBrokenDocumentsAreErrors(t *testing.T) {
	for _, text := range []string{
		"", " ", "{", "}", "[", "]", "[1", "[1,", "[1,]", "[,1]", "[1 2]", `{"a"}`, `{"a":}`, `{"a":1,}`, `{,"a":1}`, `{"a" 1}`, `{"a":1 "b":2}`, `{a:1}`, `{1:1}`,
		"nul", "tru", "falsey", "nullnull", "[1}", `{"a":1]`, "1 2", "\x00", "1\x00", "/**/1", "\ufeff1", strings.Repeat("[", MaxDepth+1) + strings.Repeat("]", MaxDepth+1),
		strings.Repeat("[", 1<<20), strings.Repeat(`{"a":`, 1<<16),
	} {
		r := readJSON(text)
		r.Skip()
		wantErr(t, text[:min(len(text), 40)], r.End(), true)
	}
	deep := strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth)
	r := readJSON(deep)
	r.Skip()
	wantErr(t, "as deep as allowed", r.End(), false)
}

func TestReadersAllocateNothing(t *testing.T) {
	document := []byte(`{"Records":[{"Data":"YWJjZGVmZ2hpamts","PartitionKey":"k\u0041","ApproximateArrivalTimestamp":1441215410.867,"SequenceNumber":"495"},{}],"MillisBehindLatest":12,"x":[true,null,{"y":-1.5e3}]}`)
	message := AppendCBORInt(AppendCBORText(AppendCBORMillis(AppendCBORText(AppendCBORBytes(AppendCBORText(AppendCBORMap(nil, 3), "Data"), make([]byte, 99)), "T"), 1), "N"), 5)
	scratch := make([]byte, 0, 1<<10)
	if n := testing.AllocsPerRun(10, func() {
		scratch = append(scratch[:0], document...)
		r := NewJSON(scratch)
		r.Skip()
		scratch = append(scratch[:0], message...)
		c := NewCBOR(scratch, 1e6)
		c.Skip()
		if r.End() != nil || c.End() != nil {
			t.Fatal(r.Err(), c.Err())
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
