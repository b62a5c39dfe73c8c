package kpl_test

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"pgregory.net/rapid"

	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/stream/kpl"
)

// pack makes an aggregate of any message.
func pack(message ...byte) []byte {
	sum := md5.Sum(message)
	return slices.Concat([]byte("\xf3\x89\x9a\xc2"), message, sum[:])
}

// field is a field that says its length.
func field(number byte, content ...byte) []byte {
	return append([]byte{number<<3 | 2, byte(len(content))}, content...)
}

// told is what a test wants to know of a record.
type told struct{ key, hash, data, tags string }

func tell(a *kpl.Aggregate) (all []told) {
	for sub, r := range a.All() {
		t := told{key: r.PartitionKey, data: string(r.Data)}
		if r.HasHashKey {
			t.hash = r.HashKey.String()
		}
		for tag := range r.Tags() {
			t.tags += tag.Key + "=" + tag.Value + ";"
		}
		if sub != uint64(len(all)) {
			t.data += fmt.Sprintf(" has the sub-sequence %d", sub)
		}
		all = append(all, t)
	}
	return all
}

// These were made by the producers of others.
func TestAggregatesOfOtherProducersAreRead(t *testing.T) {
	const word = `{"a":"ABC"}`
	for _, c := range []struct {
		what, data string
		want       []told
	}{
		{"one record", "84mawgoFa2V5LTAaJQgAGiFUZXN0aW5nIEtQTCBBZ2dyZWdhdGVkIFJlY29yZCAxLTBlW2Hfd6iL1WkMbznr8jc2",
			[]told{{key: "key-0", data: "Testing KPL Aggregated Record 1-0"}}},
		{"three keys", "84mawgoEcGstMAoEcGstMQoEcGstMhoTCAAaD3sibXNnIjoibGluZTAifRoTCAEaD3sibXNnIjoibGluZTEifRoTCAIaD3sibXNnIjoibGluZTIifZ8hyadI+v2KZPZrUGim6cQ=",
			[]told{{key: "pk-0", data: `{"msg":"line0"}`}, {key: "pk-1", data: `{"msg":"line1"}`}, {key: "pk-2", data: `{"msg":"line2"}`}}},
		{"one key for all", "84mawgoCcDEaGAgAGhQwMTIzNDU2Nzg5MDEyMzQ1NjdfQRoYCAAaFDAxMjM0NTY3ODkwMTIzNDU2N19CGhgIABoUMDEyMzQ1Njc4OTAxMjM0NTY3X0NHjL02iyRk3D+kO2UC2X6u",
			[]told{{key: "p1", data: "012345678901234567_A"}, {key: "p1", data: "012345678901234567_B"}, {key: "p1", data: "012345678901234567_C"}}},
		{"explicit hash keys", "84mawgokZmMwM2RkODgtM2U3OS00NDhhLWIwMWEtN2NmMWJkNDdiNzg0CiRjYWU0MWIxYy1lYTYxLTQzZjItOTBiZS1iODc1NWViZjg4ZTIKJGQ0OTA2OTBjLWU3NGQtNGRiMi1hM2M4LWQ4ZjJmMTg0ZmQyMwokYzkyNGJjMDktYjg1ZS00N2YxLWIzMmUtMzM2NTIyZWU1M2M4EiYzODQ4NjQ5NTg2NzUwODM5OTA3ODE1OTcyMzg0NjA1MTgwNzAyMBInMTkzNzg3NjAwMDM3NjgxNzA2OTUyMTQzMzU3MDcxOTE2MzUyNjA0EicyNjY4ODA0MzY5NjQ5MzI0MjQyNjU0NjY5MTY3MzQwNjg2ODQ0MzkSJzMzOTYwNjYwMDk0Mjk2NzM5MTg1NDYwMzU1MjQwMjAyMTg0NzI5MhomCAAQABogUkVDT1JEIDIyIHBlZW9iaGN6YnpkbXNrYm91cGd5cQoaJggBEAEaIFJFQ09SRCAyMyB1c3dreGZ0eHJvZXVzc2N4c2pobm8KGiYIAhACGiBSRUNPUkQgMjQgY2FzZWhkZ2l2ZmF4ZXVzdGx5c3p5ChomCAMQAxogUkVDT1JEIDI1IG52ZmZ2cG11b2dkb3BqaGFtZXZyawpRwVPQ3go0yp4Y6kvM0q3V",
			[]told{
				{key: "fc03dd88-3e79-448a-b01a-7cf1bd47b784", hash: "38486495867508399078159723846051807020", data: "RECORD 22 peeobhczbzdmskboupgyq\n"},
				{key: "cae41b1c-ea61-43f2-90be-b8755ebf88e2", hash: "193787600037681706952143357071916352604", data: "RECORD 23 uswkxftxroeusscxsjhno\n"},
				{key: "d490690c-e74d-4db2-a3c8-d8f2f184fd23", hash: "266880436964932424265466916734068684439", data: "RECORD 24 casehdgivfaxeustlyszy\n"},
				{key: "c924bc09-b85e-47f1-b32e-336522ee53c8", hash: "339606600942967391854603552402021847292", data: "RECORD 25 nvffvpmuogdopjhamevrk\n"},
			}},
		{"a hash key that is no number", "84mawgokODE2MjJiMGUtNWFlOC00YjUzLWE1ODUtYzZjYjc3ODBlNjgwCiQyNWQ0YzNjMS0zMWZlLTQyNGYtOTFmMy04MTI0MWRjYzY1OTASCXVuZGVmaW5lZBoRCAAQABoLeyJhIjoiQUJDIn0aEQgBEAAaC3siYiI6IkRFRiJ9jU+TcO1bDHHEgOGh8mJlCw==",
			[]told{{key: "81622b0e-5ae8-4b53-a585-c6cb7780e680", data: word}, {key: "25d4c3c1-31fe-424f-91f3-81241dcc6590", data: `{"b":"DEF"}`}}},
	} {
		data, err := base64.StdEncoding.DecodeString(c.data)
		if err != nil {
			t.Fatal(err)
		}
		a, ok := kpl.Decode(data)
		if !ok {
			t.Errorf("%s: it is no aggregate", c.what)
			continue
		}
		if got := tell(a); !slices.Equal(got, c.want) || a.Len() != len(c.want) {
			t.Errorf("%s: %d records %q, want %q", c.what, a.Len(), got, c.want)
		}
	}
}

