package wal

import (
	"sort"
	"sync"
	"sync/atomic"

	"github.com/millrace/millrace/internal/unset"
)

const (
	arenaBytes = 1 << 20
	// spareArenas bounds what is kept for another use.
	spareArenas = 4
)

// arena is memory that holds, byte for byte, a run of a segment. Blocks are
// made in it, written from it, and read from it for as long as it is cached.
type arena struct {
	seg   *segment
	start int64  // offset in the segment of buf[0]
	buf   []byte // the last headerSize bytes are kept for the block that ends a segment
	n     int    // used
	// lent is set before a reader gets a view. Memory that was never lent may be
	// used again, other memory is left to the garbage collector.
	lent atomic.Bool
}

func (a *arena) pos() Pos { return makePos(a.seg.gen, a.start) }

// limit is how far data blocks may reach.
func (a *arena) limit() int { return len(a.buf) - headerSize }

// holds reports whether a block lies in the arena. One that does not, although
// it begins before the arena's last byte, would have reached beyond the limit:
// that is why the next arena was begun.
func (a *arena) holds(e *entry) bool {
	return e.pos >= a.pos() && e.pos+Pos(e.length()) <= a.pos()+Pos(a.limit())
}

// payload is the records of a block that the arena holds.
func (a *arena) payload(e *entry) []byte {
	from := e.pos.off() - a.start + headerSize
	to := from + int64(e.size)
	return a.buf[from:to:to]
}

// cache is the arenas that were filled last, in log order.
type cache struct {
	mu     sync.RWMutex
	arenas []*arena
	bytes  int
	limit  int
	spare  [][]byte
}

// get returns the arena that holds a place of the log, marked as lent, or nil.
func (c *cache) get(p Pos) *arena {
	c.mu.RLock()
	defer c.mu.RUnlock()
	i := sort.Search(len(c.arenas), func(i int) bool { return c.arenas[i].pos() > p }) - 1
	if i < 0 {
		return nil
	}
	a := c.arenas[i]
	if a.seg.gen != p.gen() || p.off() >= a.start+int64(len(a.buf)) {
		return nil
	}
	if !a.lent.Load() {
		a.lent.Store(true)
	}
	return a
}

// add makes an arena of at least need data bytes the newest one of the cache.
func (c *cache) add(seg *segment, start int64, size int) *arena {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := &arena{seg: seg, start: start}
	if n := len(c.spare); n > 0 && size == arenaBytes {
		a.buf = c.spare[n-1]
		c.spare = c.spare[:n-1]
	} else {
		a.buf = unset.Bytes(size)
	}
	c.arenas = append(c.arenas, a)
	c.bytes += len(a.buf)
	return a
}

// trim drops the oldest arenas that lie wholly before a place, down to the limit.
func (c *cache) trim(before Pos) {
	c.mu.Lock()
	defer c.mu.Unlock()
	drop := 0
	for ; drop < len(c.arenas)-1 && c.bytes > c.limit; drop++ {
		if c.arenas[drop+1].pos() > before {
			break
		}
		a := c.arenas[drop]
		c.bytes -= len(a.buf)
		if !a.lent.Load() && len(a.buf) == arenaBytes && len(c.spare) < spareArenas {
			c.spare = append(c.spare, a.buf)
		}
	}
	if drop > 0 {
		rest := copy(c.arenas, c.arenas[drop:])
		clear(c.arenas[rest:])
		c.arenas = c.arenas[:rest]
	}
}
