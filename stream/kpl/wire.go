package kpl

import "encoding/binary"

// fields walks through the fields of one protobuf message.
//
//	for f := (fields{message: m}); f.next(); { … f.number, f.kind … }
type fields struct {
	message []byte
	at      int  // where the next field begins
	broken  bool // next returned false before the end of the message

	number uint64
	kind   uint64
	value  uint64 // of a varint
	body   int    // where what follows the tag begins
	bytes  []byte // of a field that says its length
}

// The wire types of protobuf. Groups are none of them: they left the language
// before aggregates came into it.
const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireFixed32 = 5
)

// next goes on to the next field. Those that nobody asks for are stepped over
// by calling it again.
func (f *fields) next() bool {
	if f.at == len(f.message) {
		return false
	}
	tag := f.uvarint()
	f.number, f.kind, f.body = tag>>3, tag&7, f.at
	switch {
	case f.broken:
	case f.number == 0 || f.number >= 1<<29:
		f.broken = true
	case f.kind == wireVarint:
		f.value = f.uvarint()
	case f.kind == wireBytes:
		f.bytes = f.take(f.uvarint())
	case f.kind == wireFixed64:
		f.take(8)
	case f.kind == wireFixed32:
		f.take(4)
	default:
		f.broken = true
	}
	return !f.broken
}

func (f *fields) uvarint() uint64 {
	if f.at < len(f.message) && f.message[f.at] < 0x80 {
		f.at++
		return uint64(f.message[f.at-1])
	}
	v, n := binary.Uvarint(f.message[f.at:])
	if n <= 0 {
		f.broken = true
		return 0
	}
	f.at += n
	return v
}

// take returns the next n bytes, with no room to append to.
func (f *fields) take(n uint64) []byte {
	if f.broken || n > uint64(len(f.message)-f.at) {
		f.broken = true
		return nil
	}
	end := f.at + int(n)
	b := f.message[f.at:end:end]
	f.at = end
	return b
}

func appendTag(b []byte, number, kind uint64) []byte { return binary.AppendUvarint(b, number<<3|kind) }

func appendVarint(b []byte, number, v uint64) []byte {
	return binary.AppendUvarint(appendTag(b, number, wireVarint), v)
}

// appendLength begins a field of n bytes, which are to follow.
func appendLength(b []byte, number uint64, n int) []byte {
	return binary.AppendUvarint(appendTag(b, number, wireBytes), uint64(n))
}

func appendString(b []byte, number uint64, s string) []byte {
	return append(appendLength(b, number, len(s)), s...)
}
