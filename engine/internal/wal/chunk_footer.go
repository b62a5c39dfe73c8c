package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/millrace/millrace/engine/internal/vfs"
)

// The footer of a closed file begins where its blocks end, at the size that
// the header names. It repeats what the blocks' headers say of them, so that
// opening need not read the blocks:
//
//	magic, checksum, count │ block │ block │ …     by shard and counter
//
// A footer that cannot be read is no loss: the blocks are read instead.
const (
	footMagic     = 0x544f4f_4643524d // "MRCFOOT"
	footHeadSize  = 16
	footEntrySize = 48
)

// listed is a block as a footer tells of it.
type listed struct {
	entry
	shard uint64
	prev  uint64 // as in the block's header
}

func footerSize(blocks int) int64 { return footHeadSize + int64(blocks)*footEntrySize }

// encodeFooter returns the footer of a file whose blocks end at that offset.
func encodeFooter(blocks []listed, seed uint32) []byte {
	le := binary.LittleEndian
	b := make([]byte, footerSize(len(blocks)))
	le.PutUint64(b[0:], footMagic)
	le.PutUint32(b[12:], uint32(len(blocks)))
	for i := range blocks {
		x, at := &blocks[i], b[footHeadSize+i*footEntrySize:]
		le.PutUint64(at[0:], x.shard)
		le.PutUint64(at[8:], x.first)
		le.PutUint64(at[16:], x.prev)
		le.PutUint64(at[24:], uint64(x.base))
		le.PutUint32(at[32:], uint32(x.pos.off()))
		le.PutUint32(at[36:], x.size)
		le.PutUint16(at[40:], x.count)
		le.PutUint16(at[42:], x.span)
	}
	le.PutUint32(b[8:], crc32.Update(seed, castagnoli, b[12:]))
	return b
}

var errFooter = errors.New("the footer is damaged")

// decodeFooter reads the footer of a file of that generation, whose blocks end
// at that offset. What follows the footer is ignored.
func decodeFooter(b []byte, gen uint64, size int64, seed uint32) ([]listed, error) {
	le := binary.LittleEndian
	if len(b) < footHeadSize || le.Uint64(b) != footMagic {
		return nil, errFooter
	}
	n := uint64(le.Uint32(b[12:]))
	if n > uint64(len(b)-footHeadSize)/footEntrySize {
		return nil, errFooter
	}
	b = b[:footHeadSize+n*footEntrySize]
	if le.Uint32(b[8:]) != crc32.Update(seed, castagnoli, b[12:]) {
		return nil, errFooter
	}
	blocks := make([]listed, n)
	for i := range blocks {
		x, at := &blocks[i], b[footHeadSize+i*footEntrySize:]
		*x = listed{
			entry: entry{
				first: le.Uint64(at[8:]), pos: makePos(gen, int64(le.Uint32(at[32:]))), base: int64(le.Uint64(at[24:])),
				size: le.Uint32(at[36:]), count: le.Uint16(at[40:]), span: le.Uint16(at[42:]),
			},
			shard: le.Uint64(at[0:]),
			prev:  le.Uint64(at[16:]),
		}
		if off := x.pos.off(); x.count == 0 || off < blocksStart || off%8 != 0 || x.length() > size-off {
			return nil, errFooter
		}
	}
	return blocks, nil
}

// writeFooter appends a footer to a file and makes it durable.
func writeFooter(f vfs.File, size int64, blocks []listed, seed uint32) error {
	if _, err := f.WriteAt(encodeFooter(blocks, seedAt(seed, size)), size); err != nil {
		return err
	}
	return f.Sync()
}

// readFooter reads the footer of a closed file.
func readFooter(seg *segment) ([]listed, error) {
	size, err := seg.file.Size()
	if err != nil {
		return nil, err
	}
	var head [footHeadSize]byte
	if err := readFull(seg.file, head[:], seg.size); err != nil {
		return nil, err
	}
	n := footerSize(int(binary.LittleEndian.Uint32(head[12:])))
	if binary.LittleEndian.Uint64(head[:]) != footMagic || n > size-seg.size {
		return nil, errFooter
	}
	b := make([]byte, n)
	if err := readFull(seg.file, b, seg.size); err != nil {
		return nil, err
	}
	return decodeFooter(b, seg.gen, seg.size, seg.seedAt(seg.size))
}

// scanClosed takes the blocks of the closed files into the indexes, in the
// order in which the manifest names them.
func (r *recovery) scanClosed() error {
	for _, gen := range r.l.segs.files.Closed {
		if !r.closed[gen] {
			r.damaged(makePos(gen, blocksStart), Damage{File: segmentName(gen), Detail: "the file is missing"})
			continue
		}
		seg, err := r.openSegment(gen)
		if err != nil {
			return err
		}
		if seg == nil {
			continue
		}
		blocks, err := readFooter(seg)
		if errors.Is(err, errFooter) || unreadable(err) {
			r.l.opt.Logger.Warn("the footer of a closed log file cannot be read; reading its blocks instead",
				"file", r.l.opt.FS.Path(seg.name), "err", err)
			if err := r.scanBlocks(seg); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("read the footer of %s: %w", seg.name, err)
		}
		for i := range blocks {
			if r.shard(blocks[i].shard) != nil {
				r.into.take(seg, &blocks[i])
			}
		}
	}
	r.end, r.more = 0, false // they are the log's
	return nil
}
