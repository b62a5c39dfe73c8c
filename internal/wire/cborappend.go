package wire

import (
	"encoding/binary"
	"math"
)

// AppendCBORMap begins a map of n pairs.
func AppendCBORMap(dst []byte, n int) []byte { return appendHead(dst, majorMap, uint64(n)) }

// AppendCBORArray begins a list of n items.
func AppendCBORArray(dst []byte, n int) []byte { return appendHead(dst, majorArray, uint64(n)) }

// BeginCBORMap begins a map that [EndCBOR] ends.
func BeginCBORMap(dst []byte) []byte { return append(dst, majorMap<<5|infoIndefinite) }

// BeginCBORArray begins a list that [EndCBOR] ends.
func BeginCBORArray(dst []byte) []byte { return append(dst, majorArray<<5|infoIndefinite) }

// EndCBOR ends what was begun without a length.
func EndCBOR(dst []byte) []byte { return append(dst, breakByte) }

// AppendCBORText appends a string, which should be valid UTF-8.
func AppendCBORText[T string | []byte](dst []byte, s T) []byte {
	return append(appendHead(dst, majorText, uint64(len(s))), s...)
}

// AppendCBORBytes appends a byte string.
func AppendCBORBytes(dst, data []byte) []byte {
	return append(appendHead(dst, majorBytes, uint64(len(data))), data...)
}

// AppendCBORInt appends a whole number.
func AppendCBORInt(dst []byte, n int64) []byte {
	if n < 0 {
		return appendHead(dst, majorNegative, uint64(-1-n))
	}
	return appendHead(dst, majorUint, uint64(n))
}

// AppendCBORFloat appends a number in 64 bits.
func AppendCBORFloat(dst []byte, f float64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, majorSimple<<5|infoDouble), math.Float64bits(f))
}

// AppendCBORBool appends true or false.
func AppendCBORBool(dst []byte, b bool) []byte {
	if b {
		return append(dst, majorSimple<<5|infoTrue)
	}
	return append(dst, majorSimple<<5|infoFalse)
}

// AppendCBORMillis appends a time, given in milliseconds since the epoch, as AWS
// does: tagged, and in milliseconds.
func AppendCBORMillis(dst []byte, ms int64) []byte {
	return AppendCBORInt(append(dst, majorTag<<5|tagTime), ms)
}

// AppendCBORSeconds appends a time, given in milliseconds since the epoch, as
// the RFC and Smithy do: tagged, and in seconds, whole ones where they suffice.
func AppendCBORSeconds(dst []byte, ms int64) []byte {
	dst = append(dst, majorTag<<5|tagTime)
	if ms%1000 == 0 {
		return AppendCBORInt(dst, ms/1000)
	}
	return AppendCBORFloat(dst, float64(ms)/1000)
}

func appendHead(dst []byte, major byte, arg uint64) []byte {
	major <<= 5
	switch {
	case arg < 24:
		return append(dst, major|byte(arg))
	case arg <= math.MaxUint8:
		return append(dst, major|24, byte(arg))
	case arg <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(dst, major|25), uint16(arg))
	case arg <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(dst, major|26), uint32(arg))
	default:
		return binary.BigEndian.AppendUint64(append(dst, major|27), arg)
	}
}
