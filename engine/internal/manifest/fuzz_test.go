package manifest

import (
	"encoding/binary"
	"testing"
)

func FuzzDecode(f *testing.F) {
	b, _ := Encode(example())
	f.Add(b)
	f.Add(b[:len(b)/2])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) { comesBack(t, b) })
}

// FuzzDecodeText gives the text a head and a checksum that are right.
func FuzzDecodeText(f *testing.F) {
	b, _ := Encode(&Manifest{Openings: 1, NextHandle: 2, Streams: []Stream{{Name: "s", Shards: []Shard{{Handle: 1}}}}})
	f.Add(b[headSize : len(b)/2])
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		le := binary.LittleEndian
		one := make([]byte, headSize, headSize+len(text))
		le.PutUint64(one[0:], magic)
		le.PutUint32(one[8:], Version)
		le.PutUint64(one[12:], uint64(len(text)))
		one = append(one, text...)
		le.PutUint32(one[20:], sum(one))
		comesBack(t, one)
	})
}

func comesBack(t *testing.T, b []byte) {
	m, _, err := Decode(b)
	if err != nil {
		return
	}
	again, err := Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	if _, whole, err := Decode(again); err != nil || !whole {
		t.Fatalf("does not come back: %v", err)
	}
}