func TestAMessageIsReadAsProtobufSays(t *testing.T) {
	key, other := field(1, 'k'), field(1, 'o')
	record := field(3, 8, 0, 26, 1, 'd')
	for what, c := range map[string]struct {
		message []byte
		want    []told
	}{
		"the least":              {slices.Concat(key, record), []told{{key: "k", data: "d"}}},
		"tables behind records":  {slices.Concat(record, key), []told{{key: "k", data: "d"}}},
		"nothing as data":        {slices.Concat(key, field(3, 8, 0, 26, 0)), []told{{key: "k"}}},
		"nothing as key":         {slices.Concat(field(1), record), []told{{data: "d"}}},
		"a key that nobody uses": {slices.Concat(key, other, record), []told{{key: "k", data: "d"}}},
		"an index in two bytes":  {slices.Concat(key, field(3, 8, 0x80, 0, 26, 1, 'd')), []told{{key: "k", data: "d"}}},
		"the last index counts":  {slices.Concat(key, other, field(3, 8, 0, 8, 1, 26, 1, 'd')), []told{{key: "o", data: "d"}}},
		"the last data counts":   {slices.Concat(key, field(3, 8, 0, 26, 1, 'c', 26, 1, 'd')), []told{{key: "k", data: "d"}}},
		"fields that nobody knows": {slices.Concat(key, []byte{0x48, 5, 0x49, 1, 2, 3, 4, 5, 6, 7, 8, 0x4d, 1, 2, 3, 4}, field(9, 'x'), field(3, 0x48, 5, 8, 0, 26, 1, 'd', 0x4a, 1, 'x')),
			[]told{{key: "k", data: "d"}}},
		"known fields of other types": {slices.Concat(key, []byte{0x08, 5, 0x18, 5}, field(3, 8, 0, 10, 1, 'x', 24, 1, 26, 1, 'd', 32, 1)), []told{{key: "k", data: "d"}}},
		"a hash key":                  {slices.Concat(key, field(2, '4', '2'), field(3, 8, 0, 16, 0, 26, 1, 'd')), []told{{key: "k", hash: "42", data: "d"}}},
		"an empty hash key":           {slices.Concat(key, field(2), field(3, 8, 0, 16, 0, 26, 1, 'd')), []told{{key: "k", data: "d"}}},
		"tags":                        {slices.Concat(key, field(3, 8, 0, 34, 3, 10, 1, 'a', 26, 1, 'd', 34, 6, 10, 1, 'b', 18, 1, 'v')), []told{{key: "k", data: "d", tags: "a=;b=v;"}}},
		"an aggregate in it":          {slices.Concat(key, field(3, append([]byte{8, 0, 26, 30}, pack(slices.Concat(key, record)...)...)...)), []told{{key: "k", data: string(pack(slices.Concat(key, record)...))}}},
	} {
		a, ok := kpl.Decode(pack(c.message...))
		if !ok {
			t.Errorf("%s: it is no aggregate", what)
		} else if got := tell(a); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", what, got, c.want)
		}
	}
}

