package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/millrace/millrace/engine/internal/vfs"
)

const (
	// blocksStart is where blocks begin: the page before it holds two copies of
	// the segment's header.
	blocksStart = 4096
	headerCopy  = 2048
	segHeadSize = 48
	segMagic    = 0x474553_5243524d // "MRCRSEG"
	// FormatVersion is the version of the segment format that is written, and
	// the only one that is read.
	FormatVersion = 1

	logSuffix   = ".log"
	chunkSuffix = ".chunk"
	poolPrefix  = "pool-"
	badPrefix   = "bad-"

	// chunkBit is set in the generation of a chunk: a file in which the blocks
	// of several segments lie shard by shard. Everything else about it is as in
	// a segment of the log.
	chunkBit = 1 << 31
)

// segmentHeader opens a segment file.
type segmentHeader struct {
	gen  uint64
	salt uint64
	size int64 // where the room for blocks ends: of a segment, the size of the file
}

func (h segmentHeader) encode() [segHeadSize]byte {
	var b [segHeadSize]byte
	le := binary.LittleEndian
	le.PutUint64(b[0:], segMagic)
	le.PutUint32(b[8:], FormatVersion)
	le.PutUint64(b[16:], h.gen)
	le.PutUint64(b[24:], h.salt)
	le.PutUint64(b[32:], uint64(h.size))
	le.PutUint32(b[40:], crc32.Checksum(b[:40], castagnoli))
	return b
}

// write puts both copies into the file.
func (h segmentHeader) write(f vfs.File) error {
	b := h.encode()
	for _, off := range []int64{0, headerCopy} {
		if _, err := f.WriteAt(b[:], off); err != nil {
			return err
		}
	}
	return nil
}

var (
	errSegmentHeader = errors.New("both copies of the segment header are damaged")
	// ErrVersion says that the files were written by a newer version of the program.
	ErrVersion = errors.New("unknown format version")
)

func decodeSegmentHeader(b []byte) (segmentHeader, error) {
	le := binary.LittleEndian
	if len(b) < segHeadSize || le.Uint64(b) != segMagic || le.Uint32(b[40:]) != crc32.Checksum(b[:40], castagnoli) {
		return segmentHeader{}, errSegmentHeader
	}
	if v := le.Uint32(b[8:]); v != FormatVersion {
		return segmentHeader{}, fmt.Errorf("segment: %w %d: this program reads version %d", ErrVersion, v, FormatVersion)
	}
	return segmentHeader{gen: le.Uint64(b[16:]), salt: le.Uint64(b[24:]), size: int64(le.Uint64(b[32:]))}, nil
}

// seed is the checksum state from which the blocks of the segment start: it
// makes a block of an earlier use of the file, or one in another place, fail
// its checksum. The block's offset is added by [seedAt].
func (h segmentHeader) seed() uint32 {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[0:], h.salt)
	binary.LittleEndian.PutUint64(b[8:], h.gen)
	return crc32.Checksum(b[:], castagnoli)
}

// seedAt is crc32.Update over the offset's 8 bytes, without a buffer, which
// would go to the heap for every block.
func seedAt(seed uint32, off int64) uint32 {
	sum := ^seed
	for range 8 {
		sum = castagnoli[byte(sum)^byte(off)] ^ sum>>8
		off >>= 8
	}
	return ^sum
}

func isChunk(gen uint64) bool { return gen&chunkBit != 0 }

func segmentName(gen uint64) string {
	suffix := logSuffix
	if isChunk(gen) {
		suffix = chunkSuffix
	}
	return fmt.Sprintf("%016x%s", gen, suffix)
}

// parseSegmentName reads what [segmentName] writes.
func parseSegmentName(name string) (gen uint64, ok bool) {
	hex, _, _ := strings.Cut(name, ".")
	gen, err := strconv.ParseUint(hex, 16, 32)
	return gen, err == nil && gen&^chunkBit > 0 && name == segmentName(gen)
}

// IsSegment reports whether a file of that name holds records.
func IsSegment(name string) bool {
	_, ok := parseSegmentName(name)
	return ok
}

// segment is one file with blocks, open: a part of the log, or a closed file.
type segment struct {
	gen  uint64
	size int64
	seed uint32
	name string
	file *file
	// live counts the blocks that somebody may still want to read.
	live atomic.Int64

	pins    int  // readers at work; guarded by segments.mu
	retired bool // out of use: its file is free when pins is 0; guarded by segments.mu
}

func (s *segment) seedAt(off int64) uint32 { return seedAt(s.seed, off) }

