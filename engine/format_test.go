package engine

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/millrace/millrace/engine/internal/manifest"
	"github.com/millrace/millrace/engine/internal/vfs"
	"github.com/millrace/millrace/engine/internal/wal"
	"github.com/millrace/millrace/stream"
)

// goldenEntries are among what testdata/v1 holds: a directory that was written
// once by version 1 of the format. Its stream "orders" began with two shards, and
// the first was split afterwards. A part of its log was rewritten into a chunk,
// another one closed as it was.
var goldenEntries = []stream.Entry{
	{PartitionKey: "alpha", Data: []byte("one")},
	{PartitionKey: "ä", Data: []byte{}},
	{PartitionKey: "k", Data: []byte("explicit"), HashKey: stream.MaxHash, HasHashKey: true},
	{PartitionKey: "alpha", Data: bytes.Repeat([]byte("four "), 100)},
	{PartitionKey: "omega", Data: []byte("five")},
}

// goldenVariable makes the tests of this file write testdata/v1 anew.
const goldenVariable = "MILLRACE_WRITE_GOLDEN"

func TestWriteTheDirectoryOfVersion1(t *testing.T) {
	if os.Getenv(goldenVariable) == "" {
		t.Skipf("%s is not set", goldenVariable)
	}
	dir := filepath.Join("testdata", "v1")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := vfs.MakeDir(dir); err != nil {
		t.Fatal(err)
	}
	// Smaller files than users may have.
	e, err := open(vfs.Dir(dir), Config{SegmentBytes: 8 << 10, ChunkBytes: 1, Logger: quiet}.withDefaults(false))
	if err != nil {
		t.Fatal(err)
	}
	s := ensure(t, e, "orders", StreamConfig{Shards: 2, MaxRecordBytes: 1000, Tags: map[string]string{"team": "payments"}})
	mustPut(t, s, goldenEntries[:4]...)
	if err := s.Split(t.Context(), shardID(0), s.topology.Load().open[0].hash.Middle()); err != nil {
		t.Fatal(err)
	}
	mustPut(t, s, goldenEntries[4])
	for i := 0; ; i++ {
		chunks, adopted := fileKinds(e)
		if chunks > 0 && adopted > 0 {
			break
		}
		large := entry("large", strings.Repeat("x", 900))
		if chunks == 0 {
			mustPut(t, s, number(i, 1)...)
		} else {
			mustPut(t, s, large, large)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	names, _ := vfs.Dir(dir).List()
	for _, name := range names {
		if name != manifest.Name && !wal.IsSegment(name) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
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
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "v1"))); err != nil {
		t.Fatal(err)
	}
	// A bubble's clock is behind, so that nothing in it ever leaves retention.
	synctest.Test(t, func(t *testing.T) {
		e := openDir(t, dir, small())
		if chunks, adopted := fileKinds(e); chunks == 0 || adopted == 0 {
			t.Errorf("%d chunks, %d adopted segments", chunks, adopted)
		}
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

// The tests below read the files by what FORMAT.md says and share no code with
// the engine.

// goldenManifest is what they need of a manifest.
type goldenManifest struct {
	Openings     uint64
	FirstSegment uint64 `json:"first_segment"`
	Closed       []uint64
	NextChunk    uint64 `json:"next_chunk"`
	Durable      uint64
	Streams      []struct {
		Shards []struct{ Handle, Last uint64 }
	}
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}

var (
	le    = binary.LittleEndian
	table = crc32.MakeTable(crc32.Castagnoli)
)

func sum(parts ...[]byte) uint32 { return crc32.Checksum(bytes.Join(parts, nil), table) }

func readGoldenManifest(t *testing.T) goldenManifest {
	b := goldenFile(t, "MANIFEST")
	equal(t, "the second copy", string(b[len(b)/2:]), string(b[:len(b)/2]))
	b = b[:len(b)/2]
	equal(t, "magic", string(b[:8]), "MRMANEST")
	equal(t, "version", le.Uint32(b[8:]), 1)
	equal(t, "length", le.Uint64(b[12:]), uint64(len(b)-24))
	equal(t, "checksum", le.Uint32(b[20:]), sum(b[:20], b[24:]))
	var m goldenManifest
	if err := json.Unmarshal(b[24:], &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// goldenBlock is a block of the golden directory.
type goldenBlock struct {
	shard, first, prev, arrival uint64
	off, size                   uint32
	count, span                 uint16
}

// readBlocks reads a file's blocks until its end block, or until end, and adds
// what it finds.
func readBlocks(t *testing.T, b []byte, gen, end uint64, found map[string]int) (blocks []goldenBlock) {
	equal(t, "the second header", string(b[2048:2096]), string(b[:48]))
	equal(t, "magic", string(b[:8]), "MRCRSEG\x00")
	equal(t, "version", le.Uint32(b[8:]), 1)
	equal(t, "generation", le.Uint64(b[16:]), gen)
	equal(t, "checksum", le.Uint32(b[40:]), sum(b[:40]))
	for at := 4096; at < int(end); {
		h := b[at : at+64]
		n := int(le.Uint32(h[8:]))
		payload := b[at+64 : at+64+(n+7)/8*8]
		place := le.AppendUint64(append(bytes.Clone(b[24:32]), b[16:24]...), uint64(at))
		equal(t, "magic", string(h[:4]), "MBK1")
		equal(t, "checksum of the header", le.Uint32(h[4:]), sum(place, h[8:]))
		equal(t, "checksum of the payload", le.Uint32(h[12:]), sum(place, payload))
		durable := le.Uint64(h[56:])
		if gen>>31 == 0 && (durable>>32 > gen || durable>>32 == gen && durable&0xffffffff > uint64(at)) || gen>>31 == 1 && durable != 0 {
			t.Errorf("durable is %d in the block at %d of %d", durable, at, gen)
		}
		if h[16] == 2 {
			return blocks
		}
		equal(t, "kind", h[16], 1)
		x := goldenBlock{
			shard: le.Uint64(h[24:]), first: le.Uint64(h[32:]), prev: le.Uint64(h[40:]), arrival: le.Uint64(h[48:]),
			off: uint32(at), size: uint32(n), count: le.Uint16(h[18:]), span: le.Uint16(h[20:]),
		}
		if x.first < 1<<40 || x.prev >= x.first || x.arrival < 1_700_000_000_000 {
			t.Errorf("block %+v", x)
		}
		p, delta := payload[:n], uint16(0)
		for range x.count {
			d, k := int(le.Uint32(p)), int(le.Uint16(p[4:]))
			if before := delta; before > le.Uint16(p[6:]) {
				t.Errorf("arrivals go back in %+v", x)
			}
			delta = le.Uint16(p[6:])
			hash := ""
			p = p[8:]
			if k>>15 == 1 {
				k &= 1<<15 - 1
				hash = stream.Hash{Hi: binary.BigEndian.Uint64(p), Lo: binary.BigEndian.Uint64(p[8:])}.String()
				p = p[16:]
			}
			found[string(p[:k])+" "+hash+" "+string(p[k:k+d])]++
			p = p[k+d:]
		}
		equal(t, "bytes behind the last record", len(p), 0)
		equal(t, "arrival of the last record", x.span, delta)
		blocks = append(blocks, x)
		at += 64 + len(payload)
	}
	return blocks
}

// readFooter reads the footer of a closed file.
func readFooter(t *testing.T, b []byte) (blocks []goldenBlock) {
	size := le.Uint64(b[32:])
	f := b[size:]
	n := int(le.Uint32(f[12:]))
	f = f[:16+48*n]
	place := le.AppendUint64(append(bytes.Clone(b[24:32]), b[16:24]...), size)
	equal(t, "magic", string(f[:8]), "MRCFOOT\x00")
	equal(t, "checksum of the footer", le.Uint32(f[8:]), sum(place, f[12:]))
	for x := f[16:]; len(x) > 0; x = x[48:] {
		blocks = append(blocks, goldenBlock{
			shard: le.Uint64(x), first: le.Uint64(x[8:]), prev: le.Uint64(x[16:]), arrival: le.Uint64(x[24:]),
			off: le.Uint32(x[32:]), size: le.Uint32(x[36:]), count: le.Uint16(x[40:]), span: le.Uint16(x[42:]),
		})
		equal(t, "reserved", le.Uint32(x[44:]), 0)
	}
	return blocks
}

func byShard(a, b goldenBlock) int {
	return cmp.Or(cmp.Compare(a.shard, b.shard), cmp.Compare(a.first, b.first))
}

func TestTheFilesAreAsFormatMdSays(t *testing.T) {
	m := readGoldenManifest(t)
	equal(t, "openings", m.Openings, 1)
	last := map[uint64]uint64{} // counter by handle
	found := map[string]int{}
	follow := func(blocks []goldenBlock) {
		for _, x := range blocks {
			equal(t, "counter of the block before", x.prev, last[x.shard])
			last[x.shard] = x.first + uint64(x.count) - 1
		}
	}
	kinds := map[string]int{}
	for _, gen := range m.Closed {
		kind := ".log"
		if gen>>31 == 1 {
			kind = ".chunk"
		}
		kinds[kind]++
		b := goldenFile(t, fmt.Sprintf("%016x%s", gen, kind))
		blocks := readBlocks(t, b, gen, le.Uint64(b[32:]), found)
		slices.SortFunc(blocks, byShard)
		if listed := readFooter(t, b); !slices.Equal(listed, blocks) {
			t.Errorf("the footer of %x lists %v, and there are %v", gen, listed, blocks)
		}
		follow(blocks)
		if gen>>31 == 1 && gen >= m.NextChunk || gen>>31 == 0 && gen >= m.FirstSegment {
			t.Errorf("closed file %x: first segment %x, next chunk %x", gen, m.FirstSegment, m.NextChunk)
		}
	}
	if len(kinds) != 2 {
		t.Errorf("closed files: %v, want both kinds", kinds)
	}
	for gen := m.FirstSegment; gen <= m.Durable>>32; gen++ {
		b := goldenFile(t, fmt.Sprintf("%016x.log", gen))
		end := le.Uint64(b[32:])
		if gen == m.Durable>>32 {
			end = m.Durable & 0xffffffff
		}
		follow(readBlocks(t, b, gen, end, found))
	}
	for _, e := range goldenEntries {
		hash := ""
		if e.HasHashKey {
			hash = e.HashKey.String()
		}
		if key := e.PartitionKey + " " + hash + " " + string(e.Data); found[key] != 1 {
			t.Errorf("%d records with key %q, want 1", found[key], e.PartitionKey)
		}
	}
	for _, s := range m.Streams {
		for _, sh := range s.Shards {
			equal(t, "last", sh.Last, last[sh.Handle])
		}
	}
}