func TestWhatOnlyLooksLikeAnAggregateIsNone(t *testing.T) {
	key, record := field(1, 'k'), field(3, 8, 0, 26, 1, 'd')
	good := pack(slices.Concat(key, record)...)
	if _, ok := kpl.Decode(good); !ok {
		t.Fatal("the good one is none either")
	}
	flipped := func(i int) []byte {
		b := bytes.Clone(good)
		b[i] ^= 1
		return b
	}
	for what, data := range map[string][]byte{
		"nothing":                     nil,
		"the magic bytes":             good[:4],
		"a checksum of nothing":       pack(),
		"another beginning":           flipped(0),
		"a flipped bit":               flipped(8),
		"a wrong checksum":            flipped(len(good) - 1),
		"cut off":                     good[:len(good)-1],
		"no record":                   pack(key...),
		"no key":                      pack(record...),
		"an index beyond the table":   pack(slices.Concat(key, field(3, 8, 1, 26, 1, 'd'))...),
		"the largest index":           pack(slices.Concat(key, field(3, 8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1, 26, 1, 'd'))...),
		"a hash index beyond":         pack(slices.Concat(key, field(3, 8, 0, 16, 0, 26, 1, 'd'))...),
		"the largest hash index":      pack(slices.Concat(key, field(3, 8, 0, 16, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1, 26, 1, 'd'))...),
		"a record without a key":      pack(slices.Concat(key, field(3, 26, 1, 'd'))...),
		"a record without data":       pack(slices.Concat(key, field(3, 8, 0))...),
		"an index of another type":    pack(slices.Concat(key, field(3, 10, 1, 0, 26, 1, 'd'))...),
		"a tag without a key":         pack(slices.Concat(key, field(3, 8, 0, 26, 1, 'd', 34, 3, 18, 1, 'v'))...),
		"a broken tag":                pack(slices.Concat(key, field(3, 8, 0, 26, 1, 'd', 34, 4, 10, 1, 'k', 18))...),
		"data beyond its record":      pack(slices.Concat(key, field(3, 8, 0, 26, 2, 'd'))...),
		"a record beyond the message": pack(append(key, 26, 9, 8, 0)...),
		"an endless number":           pack(slices.Concat(key, record, bytes.Repeat([]byte{0xff}, 11))...),
		"a number that breaks off":    pack(slices.Concat(key, record, []byte{0x80})...),
		"a huge length":               pack(slices.Concat(key, record, []byte{26, 255, 255, 255, 255, 255, 255, 255, 255, 127})...),
		"a group":                     pack(slices.Concat(key, record, []byte{0x4b, 0x4c})...),
		"field number 0":              pack(slices.Concat(key, record, []byte{0, 0})...),
		"an unknown field cut off":    pack(slices.Concat(key, record, []byte{0x49, 1, 2})...),
	} {
		if a, ok := kpl.Decode(data); ok {
			t.Errorf("%s: %q came out of it", what, tell(a))
		}
	}
}

// within reports whether b lies in data, and nothing can be appended to it there.
func within(data, b []byte) bool {
	if len(b) == 0 {
		return true
	}
	from, at := uintptr(unsafe.Pointer(unsafe.SliceData(data))), uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	return from <= at && at+uintptr(len(b)) <= from+uintptr(len(data)) && cap(b) == len(b)
}

