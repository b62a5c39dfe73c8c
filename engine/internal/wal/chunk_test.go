package wal

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/millrace/millrace/engine/internal/vfs"
	"github.com/millrace/millrace/stream"
)

func TestWhichSegmentsAreClosedTogether(t *testing.T) {
	const payload = 1000
	var (
		none  = tally{}
		large = tally{blocks: 2, payload: 2000}
		small = tally{blocks: 3, payload: 2999}
		mixed = tally{blocks: 2, payload: 5000, mixed: true}
	)
	for _, c := range []struct {
		what  string
		segs  []tally
		n     int
		adopt bool
	}{
		{"small blocks are rewritten", []tally{small, small}, 2, false},
		{"large ones stay", []tally{large, large, large}, 3, true},
		{"not together", []tally{small, large}, 1, false},
		{"nor the other way round", []tally{large, small, large}, 1, true},
		{"large ones of several classes do not stay", []tally{mixed, small, large}, 2, false},
		{"empty ones go with either", []tally{small, none, small}, 3, false},
		{"or with the other", []tally{large, none, large, small}, 3, true},
		{"or alone", []tally{none, none}, 2, false},
	} {
		if n, adopt := decide(c.segs, payload); n != c.n || adopt != c.adopt {
			t.Errorf("%s: %d, adopt %v, want %d, %v", c.what, n, adopt, c.n, c.adopt)
		}
	}
}

func TestATallyKnowsItsClasses(t *testing.T) {
	var one, two tally
	for i := range uint64(4) {
		one.add(&entry{size: 10}, 7)
		two.add(&entry{size: 10}, i/3)
	}
	if one.mixed || !two.mixed || one.blocks != 4 || one.payload != 40 {
		t.Errorf("one class: %+v, two: %+v", one, two)
	}
}

func TestWhichBlocksBecomeOne(t *testing.T) {
	e := func(first uint64, count, span uint16, base int64, size uint32) entry {
		return entry{first: first, count: count, span: span, base: base, size: size}
	}
	for _, c := range []struct {
		what   string
		blocks []entry
		want   []entry // without places
	}{
		{"neighbours", []entry{e(1, 2, 3, 100, 50), e(3, 1, 0, 110, 20)}, []entry{e(1, 3, 10, 100, 70)}},
		{"not across a missing counter", []entry{e(1, 2, 0, 100, 50), e(4, 1, 0, 100, 20)}, []entry{e(1, 2, 0, 100, 50), e(4, 1, 0, 100, 20)}},
		{"up to the payload of a block", []entry{e(1, 1, 0, 100, maxPayload-8), e(2, 1, 0, 100, 8), e(3, 1, 0, 100, 8)}, []entry{e(1, 2, 0, 100, maxPayload), e(3, 1, 0, 100, 8)}},
		{"up to the span of a block", []entry{e(1, 1, 0, 100, 8), e(2, 2, 5, 100+maxSpan-5, 8), e(4, 1, 0, 101+maxSpan, 8)}, []entry{e(1, 3, maxSpan, 100, 16), e(4, 1, 0, 101+maxSpan, 8)}},
		{"up to the records of a block", []entry{e(1, maxCount-1, 0, 100, 8), e(maxCount, 1, 0, 100, 8), e(maxCount+1, 1, 0, 100, 8)}, []entry{e(1, maxCount, 0, 100, 16), e(maxCount+1, 1, 0, 100, 8)}},
		{"a large one stays alone", []entry{e(1, 1, 0, 100, maxPayload*3), e(2, 1, 0, 100, 8)}, []entry{e(1, 1, 0, 100, maxPayload*3), e(2, 1, 0, 100, 8)}},
	} {
		pieces := merge(nil, &Shard{handle: 5}, c.blocks, 0)
		var got []entry
		next := 0
		for _, p := range pieces {
			got = append(got, p.entry)
			if p.shard != 5 || p.from != next {
				t.Errorf("%s: piece %+v", c.what, p)
			}
			next += p.n
		}
		if !slices.Equal(got, c.want) || next != len(c.blocks) {
			t.Errorf("%s: %+v, want %+v", c.what, got, c.want)
		}
	}
}

