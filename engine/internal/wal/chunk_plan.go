package wal

// adoptPayload is the average payload from which on blocks are large enough
// for reading a single shard: rewriting would gain nothing.
func adoptPayload(segmentBytes int64) int64 { return min(32<<10, segmentBytes/8) }

// tally is what lies in one segment of the log.
type tally struct {
	blocks  int
	payload int64
	class   uint64 // retention class of the blocks, if it is one
	mixed   bool   // they are of several
}

func (t *tally) add(e *entry, class uint64) {
	t.mixed = t.mixed || t.blocks > 0 && class != t.class
	t.class = class
	t.blocks++
	t.payload += int64(e.size)
}

// adoptable reports whether the segment, with blocks of that average payload or
// more, serves its readers and retention as well as a chunk would.
func (t *tally) adoptable(payload int64) bool {
	return t.blocks > 0 && !t.mixed && t.payload >= int64(t.blocks)*payload
}

// decide returns how many of the segments, which lie one behind the other, are
// closed together, and whether they are adopted as they are or rewritten.
func decide(segs []tally, payload int64) (n int, adopt bool) {
	adopt = segs[0].adoptable(payload)
	for n < len(segs) && (segs[n].blocks == 0 || segs[n].adoptable(payload) == adopt) {
		n++
	}
	return n, adopt
}

// piece is one block of a chunk, made of several blocks of the log.
type piece struct {
	listed
	sh *Shard
	// from and n are its sources.
	from, n int
}

// takes adds a block of the log to the piece, if both may be one block: its
// records follow without a gap, and all together keep the limits of a block.
func (p *piece) takes(e *entry) bool {
	span := e.newest() - p.base
	if e.first != p.last()+1 || p.size+e.size > maxPayload || span > maxSpan || e.base < p.base ||
		int(p.count)+int(e.count) > maxCount {
		return false
	}
	p.size += e.size
	p.count += e.count
	p.span = uint16(span)
	p.n++
	return true
}

const maxCount = 1<<16 - 1

// merge makes the blocks of a shard's part of a chunk.
func merge(to []piece, sh *Shard, blocks []entry, from int) []piece {
	open := false
	for i := range blocks {
		if open && to[len(to)-1].takes(&blocks[i]) {
			continue
		}
		to = append(to, piece{listed: listed{entry: blocks[i], shard: sh.handle}, sh: sh, from: from + i, n: 1})
		open = true
	}
	return to
}

// layout gives every piece its place in files of at most that size (more only
// for one block that is larger), and returns how many go into each file.
// gen is the generation of the first one.
func layout(pieces []piece, gen uint64, size int64) (files []int) {
	off := int64(blocksStart)
	n := 0
	for i := range pieces {
		p := &pieces[i]
		if n > 0 && chunkSize(off+p.length())+footerSize(n+1) > size {
			files = append(files, n)
			gen, off, n = gen+1, blocksStart, 0
		}
		p.pos = makePos(gen, off)
		off += p.length()
		n++
	}
	if n > 0 {
		files = append(files, n)
	}
	return files
}

// chunkSize is the size that a chunk's header names, of a file whose last block
// with records ends at that offset: the end block follows, and then the footer.
func chunkSize(end int64) int64 { return end + headerSize }