func TestRecordsAreViewsOfTheirAggregate(t *testing.T) {
	var a kpl.Aggregator
	for i := range 10 {
		a.Add(stream.Entry{PartitionKey: fmt.Sprint("key-", i), Data: []byte(fmt.Sprint("payload ", i))})
	}
	e, _ := a.Take()
	got, ok := kpl.Decode(e.Data)
	if !ok {
		t.Fatal("it is no aggregate")
	}
	for _, r := range got.All() {
		if !within(e.Data, r.Data) || !within(e.Data, unsafe.Slice(unsafe.StringData(r.PartitionKey), len(r.PartitionKey))) {
			t.Fatalf("%q of %q is a copy, or has room to append to", r.Data, r.PartitionKey)
		}
	}
}

func TestARecordThatIsNoAggregateCostsNoAllocation(t *testing.T) {
	plain := bytes.Repeat([]byte("plain"), 100)
	wrong := append([]byte("\xf3\x89\x9a\xc2"), plain...)
	if n := testing.AllocsPerRun(100, func() { kpl.Decode(plain) }); n != 0 {
		t.Errorf("a plain record costs %v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() { kpl.Decode(wrong) }); n > 1 {
		t.Errorf("a record that begins like an aggregate costs %v allocations", n)
	}
}

func TestWhatWasPackedComesOutAgain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		keys := rapid.SampledFrom([]string{"a", "b", "", "user-42", strings.Repeat("k", 256), "\xff\xfe"})
		data := rapid.SliceOfN(rapid.Byte(), 0, 200)
		a := kpl.Aggregator{MaxBytes: rapid.IntRange(0, 3000).Draw(t, "bytes"), MaxRecords: rapid.IntRange(0, 20).Draw(t, "records")}
		bytesBound := a.MaxBytes
		if bytesBound == 0 {
			bytesBound = kpl.DefaultMaxBytes
		}
		var put, got []told
		take := func() {
			n := a.Len()
			e, ok := a.Take()
			switch {
			case ok != (n > 0):
				t.Fatalf("there were %d records, and Take says %v", n, ok)
			case n > 1 && len(e.Data) > bytesBound:
				t.Fatalf("an aggregate of %d bytes, at most %d were asked for", len(e.Data), bytesBound)
			case a.MaxRecords > 0 && n > a.MaxRecords:
				t.Fatalf("%d records, at most %d were asked for", n, a.MaxRecords)
			case !ok:
				return
			}
			packed, ok := kpl.Decode(e.Data)
			if !ok {
				one := told{key: e.PartitionKey, data: string(e.Data)}
				if e.HasHashKey {
					one.hash = e.HashKey.String()
				}
				got = append(got, one)
				return
			}
			first := tell(packed)[0]
			if e.PartitionKey != first.key || e.HasHashKey != (first.hash != "") {
				t.Fatalf("the aggregate goes where %q goes, and its first record is %q", e.PartitionKey, first)
			}
			got = append(got, tell(packed)...)
		}
		for range rapid.IntRange(0, 60).Draw(t, "n") {
			e := stream.Entry{PartitionKey: keys.Draw(t, "key"), Data: data.Draw(t, "data")}
			one := told{key: e.PartitionKey, data: string(e.Data)}
			if rapid.Bool().Draw(t, "hash") {
				e.HasHashKey, e.HashKey = true, stream.Hash{Hi: rapid.Uint64Range(0, 2).Draw(t, "hi"), Lo: 7}
				one.hash = e.HashKey.String()
			}
			var tags []kpl.Tag
			for range rapid.IntRange(0, 2).Draw(t, "tags") {
				tags = append(tags, kpl.Tag{Key: "k", Value: keys.Draw(t, "value")})
				one.tags += "k=" + tags[len(tags)-1].Value + ";"
			}
			if !a.Add(e, tags...) {
				take()
				if !a.Add(e, tags...) {
					t.Fatal("an empty Aggregator takes no record")
				}
			}
			for i := range e.Data {
				e.Data[i] = '!' // it is the caller's again
			}
			put = append(put, one)
		}
		take()
		take()
		if !slices.Equal(got, put) {
			t.Fatalf("%q went in, and %q came out", put, got)
		}
	})
}

