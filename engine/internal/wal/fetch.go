package wal

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"unsafe"
)

// fetch brings blocks into the queue, up to about maxBytes, but one at least.
func (c *Cursor) fetch(entries []entry, maxBytes int) error {
	for i, bytes := 0, 0; i < len(entries) && (i == 0 || bytes < maxBytes); {
		e := entries[i]
		a := c.log.cache.get(e.pos)
		if a == nil {
			if i > 0 {
				return nil // from memory first: the rest with the next call
			}
			return c.load(entries, maxBytes)
		}
		from := e.pos.off() - a.start + headerSize
		payload := a.buf[from : from+int64(e.size) : from+int64(e.size)]
		v := view{entry: e, payload: payload, owner: unsafe.SliceData(a.buf), weight: len(a.buf)}
		if a != c.lastArena {
			c.arenas++
			c.lastArena = a
		}
		if c.arenas > sharedArenas {
			c.copyToSlab(&v, maxBytes-bytes)
		}
		c.queue = append(c.queue, v)
		bytes += int(e.size)
		i++
	}
	return nil
}

// copyToSlab gives a view memory of the batch's own.
func (c *Cursor) copyToSlab(v *view, want int) {
	n := len(v.payload)
	if cap(c.slab)-len(c.slab) < n {
		c.slab = make([]byte, 0, max(n, min(slabStep, want)))
	}
	at := len(c.slab)
	c.slab = append(c.slab, v.payload...)
	v.payload = c.slab[at : at+n : at+n]
	v.owner, v.weight = unsafe.SliceData(c.slab[:1]), cap(c.slab)
}

// load reads blocks from the disk: neighbours with one call, as long as most
// of what is read is wanted.
func (c *Cursor) load(entries []entry, maxBytes int) error {
	first := entries[0]
	end, useful, n := first.pos.off(), int64(0), 0
	for _, e := range entries {
		to := e.pos.off() + e.length()
		if n > 0 && (e.pos.gen() != first.pos.gen() || to-first.pos.off() > readSpan ||
			useful >= int64(maxBytes) || (useful+e.length())*4 < to-first.pos.off()) {
			break
		}
		end = to
		useful += e.length()
		n++
	}
	seg := c.log.segs.pin(first.pos.gen())
	if seg == nil {
		return c.lost(first, "its segment is not in the log")
	}
	defer c.log.segs.unpin(seg)
	buf := make([]byte, end-first.pos.off())
	if read, err := seg.file.ReadAt(buf, first.pos.off()); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read %s at %d: %w", seg.name, first.pos.off(), err)
	} else if read < len(buf) {
		buf = buf[:read]
	}
	for _, e := range entries[:n] {
		at := e.pos.off() - first.pos.off()
		if at+e.length() > int64(len(buf)) {
			return c.unlessFirst(e, "the file ends before the block does")
		}
		b := buf[at : at+e.length()]
		seed := seg.seedAt(e.pos.off())
		h, ok := decodeHeader(b, seed)
		if !ok || h.shard != c.sh.handle || h.first != e.first || h.size != e.size || h.count != e.count {
			return c.unlessFirst(e, "the header of a block fails its checksum")
		}
		if h.sum != checksum(seed, b[headerSize:]) {
			return c.unlessFirst(e, "the records of a block fail their checksum")
		}
		c.queue = append(c.queue, view{
			entry: e, payload: b[headerSize : headerSize+e.size : headerSize+e.size],
			owner: unsafe.SliceData(buf), weight: cap(buf),
		})
	}
	return nil
}

// unlessFirst leaves a damaged block for the next call when there are good
// ones before it.
func (c *Cursor) unlessFirst(e entry, detail string) error {
	if len(c.queue) > 0 {
		return nil
	}
	return c.lost(e, detail)
}

func checksum(seed uint32, payload []byte) uint32 { return crc32.Update(seed, castagnoli, payload) }
