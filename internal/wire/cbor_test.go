package wire

import (
	"encoding/hex"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

func readCBOR(t testing.TB, message string, unit time.Duration) *CBOR {
	t.Helper()
	b, err := hex.DecodeString(message)
	if err != nil {
		t.Fatal(err)
	}
	r := NewCBOR(b, unit)
	return &r
}

// The examples of RFC 8949, appendix A, as far as they have a place here.
func TestExamplesOfTheRFC(t *testing.T) {
	for message, want := range map[string]any{
		"00": 0.0, "17": 23.0, "1818": 24.0, "1903e8": 1000.0, "1a000f4240": 1e6, "1b000000e8d4a51000": 1e12, "1bffffffffffffffff": 18446744073709551615.0,
		"20": -1.0, "3903e7": -1000.0, "f90000": 0.0, "f93c00": 1.0, "f97bff": 65504.0, "fa47c35000": 100000.0, "fb7e37e43c8800759c": 1.0e+300,
		"f90001": 5.960464477539063e-8, "f90400": 0.00006103515625, "f9c400": -4.0, "fbc010666666666666": -4.1, "f97c00": math.Inf(1), "f9fc00": math.Inf(-1),
		"f4": false, "f5": true, "f6": nil, "f7": nil, "c11a514b67b0": 1363896240.0, "40": []byte{}, "4401020304": []byte{1, 2, 3, 4},
		"60": "", "6449455446": "IETF", "62c3bc": "ü", "64f0908591": "𐅑", "80": []any{}, "83010203": []any{1.0, 2.0, 3.0}, "8301820203820405": []any{1.0, []any{2.0, 3.0}, []any{4.0, 5.0}},
		"a0": map[string]any{}, "a26161016162820203": map[string]any{"a": 1.0, "b": []any{2.0, 3.0}},
		"5f42010243030405ff": []byte{1, 2, 3, 4, 5}, "7f657374726561646d696e67ff": "streaming", "9fff": []any{}, "9f018202039f0405ffff": []any{1.0, []any{2.0, 3.0}, []any{4.0, 5.0}},
		"bf61610161629f0203ffff": map[string]any{"a": 1.0, "b": []any{2.0, 3.0}}, "bf6346756ef563416d7421ff": map[string]any{"Fun": true, "Amt": -2.0},
		"d9d9f7a16161c1fb41d452d9ec200000": map[string]any{"a": 1363896240.5},
	} {
		r := readCBOR(t, message, time.Second)
		if got := tree(r, float64s); !reflect.DeepEqual(got, want) || r.End() != nil {
			t.Errorf("%s is read as %v, %v, not %v", message, got, r.End(), want)
		}
	}
}

func TestBrokenCBORIsAnError(t *testing.T) {
	for _, message := range []string{
		"", "18", "19ff", "1a000000", "1b00000000000000", "1c", "1f", "3f", "df00", "41", "5bffffffffffffffff00", "7bffffffffffffffff00", "9bffffffffffffffff", "bbffffffffffffffff",
		"81", "8200", "a1", "a16161", "bf6161ff", "9f", "9f01", "bf", "5f", "5f4101", "5f6161ff", "7f4161ff", "5f5f4101ffff", "61ff", "7f61c361bcff", "ff", "c1", "c1ff", "f800", "f81f", "fc", "00ff",
		strings.Repeat("81", MaxDepth+1) + "00", strings.Repeat("9f", 1<<16), strings.Repeat("a100", 1<<16),
	} {
		r := readCBOR(t, message, time.Second)
		r.Skip()
		wantErr(t, message[:min(len(message), 40)], r.End(), true)
	}
}

func TestTimesOfCBOR(t *testing.T) {
	const ms = 1441215410867
	for _, c := range []struct {
		message string
		unit    time.Duration
	}{
		{hex.EncodeToString(AppendCBORMillis(nil, ms)), time.Millisecond},
		{hex.EncodeToString(AppendCBORInt(nil, ms)), time.Millisecond},
		{hex.EncodeToString(AppendCBORSeconds(nil, ms)), time.Second},
		{hex.EncodeToString(AppendCBORFloat(nil, ms/1000.0)), time.Second},
	} {
		r := readCBOR(t, c.message, c.unit)
		if got := r.Millis(); got != ms || r.End() != nil {
			t.Errorf("%s by %v is %d, %v", c.message, c.unit, got, r.End())
		}
	}
	r := readCBOR(t, hex.EncodeToString(AppendCBORSeconds(nil, 5000)), time.Second)
	if got := r.Millis(); got != 5000 {
		t.Errorf("5 s are %d ms", got)
	}
	for _, message := range []string{"c11b7fffffffffffffff", "c1fb7ff0000000000000", "c1f97e00", "60", "1bffffffffffffffff"} {
		r := readCBOR(t, message, time.Second)
		r.Millis()
		wantErr(t, message, r.End(), true)
	}
}

func TestWhatIsAppendedIsRead(t *testing.T) {
	for _, n := range []int64{0, 23, 24, 255, 256, 65535, 65536, math.MaxUint32, math.MaxUint32 + 1, math.MaxInt64, -1, -24, -25, math.MinInt64} {
		r := NewCBOR(AppendCBORInt(nil, n), time.Second)
		if got := r.Int(); got != n || r.End() != nil {
			t.Errorf("%d is read as %d, %v", n, got, r.End())
		}
	}
	message := AppendCBORMap(nil, 3)
	message = AppendCBORArray(AppendCBORText(message, "list"), 2)
	message = AppendCBORBool(AppendCBORBool(message, true), false)
	message = AppendCBORBytes(AppendCBORText(message, "data"), []byte{1, 2})
	message = EndCBOR(AppendCBORInt(AppendCBORText(BeginCBORMap(AppendCBORText(message, "map")), "x"), 7))
	want := map[string]any{"list": []any{true, false}, "data": []byte{1, 2}, "map": map[string]any{"x": 7.0}}
	r := NewCBOR(message, time.Second)
	if got := tree(&r, float64s); !reflect.DeepEqual(got, want) || r.End() != nil {
		t.Errorf("read as %v, %v", got, r.End())
	}
	r = NewCBOR(EndCBOR(AppendCBORInt(BeginCBORArray(nil), 1)), time.Second)
	if got := tree(&r, float64s); !reflect.DeepEqual(got, []any{1.0}) {
		t.Errorf("read as %v", got)
	}
}