func TestOneRecordAloneIsNotPacked(t *testing.T) {
	var a kpl.Aggregator
	large := stream.Entry{PartitionKey: "k", Data: make([]byte, 2*kpl.DefaultMaxBytes)}
	if !a.Add(large) {
		t.Fatal("a large record is not taken")
	}
	if a.Add(stream.Entry{PartitionKey: "k"}) {
		t.Error("one more is taken beyond the bound")
	}
	if e, ok := a.Take(); !ok || !bytes.Equal(e.Data, large.Data) || e.PartitionKey != "k" {
		t.Errorf("%d bytes of %q come out", len(e.Data), e.PartitionKey)
	}
	a.Add(stream.Entry{PartitionKey: "k", Data: []byte("d")}, kpl.Tag{Key: "trace", Value: "1"})
	e, _ := a.Take()
	if packed, ok := kpl.Decode(e.Data); !ok || tell(packed)[0] != (told{key: "k", data: "d", tags: "trace=1;"}) {
		t.Errorf("a record with a tag is %q", e.Data)
	}
}

func TestTheTablesOfAnAggregateTakeNoMoreThanIsSaid(t *testing.T) {
	keys := bytes.Repeat(field(1), 1<<20) // 2 MiB of empty keys
	data := pack(append(keys, field(3, 8, 0, 26, 1, 'd')...)...)
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	a, ok := kpl.Decode(data)
	after := heap()
	if !ok || a.Len() != 1 || len(data) == 0 {
		t.Fatal("it is no aggregate")
	}
	if took := int(after) - int(before); took > 3*len(data) {
		t.Errorf("the tables of %d bytes take %d", len(data), took)
	}
	runtime.KeepAlive(data)
}

func FuzzDecode(f *testing.F) {
	f.Add(slices.Concat(field(1, 'k'), field(2, '4', '2'), field(3, 8, 0, 16, 0, 26, 1, 'd', 34, 6, 10, 1, 'b', 18, 1, 'v')))
	f.Add(slices.Concat(field(3, 8, 1, 26, 0), field(1, 'k'), field(1), []byte{0x48, 5, 0x49, 1, 2, 3, 4, 5, 6, 7, 8}))
	f.Add([]byte{26, 255, 255, 255, 255, 255, 255, 255, 255, 127})
	f.Fuzz(func(t *testing.T, message []byte) {
		if len(message) > 1<<12 {
			t.Skip("what is longer holds nothing new, and takes time")
		}
		data := pack(message...)
		before := bytes.Clone(data)
		a, ok := kpl.Decode(data)
		if !ok {
			return
		}
		var again kpl.Aggregator
		again.MaxBytes = 1 << 30
		var all []told
		for sub, r := range a.All() {
			if sub != uint64(len(all)) || !within(data, r.Data) {
				t.Fatalf("record %d: sub-sequence %d, %d bytes", len(all), sub, len(r.Data))
			}
			e := stream.Entry{PartitionKey: r.PartitionKey, Data: r.Data, HashKey: r.HashKey, HasHashKey: r.HasHashKey}
			tags := slices.Collect(r.Tags())
			if !again.Add(e, append(tags, kpl.Tag{Key: "more"})...) {
				t.Fatal("it cannot be packed again")
			}
			all = append(all, told{})
		}
		if a.Len() != len(all) || len(all) == 0 || !bytes.Equal(data, before) {
			t.Fatalf("%d records, and Len is %d", len(all), a.Len())
		}
		e, _ := again.Take()
		b, ok := kpl.Decode(e.Data)
		if !ok {
			t.Fatal("packed again, it cannot be read")
		}
		was, is := tell(a), tell(b)
		for i := range was {
			was[i].tags += "more=;"
		}
		if !slices.Equal(was, is) {
			t.Fatalf("%q packed again is %q", was, is)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	var a kpl.Aggregator
	n := 0
	for a.Add(stream.Entry{PartitionKey: fmt.Sprint("user-", n), Data: make([]byte, 100)}) {
		n++
	}
	e, _ := a.Take()
	b.ReportAllocs()
	b.SetBytes(int64(len(e.Data)))
	for b.Loop() {
		got, _ := kpl.Decode(e.Data)
		for _, r := range got.All() {
			_ = r
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/record")
}
