package engine

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/millrace/millrace/stream"
)

// goldenEntries are what testdata/v1 holds: a directory that was written once
// by version 1 of the format, the zeros at the end of its log file left out.
// Its stream "orders" began with two shards, and the first was split afterwards.
var goldenEntries = []stream.Entry{
	{PartitionKey: "alpha", Data: []byte("one")},
	{PartitionKey: "ä", Data: []byte{}},
	{PartitionKey: "k", Data: []byte("explicit"), HashKey: stream.MaxHash, HasHashKey: true},
	{PartitionKey: "alpha", Data: bytes.Repeat([]byte("four "), 100)},
	{PartitionKey: "omega", Data: []byte("five")},
}

func goldenFile(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "v1", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What an earlier build has stored must be read by every later one, or be
// refused by its version.
func TestADirectoryOfVersion1IsRead(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"MANIFEST", firstLog} {
		if err := os.WriteFile(filepath.Join(dir, name), goldenFile(t, name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// A bubble's clock is behind, so that nothing in it ever leaves retention.
	synctest.Test(t, func(t *testing.T) {
		e := openDir(t, dir, small())
		if d := e.Damage(); len(d) > 0 {
			t.Fatalf("damage: %v", d)
		}
		s, err := e.Stream("orders")
		if err != nil {
			t.Fatal(err)
		}
		d, err := s.Describe()
		if err != nil || d.OpenShards != 3 || d.MaxRecordBytes != 1000 || d.Tags["team"] != "payments" {
			t.Errorf("described as %+v, %v", d, err)
		}
		left := slices.Clone(goldenEntries)
		for _, m := range s.topology.Load().all {
			for _, r := range mustRead(t, s, m.id, stream.TrimHorizon) {
				left = slices.DeleteFunc(left, func(e stream.Entry) bool {
					return e.PartitionKey == r.PartitionKey && bytes.Equal(e.Data, r.Data) && e.HasHashKey == r.HasHashKey && e.HashKey == r.HashKey
				})
			}
		}
		if len(left) > 0 {
			t.Errorf("not read: %v", left)
		}
		mustPut(t, s, number(0, 3)...)
		e.Close()
	})
}

// This test reads the files by what FORMAT.md says and shares no code with the
// engine.
func TestTheFilesAreAsFormatMdSays(t *testing.T) {
	le := binary.LittleEndian
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := func(parts ...[]byte) uint32 { return crc32.Checksum(bytes.Join(parts, nil), table) }
	equal := func(what string, got, want any) {
		t.Helper()
		if got != want {
			t.Errorf("%s is %v, want %v", what, got, want)
		}
	}

	b := goldenFile(t, "MANIFEST")
	equal("the second copy", string(b[len(b)/2:]), string(b[:len(b)/2]))
	b = b[:len(b)/2]
	equal("magic", string(b[:8]), "MRMANEST")
	equal("version", le.Uint32(b[8:]), uint32(1))
	equal("length", le.Uint64(b[12:]), uint64(len(b)-24))
	equal("checksum", le.Uint32(b[20:]), sum(b[:20], b[24:]))
	var m struct {
		Openings     uint64
		FirstSegment uint64 `json:"first_segment"`
		Durable      uint64
		Streams      []struct {
			Shards []struct{ Handle, Last uint64 }
		}
	}
	if err := json.Unmarshal(b[24:], &m); err != nil {
		t.Fatal(err)
	}
	equal("openings", m.Openings, uint64(1))
	equal("first_segment", m.FirstSegment, uint64(1))

	b = goldenFile(t, firstLog)
	equal("durable", m.Durable, 1<<32+uint64(len(b)))
	equal("the second header", string(b[2048:2096]), string(b[:48]))
	equal("magic", string(b[:8]), "MRCRSEG\x00")
	equal("version", le.Uint32(b[8:]), uint32(1))
	equal("generation", le.Uint64(b[16:]), uint64(1))
	equal("size", le.Uint64(b[32:]), uint64(64<<10))
	equal("checksum", le.Uint32(b[40:]), sum(b[:40]))

	last := map[uint64]uint64{} // counter by handle
	found := map[string]bool{}
	at := 4096
	for at < len(b) {
		h := b[at : at+64]
		n := int(le.Uint32(h[8:]))
		payload := b[at+64 : at+64+(n+7)/8*8]
		place := le.AppendUint64(append(bytes.Clone(b[24:32]), b[16:24]...), uint64(at))
		equal("magic", string(h[:4]), "MBK1")
		equal("checksum of the header", le.Uint32(h[4:]), sum(place, h[8:]))
		equal("checksum of the payload", le.Uint32(h[12:]), sum(place, payload))
		equal("kind", h[16], byte(1))
		shard, first, arrival := le.Uint64(h[24:]), le.Uint64(h[32:]), le.Uint64(h[48:])
		equal("counter of the block before", le.Uint64(h[40:]), last[shard])
		if first <= last[shard] || first < 1<<40 {
			t.Errorf("counter %d after %d, in the first opening", first, last[shard])
		}
		if durable := le.Uint64(h[56:]); durable>>32 != 1 || durable&0xffffffff > uint64(at) {
			t.Errorf("durable is %d in the block at %d", durable, at)
		}
		count := uint64(le.Uint16(h[18:]))
		last[shard] = first + count - 1
		p, delta := payload[:n], uint16(0)
		for range count {
			d, k := int(le.Uint32(p)), int(le.Uint16(p[4:]))
			delta = le.Uint16(p[6:])
			hash := ""
			p = p[8:]
			if k>>15 == 1 {
				k &= 1<<15 - 1
				hash = stream.Hash{Hi: binary.BigEndian.Uint64(p), Lo: binary.BigEndian.Uint64(p[8:])}.String()
				p = p[16:]
			}
			found[string(p[:k])+" "+hash+" "+string(p[k:k+d])] = true
			p = p[k+d:]
		}
		equal("bytes behind the last record", len(p), 0)
		equal("arrival of the last record", le.Uint16(h[20:]), delta)
		if arrival < 1_700_000_000_000 {
			t.Errorf("arrival %d is not in Unix milliseconds", arrival)
		}
		at += 64 + len(payload)
	}
	equal("the last block's end", at, len(b))
	for _, e := range goldenEntries {
		hash := ""
		if e.HasHashKey {
			hash = e.HashKey.String()
		}
		if !found[e.PartitionKey+" "+hash+" "+string(e.Data)] {
			t.Errorf("no record with key %q", e.PartitionKey)
		}
	}
	equal("records", len(found), len(goldenEntries))
	for _, s := range m.Streams {
		for _, sh := range s.Shards {
			equal("last", sh.Last, last[sh.Handle])
		}
	}
}