// Files tells which files hold what can be read: a number of closed ones, and
// the segments of the log from First on.
type Files struct {
	// First is the generation of the oldest segment of the log.
	First uint64
	// Closed are the generations of the closed files, older blocks of a shard
	// before newer ones: chunks, and segments that have left the log as they
	// were, because their blocks are large enough already.
	Closed []uint64
	// NextChunk is the generation of the next chunk.
	NextChunk uint64
}

// Equal reports whether both tell the same.
func (f Files) Equal(o Files) bool {
	return f.First == o.First && f.NextChunk == o.NextChunk && slices.Equal(f.Closed, o.Closed)
}

func (f Files) clone() Files {
	f.Closed = slices.Clone(f.Closed)
	return f
}

// segments are the files by generation, the pool of files that wait for another
// use, and those that wait to be removed.
//
//	segment ──retire──► pool ──► segment, chunk
//	   │                 │ │
//	   └─ the disk fails ┘ └─ more than needed ──► removed
//	             │                                    ▲
//	             └──► bad ────────────────────────────┘
type segments struct {
	mu    sync.Mutex
	byGen map[uint64]*segment
	files Files
	// held keeps the log's segments from leaving, while they are rewritten.
	held   bool
	pool   []string // names of files without content; the last one is taken first
	bad    []string // names of files that the disk has failed to read or write
	pooled uint64   // number of the last name of one of these
}

// newName returns a name that no file has, for one out of use.
func (s *segments) newName(prefix string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pooled++
	return fmt.Sprintf("%s%016x", prefix, s.pooled)
}

// parseSpareName reads what [segments.newName] writes. Names of the pool may have
// a second number.
func parseSpareName(name string) (prefix string, number uint64, ok bool) {
	for _, prefix := range []string{poolPrefix, badPrefix} {
		if hex, ok := strings.CutPrefix(name, prefix); ok && strings.Trim(hex, "0123456789abcdef-") == "" {
			hex, _, _ = strings.Cut(hex, "-")
			number, _ := strconv.ParseUint(hex, 16, 64)
			return prefix, number, true
		}
	}
	return "", 0, false
}

// letGo ends what [Log.hold] has begun.
func (s *segments) letGo() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = false
}

// putPooled adds a file without content to the pool. It is the last to be taken:
// it may be small, or have no room on the disk.
func (s *segments) putPooled(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pool = slices.Insert(s.pool, 0, name)
}

// putBad adds a file that is to be removed. It is the last to be tried.
func (s *segments) putBad(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bad = slices.Insert(s.bad, 0, name)
}

// takeBad returns a file to remove, or "" when there is none.
func (s *segments) takeBad() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return takeLast(&s.bad)
}

func (s *segments) add(seg *segment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byGen[seg.gen] = seg
}

func (s *segments) get(gen uint64) *segment {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byGen[gen]
}

// pin returns the segment and keeps its file from being used again until
// unpin; nil when the segment is out of use.
func (s *segments) pin(gen uint64) *segment {
	s.mu.Lock()
	defer s.mu.Unlock()
	seg := s.byGen[gen]
	if seg != nil {
		seg.pins++
	}
	return seg
}

// unpin gives the file free when the last reader of a retired segment leaves.
func (s *segments) unpin(seg *segment) {
	s.mu.Lock()
	seg.pins--
	free := s.freeLocked(seg)
	s.mu.Unlock()
	if free {
		seg.file.Close()
	}
}

// retire takes a segment out of use. Its file must have its new name by now.
func (s *segments) retire(seg *segment, newName string) {
	s.mu.Lock()
	delete(s.byGen, seg.gen)
	seg.retired, seg.name = true, newName
	free := s.freeLocked(seg)
	s.mu.Unlock()
	if free {
		seg.file.Close()
	}
}

// freeLocked gives the file of a segment out of use to the pool when nobody
// reads it, and reports whether it did. One that the disk has failed is to be
// removed: whoever wrote to it again would fail, and the log with him.
func (s *segments) freeLocked(seg *segment) bool {
	if !seg.retired || seg.pins > 0 {
		return false
	}
	if seg.file.failed.Load() {
		s.bad = append(s.bad, seg.name)
	} else {
		s.pool = append(s.pool, seg.name)
	}
	return true
}

// takePooled returns a file to use again, or "" when there are no more of them
// than have to stay.
func (s *segments) takePooled(stay int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.pool) <= stay {
		return ""
	}
	return takeLast(&s.pool)
}

func takeLast(names *[]string) string {
	n := len(*names)
	if n == 0 {
		return ""
	}
	name := (*names)[n-1]
	*names = (*names)[:n-1]
	return name
}
