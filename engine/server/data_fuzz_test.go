package server

import (
	"bytes"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"

	"github.com/millrace/millrace/stream"
)

func FuzzParseIterator(f *testing.F) {
	seq := stream.MakeSequence(1<<56, 2, 3)
	for _, from := range []stream.Position{stream.TrimHorizon, stream.At(seq), stream.After(seq), stream.AtTime(time.Unix(1_700_000_000, 0))} {
		it := iterator{time.Unix(1_700_000_000, 5), "orders", 1_700_000_000_000, "shardId-000000000007", from}
		f.Add(it.append(nil))
	}
	f.Add([]byte{})
	f.Add([]byte{iteratorVersion, 0, 0, 0, placeOldest})
	f.Fuzz(func(t *testing.T, text []byte) {
		it, ok := parseIterator(text)
		if !ok {
			return
		}
		again, ok := parseIterator(it.append(nil))
		if !ok || again != it {
			t.Fatalf("%+v comes back as %+v", it, again)
		}
	})
}

// FuzzOpenIterator asks for iterators that nobody has issued.
func FuzzOpenIterator(f *testing.F) {
	h := start(f, Config{})
	good := h.server.seal(iteratorKind, (&iterator{time.Now(), "orders", 1, "shardId-000000000007", stream.TrimHorizon}).append(nil))
	f.Add(good[1:])
	f.Add(`"` + good[:len(good)-1] + `"`)
	f.Add(`"`)
	f.Fuzz(func(t *testing.T, token string) {
		if it, err := h.server.openIterator(token); err == nil && token != good && token != `"`+good+`"` {
			t.Fatalf("%q is taken for %+v", token, it)
		}
	})
}

func FuzzPutRequest(f *testing.F) {
	const json = `{"StreamName":"orders","Unknown":[1,{"a":null}],"Records":[{"Data":"aGk=","PartitionKey":"k\u00e9\"","ExplicitHashKey":"12"},{"Data":"","PartitionKey":"k"}],"DryRun":false}`
	f.Add([]byte(json), uint8(json11), true)
	f.Add([]byte(`{"StreamARN":"arn:aws:kinesis:us-east-1:000000000000:stream/s","Data":"aGk=","PartitionKey":"k","SequenceNumberForOrdering":"1"}`), uint8(json11), false)
	f.Add([]byte(`{"Records":[null,{},{"Data":null}]}`), uint8(json11), true)
	for _, p := range []protocol{cbor11, rpcCBOR} {
		body, err := cbor.Marshal(map[string]any{"StreamName": "s", "Records": []any{map[string]any{"Data": []byte("x"), "PartitionKey": "k", "ExplicitHashKey": "0"}}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body, uint8(p), true)
	}
	f.Fuzz(func(t *testing.T, body []byte, p uint8, many bool) {
		in := putRequests.Get().(*putRequest)
		defer in.recycle()
		decode := in.decodeRecord
		if many {
			decode = in.decodeRecords
		}
		kept := bytes.Clone(body)
		if err := decode(protocol(p%3), kept); err != nil {
			return
		}
		if n := len(in.entries); n < 1 || n > mostEntries || !many && n > 1 {
			t.Fatalf("%d records are accepted", n)
		}
		size, keyless := 0, false
		for i := range in.entries {
			e := &in.entries[i]
			if n := utf8.RuneCountInString(e.PartitionKey); n > mostKey || !utf8.ValidString(e.PartitionKey) {
				t.Fatalf("a partition key %q is accepted", e.PartitionKey)
			}
			keyless = keyless || e.PartitionKey == ""
			size += e.Size()
		}
		if size != in.bytes || keyless && in.keyless == 0 {
			t.Fatalf("%d bytes are counted as %d; a record without a key is noted as %d", size, in.bytes, in.keyless)
		}
	})
}
