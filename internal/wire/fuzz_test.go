package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"math"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
	"github.com/fxamacker/cbor/v2"
)

// FuzzJSON compares what is read, and what is refused, with encoding/json.
func FuzzJSON(f *testing.F) {
	for _, text := range []string{
		`{}`, `[]`, `null`, `true`, `-12.5e+3`, `{"a":[1,2,{"b":null}],"c":"\ud83d\ude00\n","c":2}`, `"\ud800\u0041"`, `[1,]`, `{"a":1,}`, "\"\xff\"", `"\u0000"`,
		` [ 1 , "x" ] `, `{"Records":[{"Data":"YWJj","PartitionKey":"k"}]}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		r := NewJSON(bytes.Clone(text))
		got := tree(&r, literal)
		err := r.End()
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		var want any
		wrong := d.Decode(&want)
		if wrong == nil {
			if _, after := d.Token(); after != io.EOF {
				wrong = errors.New("it goes on")
			}
		}
		switch {
		case err == nil && wrong != nil:
			t.Fatalf("%q is %v, and encoding/json says %v", text, got, wrong)
		case err == nil && !reflect.DeepEqual(got, want):
			t.Fatalf("%q is %v, and for encoding/json %v", text, got, want)
		case err != nil && wrong == nil && utf8.Valid(text) && nesting(text) <= MaxDepth:
			t.Fatalf("%q: %v", text, err)
		}
		s := NewJSON(bytes.Clone(text))
		s.Skip()
		if skipped := s.End(); (skipped == nil) != (err == nil) {
			t.Fatalf("%q: read %v, skipped %v", text, err, skipped)
		}
	})
}

func nesting(text []byte) int { return bytes.Count(text, []byte("[")) + bytes.Count(text, []byte("{")) }

// FuzzBase64 compares decoding in place with encoding/base64, which is strict
// when it meets no line breaks.
func FuzzBase64(f *testing.F) {
	for n := range 100 {
		f.Add([]byte(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{byte(n * 7)}, n))))
	}
	f.Add([]byte(strings.Repeat("YWJj", 30) + "\n\n\n\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		want, wrong := base64.StdEncoding.DecodeString(string(text))
		if bytes.ContainsAny(text, "\r\n") {
			wrong = errors.New("a line break")
		}
		got, ok := decodeBase64(bytes.Clone(text))
		if ok != (wrong == nil) || ok && !bytes.Equal(got, want) {
			t.Fatalf("%q is %q, %v; for encoding/base64 %q, %v", text, got, ok, want, wrong)
		}
		if back := AppendJSONBytes(nil, text); string(back) != `"`+base64.StdEncoding.EncodeToString(text)+`"` {
			t.Fatalf("%q is written as %s", text, back)
		}
	})
}

// FuzzJSONText compares the writer of strings with the reader of encoding/json.
func FuzzJSONText(f *testing.F) {
	f.Add("a\"\\\n\x00\x1f世界\xff\xed\xa0\x80\u2028")
	f.Fuzz(func(t *testing.T, s string) {
		var back string
		text := AppendJSONString(nil, s)
		if err := json.Unmarshal(text, &back); err != nil || back != string([]rune(s)) {
			t.Fatalf("%q is written as %s and read as %q, %v", s, text, back, err)
		}
		r := NewJSON(text)
		if got := string(r.Text()); got != back || r.End() != nil {
			t.Fatalf("%q is read as %q, %v", s, got, r.End())
		}
	})
}

// FuzzMillis compares the exact reader of times with floating point.
func FuzzMillis(f *testing.F) {
	for _, s := range []string{"0", "1441215410.867", "1.441215410867E9", "-1.5", "1e-400", "0.00049999", "12345678901234567890"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var number json.Number
		if json.Unmarshal(text, &number) != nil || bytes.ContainsAny(text, "\"n \t\r\n") {
			return
		}
		seconds, wrong := number.Float64()
		r := NewJSON(bytes.Clone(text))
		got := r.Millis()
		if math.Abs(seconds) > 1e11 || wrong != nil {
			return // no time of ours; it must not panic
		}
		if r.End() != nil {
			if len(text) > 300 { // exponents beyond reason
				return
			}
			e := strings.ToLower(string(text))
			if i := strings.IndexByte(e, 'e'); i >= 0 && len(e)-i > 3 {
				return
			}
			t.Fatalf("%s: %v", text, r.End())
		}
		if math.Abs(float64(got)-seconds*1000) > 0.51 {
			t.Fatalf("%s is %d ms", text, got)
		}
		if back := AppendJSONMillis(nil, got); math.Abs(float64(got)) < 1e14 {
			again := NewJSON(back)
			if again.Millis() != got {
				t.Fatalf("%d ms are written as %s", got, back)
			}
		}
	})
}

var oracle = func() cbor.DecMode {
	m, err := cbor.DecOptions{
		MaxNestedLevels: MaxDepth, MaxArrayElements: math.MaxInt32, MaxMapPairs: math.MaxInt32,
		TagsMd: cbor.TagsForbidden, DefaultMapType: reflect.TypeFor[map[string]any](),
		IntDec: cbor.IntDecConvertNone,
	}.DecMode()
	if err != nil {
		panic(err)
	}
	return m
}()

// plainCBOR makes the numbers that the oracle found comparable.
func plainCBOR(v any) any {
	switch x := v.(type) {
	case uint64:
		return float64(x)
	case int64:
		return float64(x)
	case float32:
		return float64(x)
	case big.Int:
		f, _ := x.Float64()
		return f
	case cbor.SimpleValue:
		return nil
	case []any:
		for i := range x {
			x[i] = plainCBOR(x[i])
		}
	case map[string]any:
		for k := range x {
			x[k] = plainCBOR(x[k])
		}
	}
	return v
}

// FuzzCBOR compares what is read, and what is refused, with fxamacker/cbor.
func FuzzCBOR(f *testing.F) {
	for _, s := range []string{
		"\xa1\x61a\x01", "\xbf\x61a\x9f\x01\xf5\xf6\xff\xff", "\x7f\x61a\x61b\xff", "\x5f\x41a\x42bc\xff", "\xc1\x1b\x00\x00\x01\x8b\xcf\xe5\x68\x00",
		"\xf9\x3c\x00", "\xfb\x3f\xf0\x00\x00\x00\x00\x00\x00", "\xc2\x41\x01", "\x1b\xff\xff\xff\xff\xff\xff\xff\xff", "\x9b\xff\xff\xff\xff\xff\xff\xff\xff", "\xff", "\xf8\x20", "\xf8\x10",
		"\xa1\x01\x02", "\x3b\xff\xff\xff\xff\xff\xff\xff\xff", "\xbf\x61a\xff", "\x62\xff\xff", "\xf7",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		s := NewCBOR(bytes.Clone(message), time.Second)
		s.Skip()
		skipped := s.End()
		malformed := cbor.Wellformed(message)
		if skipped == nil && malformed != nil && !strings.Contains(malformed.Error(), "exceeded max") {
			t.Fatalf("%x is skipped, and malformed: %v", message, malformed)
		}

		r := NewCBOR(bytes.Clone(message), time.Second)
		got := tree(&r, float64s)
		err := r.End()
		var want any
		wrong := oracle.Unmarshal(message, &want)
		if skipped != nil && wrong == nil {
			t.Fatalf("%x: %v", message, skipped)
		}
		if err == nil && wrong == nil {
			if want = plainCBOR(want); !equalNaN(got, want) {
				t.Fatalf("%x is %v, and for the oracle %v", message, got, want)
			}
		}
		// The oracle takes null for a name, and simple values for values.
		if err != nil && wrong == nil && !strings.Contains(err.Error(), "no value") && !strings.Contains(err.Error(), "no string") {
			t.Fatalf("%x: %v; the oracle has %v", message, err, want)
		}

		// No way of reading may panic, or go on for ever.
		for _, read := range []func(*CBOR){func(r *CBOR) { r.Millis() }, func(r *CBOR) { r.Int() }, func(r *CBOR) { r.Bool() }, func(r *CBOR) { r.Bytes() }, func(r *CBOR) { r.Null() }} {
			r := NewCBOR(bytes.Clone(message), time.Millisecond)
			for r.Array(); r.Item(); {
				before := r.pos
				if read(&r); r.pos == before {
					r.Skip()
				}
			}
		}
	})
}

// equalNaN is DeepEqual for which NaN is NaN.
func equalNaN(a, b any) bool {
	switch x := a.(type) {
	case float64:
		y, ok := b.(float64)
		return ok && (x == y || x != x && y != y)
	case []any:
		y, ok := b.([]any)
		return ok && slices.EqualFunc(x, y, equalNaN)
	case map[string]any:
		y, ok := b.(map[string]any)
		for k := range x {
			ok = ok && equalNaN(x[k], y[k])
		}
		return ok && len(x) == len(y)
	}
	return reflect.DeepEqual(a, b)
}

// FuzzFrame compares what is read, and what is refused, with the SDK's decoder.
func FuzzFrame(f *testing.F) {
	start := BeginFrame(nil, Header{":message-type", "event"}, Header{":event-type", "SubscribeToShardEvent"})
	f.Add(EndFrame(append(start, "{}"...), 0))
	f.Add(EndFrame(BeginFrame(nil), 0))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		compareFrames(t, data)
		// Most frames have wrong checksums: here is one that has not.
		if len(data) > frameOverhead {
			compareFrames(t, signed(data))
		}
	})
}

// signed makes the lengths and checksums of a frame right, but for that of its
// headers, which stays within it.
func signed(data []byte) []byte {
	frame := bytes.Clone(data)
	headers := int(frame[4]) % (len(frame) - frameOverhead + 1)
	copy(frame, []byte{0, 0, 0, 0, 0, 0, byte(headers >> 8), byte(headers)})
	return EndFrame(frame[:len(frame)-4], 0)
}

func compareFrames(t *testing.T, data []byte) {
	got, err := ParseFrame(data)
	want, wrong := eventstream.NewDecoder().Decode(bytes.NewReader(data), nil)
	if err != nil {
		return // the SDK's takes more: names without a letter, say
	}
	if wrong != nil {
		t.Fatalf("%x is taken, and the SDK says %v", data, wrong)
	}
	if !bytes.Equal(got.Payload, want.Payload) {
		t.Fatalf("%x has %x and for the SDK %x", data, got.Payload, want.Payload)
	}
	for _, h := range want.Headers {
		if text, ok := h.Value.(eventstream.StringValue); ok && want.Headers.Get(h.Name) == h.Value {
			if got := got.Header(h.Name); string(got) != string(text) {
				t.Fatalf("%x has %s = %q and for the SDK %q", data, h.Name, got, text)
			}
		}
	}
}