func TestPiecesAreLaidOutInFilesThatHoldThem(t *testing.T) {
	const size = 64 << 10
	rng := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		pieces := make([]piece, rng.IntN(100))
		for i := range pieces {
			pieces[i].size = uint32(rng.IntN(8000))
		}
		if n := len(pieces); n > 0 {
			pieces[rng.IntN(n)].size = 3 * size
		}
		gen := uint64(chunkBit | 7)
		at := 0
		for _, n := range layout(pieces, gen, size) {
			off := int64(blocksStart)
			for i := at; i < at+n; i++ {
				if pieces[i].pos != makePos(gen, off) {
					t.Fatalf("piece %d lies at %v, want %v", i, pieces[i].pos, makePos(gen, off))
				}
				off += pieces[i].length()
			}
			if all := chunkSize(off) + footerSize(n); all > size && n > 1 {
				t.Fatalf("a file of %d pieces has %d bytes", n, all)
			}
			at += n
			gen++
		}
		if at != len(pieces) {
			t.Fatalf("%d pieces of %d are in files", at, len(pieces))
		}
	}
}

func TestTheRewriterKeepsItsPace(t *testing.T) {
	const s, ms = time.Second, time.Millisecond
	for _, c := range []struct {
		what        string
		done, grown int64
		since, want time.Duration
	}{
		{"at the very beginning", 1 << 20, 0, 0, 0},
		{"behind the floor", 31 << 20, 0, s, 0},
		{"ahead of it", 33 << 20, 0, s, s / 32},
		{"far ahead of it", 64 << 20, 0, s, paceLook},
		{"behind the log", 120 << 20, 100 << 20, s, 0},
		{"ahead of it", 126 << 20, 100 << 20, s, 8 * ms},
	} {
		if got := pause(c.done, c.grown, c.since); got != c.want {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
}

func TestHowFarTheLogMayGoAheadOfTheRewriter(t *testing.T) {
	const limit = 800
	for _, c := range []struct {
		what           string
		ahead, through int64
		want           int64
	}{
		{"far below the limit, up to it", 100, 0, 700},
		{"and by as much as was rewritten", 100, 50, 750},
		{"at the limit, by as much", 800, 50, 50},
		{"but by nothing before there is something", 800, 0, 0},
		{"above it, by half", 10_000, 50, 25},
		{"until it is made good", 820, 60, 40},
	} {
		if got := headroom(limit, c.ahead, c.through); got != c.want {
			t.Errorf("%s: %d, want %d", c.what, got, c.want)
		}
	}
}

func TestAFooterIsReadAsItWasWritten(t *testing.T) {
	const gen, size, seed = chunkBit | 3, 60 << 10, 12345
	blocks := []listed{
		{entry{first: 1 << 40, pos: makePos(gen, blocksStart), base: 1_700_000_000_000, size: 100, count: 3, span: 7}, 5, 1},
		{entry{first: 1<<40 + 3, pos: makePos(gen, blocksStart+168), base: 1_700_000_000_900, size: 50_000, count: 1}, 9, 1<<40 - 1},
	}
	b := append(encodeFooter(blocks, seed), "what was there before"...)
	got, err := decodeFooter(b, gen, size, seed)
	if err != nil || !slices.Equal(got, blocks) {
		t.Fatalf("%+v, %v", got, err)
	}
	for i := range int(footerSize(len(blocks))) * 8 {
		b[i/8] ^= 1 << (i % 8)
		if _, err := decodeFooter(b, gen, size, seed); err == nil {
			t.Fatalf("bit %d was flipped, and nobody noticed", i)
		}
		b[i/8] ^= 1 << (i % 8)
	}
	if _, err := decodeFooter(b, gen, size, seed+1); err == nil {
		t.Error("a footer of another file is believed")
	}
	if _, err := decodeFooter(b, gen, 50_000, seed); err == nil {
		t.Error("a block beyond the end of the blocks is believed")
	}
}

func FuzzFooter(f *testing.F) {
	const gen, size, seed = chunkBit | 3, 60 << 10, 12345
	f.Add(encodeFooter([]listed{{entry{first: 1, pos: makePos(gen, blocksStart), size: 100, count: 3}, 5, 1}}, seed), true)
	f.Add(encodeFooter(nil, seed), false)
	f.Fuzz(func(t *testing.T, b []byte, mend bool) {
		if n := len(b); mend && n >= footHeadSize { // beyond the checksum
			b = bytes.Clone(b)
			count := (n - footHeadSize) / footEntrySize
			b[12], b[13], b[14], b[15] = byte(count), byte(count>>8), byte(count>>16), 0
			le32(b[8:], checksum(seed, b[12:footerSize(count)]))
		}
		blocks, err := decodeFooter(b, gen, size, seed)
		if err != nil {
			return
		}
		for _, x := range blocks {
			if x.pos.gen() != gen || x.pos.off() < blocksStart || x.pos.off()+x.length() > size || x.count == 0 {
				t.Errorf("block %+v", x)
			}
		}
		if again := encodeFooter(blocks, seed); len(blocks) > 0 && !equalButReserved(again, b) {
			t.Error("it is written in another way than it was read")
		}
	})
}

func le32(b []byte, v uint32) { b[0], b[1], b[2], b[3] = byte(v), byte(v>>8), byte(v>>16), byte(v>>24) }

// equalButReserved compares footers, but for their checksums and what is 0 in
// version 1.
func equalButReserved(a, b []byte) bool {
	a, b = bytes.Clone(a), bytes.Clone(b[:len(a)])
	for _, f := range [][]byte{a, b} {
		clear(f[8:12])
		for x := f[footHeadSize:]; len(x) > 0; x = x[footEntrySize:] {
			clear(x[44:48])
		}
	}
	return bytes.Equal(a, b)
}

// The rewriter takes the files of the pool, but for those that it leaves to the
// log, and so never holds up the log for a new file.
func TestAChunkUsesAFileOfThePool(t *testing.T) {
	fs := vfs.Memory()
	l, _, err := Open(Options{FS: fs, SegmentBytes: 64 << 10, ChunkBytes: 64 << 10}, Known{OpenGen: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := l.NewRewriter()
	class := func(uint64) uint64 { return 0 }
	save := func(Files) error { return nil }
	fillLog(t, l, 20, 10*64<<10)
	for range 9 {
		w, err := r.Next(t.Context(), class)
		if w == nil || err != nil {
			t.Fatal(w, err)
		}
		if err := w.Commit(save); err != nil {
			t.Fatal(err)
		}
	}
	names, err := fs.List()
	if err != nil {
		t.Fatal(err)
	}
	// Ten segments and nine chunks, were none used again.
	if len(names) > 15 {
		t.Errorf("%d files: %v", len(names), names)
	}
}

// A chunk that finds no room leaves a file which is not whole. The log must not
// try that one while it has others that are.
func TestAChunkWithoutRoomLeavesTheLogItsFiles(t *testing.T) {
	const size = 64 << 10
	fs := vfs.NewCrash()
	for i := range 4 {
		f, err := fs.Create(fmt.Sprintf("%s%016x", poolPrefix, i+1))
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Allocate(size); err != nil {
			t.Fatal(err)
		}
	}
	l, _, err := Open(Options{FS: fs, SegmentBytes: size, ChunkBytes: size, Logger: slog.New(slog.DiscardHandler)}, Known{OpenGen: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	fillLog(t, l, 3, size)
	<-l.Filled() // the third file is a segment, too
	fs.Fail(func(op vfs.Op) error {
		if op.Kind == vfs.OpWrite || op.Kind == vfs.OpTruncate {
			if n, _ := strconv.ParseUint(strings.TrimPrefix(op.Name, poolPrefix), 16, 64); n > 4 {
				return syscall.ENOSPC
			}
		}
		return nil
	})
	w, err := l.NewRewriter().Next(t.Context(), func(uint64) uint64 { return 0 })
	if w != nil || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("a chunk on a full disk: %v, %v", w, err)
	}
	fillLog(t, l, 3, size)
	fillLog(t, l, 3, size)
}

// A run is held in memory: its size counts, not the number of its segments, which
// may be larger than those of today.
func TestLargerSegmentsOfEarlierOpeningsAreFewerInARun(t *testing.T) {
	fs := vfs.Memory()
	l, _, err := Open(Options{FS: fs, SegmentBytes: 1 << 20}, Known{OpenGen: 1})
	if err != nil {
		t.Fatal(err)
	}
	fillLog(t, l, 1, 4<<20)
	known := Known{OpenGen: 2, Durable: l.Durable(), Files: l.Files()}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for chunk, want := range map[int64]int{64 << 10: 1, 1 << 20: 1, 3<<20 - 1: 3, 4 << 20: 4, 5 << 20: 0} {
		l, _, err := Open(Options{FS: fs, SegmentBytes: 64 << 10, ChunkBytes: chunk}, known)
		if err != nil {
			t.Fatal(err)
		}
		if first, n, _ := l.hold(); n != want || n > 0 && first != 1 {
			t.Errorf("with chunks of %d bytes, %d segments are rewritten from %d on, want %d", chunk, n, first, want)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// What a shard of a rewritten log takes in memory is told by its bytes, not by
// the number of its blocks.
func TestTheIndexOfRewrittenBlocksIsSmall(t *testing.T) {
	l, _, err := Open(Options{FS: vfs.Memory(), SegmentBytes: 1 << 20, ChunkBytes: 4 << 20}, Known{OpenGen: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := l.NewRewriter()
	const shards, runs = 16, 3
	var bytes int64
	for range runs {
		bytes += l.grown()
		fillLog(t, l, shards, 4<<20)
	}
	before := blockCount(l)
	for {
		w, err := r.Next(t.Context(), func(uint64) uint64 { return 0 })
		if err != nil {
			t.Fatal(err)
		}
		if w == nil {
			break
		}
		if err := w.Commit(func(Files) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	stored, recent := 0, 0
	for _, sh := range l.allShards() {
		stored += sh.index.stored.len()
		recent += sh.index.recent.len()
	}
	// Two neighbours have more than a block takes; and each shard has an end in
	// each run.
	if most := runs*(4<<20)/(maxPayload/2) + runs*shards; stored > most || stored == 0 {
		t.Errorf("%d blocks are stored, want at most %d", stored, most)
	}
	if len(l.Files().Closed) == 0 || recent*2 > before {
		t.Errorf("%d of %d blocks are not rewritten", recent, before)
	}
}

func blockCount(l *Log) (n int) {
	for _, sh := range l.allShards() {
		n += sh.Status().Blocks
	}
	return n
}

// A run that cannot be committed leaves the log as it was, and its files to
// others.
func TestARunThatFailsChangesNothing(t *testing.T) {
	fs := vfs.Memory()
	l, _, err := Open(Options{FS: fs, SegmentBytes: 64 << 10, ChunkBytes: 64 << 10}, Known{OpenGen: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	fillLog(t, l, 3, 3*64<<10)
	r := l.NewRewriter()
	files, blocks := l.Files(), blockCount(l)
	class := func(uint64) uint64 { return 0 }
	for range 3 {
		w, err := r.Next(t.Context(), class)
		if w == nil || err != nil {
			t.Fatal(w, err)
		}
		if got := l.Spare(); got.First != files.First {
			t.Fatalf("segments leave while they are rewritten: %+v", got)
		}
		if err := w.Commit(func(Files) error { return vfs.ErrKilled }); err == nil {
			t.Fatal("committed what was not saved")
		}
	}
	if got := l.Files(); !got.Equal(files) || blockCount(l) != blocks {
		t.Errorf("files %+v and %d blocks, want %+v and %d", got, blockCount(l), files, blocks)
	}
	names, _ := fs.List()
	for _, name := range names {
		if gen, ok := parseSegmentName(name); ok && isChunk(gen) {
			t.Errorf("%s is left", name)
		}
	}
	// Segments, and the one that is prepared.
	if most := int(l.Durable().gen()) + 1; len(names) > most {
		t.Errorf("%d files, want at most %d: %v", len(names), most, names)
	}
}

func TestNamesOfFilesWithBlocks(t *testing.T) {
	for name, want := range map[string]uint64{
		"0000000000000001.log": 1, "000000007fffffff.log": 1<<31 - 1, "0000000080000001.chunk": chunkBit | 1,
		"0000000080000001.log": 0, "0000000000000001.chunk": 0, "0000000000000000.log": 0, "0000000080000000.chunk": 0,
		"1.log": 0, "0000000000000001.log.log": 0, "0000000000000001": 0, "0000000100000001.log": 0,
		"000000000000000A.log": 0, "MANIFEST": 0, ".log": 0,
	} {
		if gen, ok := parseSegmentName(name); ok != (want > 0) || ok && gen != want {
			t.Errorf("%s: %x, %v", name, gen, ok)
		}
	}
}

// What somebody else has put into the directory is his.
func TestOnlyFilesOfItsOwnNamesAreUsedAgain(t *testing.T) {
	fs := vfs.Memory()
	const name = "pool-party.jpg"
	f, err := fs.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("a picture"), 0); err != nil {
		t.Fatal(err)
	}
	l, _, err := Open(Options{FS: fs, SegmentBytes: 64 << 10}, Known{OpenGen: 1})
	if err != nil {
		t.Fatal(err)
	}
	fillLog(t, l, 1, 64<<10)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := fs.List()
	if err != nil {
		t.Fatal(err)
	}
	if size, err := f.Size(); err != nil || size != 9 || !slices.Contains(names, name) {
		t.Errorf("files %v, and %s has %d bytes, %v", names, name, size, err)
	}
}

// Retention and deletion go on while a run is under way.
func TestWhatLeavesDuringARunDoesNotComeBack(t *testing.T) {
	l, _, err := Open(Options{FS: vfs.Memory(), SegmentBytes: 64 << 10, ChunkBytes: 64 << 10}, Known{OpenGen: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	fillLog(t, l, 4, 64<<10)
	w, err := l.NewRewriter().Next(t.Context(), func(uint64) uint64 { return 0 })
	if w == nil || err != nil {
		t.Fatal(w, err)
	}
	for i, sh := range l.allShards() {
		if i == 0 {
			l.Drop(sh)
		} else {
			l.Expire(sh, time.Now().Add(time.Hour).UnixMilli())
		}
	}
	if first := l.Spare().First; first != 1 {
		t.Fatalf("the log begins with %d while its first segment is rewritten", first)
	}
	if err := w.Commit(func(Files) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if n, f := blockCount(l), l.Spare(); n > 0 || len(f.Closed) > 0 || f.First < 2 {
		t.Errorf("%d blocks came back, and the files %+v are kept", n, f)
	}
}

// What is damaged before it is rewritten must not come out of it as whole. Its
// segment stays, until somebody gives it up.
func TestDamageIsNotRewritten(t *testing.T) {
	fs := vfs.NewCrash()
	l, _, err := Open(Options{FS: fs, SegmentBytes: 64 << 10, ChunkBytes: 64 << 10, CacheBytes: 1}, Known{OpenGen: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	fillLog(t, l, 7, 3*64<<10)
	r := l.NewRewriter()
	class := func(uint64) uint64 { return 0 }
	save := func(Files) error { return nil }
	var hurt *Shard
	var e entry
	for _, sh := range l.allShards() {
		if first := *sh.index.oldest(); first.pos.off() == blocksStart {
			hurt, e = sh, first
		}
	}
	fs.Flip(segmentName(1), blocksStart+headerSize+50, 1)
	var lost *Lost
	if _, err := r.Next(t.Context(), class); !errors.As(err, &lost) || lost.Range != (Range{e.first, e.last()}) {
		t.Fatalf("rewriting: %v, want the loss of %d to %d", err, e.first, e.last())
	}
	gaps := hurt.Status().Gaps
	if len(gaps) != 1 || l.Files().First != 1 {
		t.Fatalf("gaps %v, files %v", gaps, l.Files())
	}
	if w, err := r.Next(t.Context(), class); w != nil || err != nil {
		t.Fatalf("rewriting again: %v, %v, want nothing to do", w, err)
	}
	l.Accept(hurt, gaps)
	w, err := r.Next(t.Context(), class)
	if w == nil || err != nil {
		t.Fatalf("rewriting what is left: %v, %v", w, err)
	}
	if err := w.Commit(save); err != nil || l.Files().First != 2 {
		t.Fatalf("%v, files %v", err, l.Files())
	}
	// Damage that only a reader meets, after the rewriter has been there, is none.
	w, err = r.Next(t.Context(), class)
	if w == nil || err != nil {
		t.Fatal(w, err)
	}
	var next [1]entry
	for _, e := range hurt.index.recent.from(0, next[:0]) {
		if err := l.damaged(hurt, e, badRecords); err == nil {
			t.Fatal("no loss")
		}
	}
	blocks := hurt.index.recent.len()
	if err := w.Commit(func(Files) error {
		if n := len(hurt.Status().Gaps); n != 1 {
			t.Errorf("%d gaps while the manifest is written", n)
		}
		return nil
	}); err != nil || w.adopt || l.Files().First != 3 {
		t.Fatalf("%v, adopted: %v, files %v", err, w.adopt, l.Files())
	}
	if s := hurt.Status(); len(s.Gaps) > 0 || blocks == hurt.index.recent.len() {
		t.Errorf("gaps %v, and %d blocks are in the log, %d before", s.Gaps, hurt.index.recent.len(), blocks)
	}
}

// What a run has read, though it is given up meanwhile, does not come back with it.
func TestARunThatHasWhatWasGivenUpComesToNothing(t *testing.T) {
	l, _, err := Open(Options{FS: vfs.Memory(), SegmentBytes: 64 << 10, ChunkBytes: 64 << 10, CacheBytes: 1}, Known{OpenGen: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	fillLog(t, l, 3, 2*64<<10)
	r := l.NewRewriter()
	w, err := r.Next(t.Context(), func(uint64) uint64 { return 0 })
	if w == nil || err != nil {
		t.Fatal(w, err)
	}
	sh := l.Shard(1)
	e := *sh.index.oldest()
	l.cannotRead(sh, e, syscall.EIO) // a reader, once
	lost := sh.Status().Unread
	l.Accept(sh, lost)
	if s := sh.Status(); len(lost) != 1 || len(s.Unread) > 0 || sh.index.has(e) {
		t.Fatalf("%v is given up, and %v cannot be read", lost, s.Unread)
	}
	if err := w.Commit(func(Files) error { t.Error("saved"); return nil }); err != nil || l.Files().First != 1 {
		t.Fatalf("%v, files %+v", err, l.Files())
	}
	w, err = r.Next(t.Context(), func(uint64) uint64 { return 0 })
	if w == nil || err != nil {
		t.Fatal(w, err)
	}
	if err := w.Commit(func(Files) error { return nil }); err != nil || l.Files().First != 2 || sh.index.oldest().first <= e.last() {
		t.Fatalf("%v, files %+v, the oldest block begins at %d", err, l.Files(), sh.index.oldest().first)
	}
}

// grown is how much was ever appended, to compare with an earlier value.
func (l *Log) grown() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.grownLocked()
}

// fillLog puts a number of bytes and a bit, so that the log goes on in the
// segment behind them.
func fillLog(tb testing.TB, l *Log, shards int, bytes int64) {
	var all []*Shard
	for i := range shards {
		all = append(all, l.NewShard(ShardState{Handle: uint64(i + 1)}))
	}
	entries := make([]stream.Entry, min(500, l.MaxAppend()/1400))
	at := 0
	for n := l.grown(); l.grown()-n < bytes+l.opt.SegmentBytes/8; {
		var runs []Run
		lists := map[int][]int32{}
		for i := range entries {
			entries[i] = stream.Entry{PartitionKey: "some key", Data: make([]byte, 1024)}
			at = (at*1103515245 + 12345) & (1<<31 - 1)
			k := at >> 8 % shards
			lists[k] = append(lists[k], int32(i))
		}
		for k, list := range lists {
			runs = append(runs, Run{Shard: all[k], Entries: list})
		}
		c, err := l.Append(tb.Context(), entries, runs)
		if err != nil {
			tb.Fatal(err)
		}
		if err := l.Wait(tb.Context(), c); err != nil {
			tb.Fatal(err)
		}
	}
}
