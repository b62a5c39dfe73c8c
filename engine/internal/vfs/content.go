package vfs

import (
	"fmt"
	"io"
	"slices"
)

// content is the bytes of a file in pages; a page that is nil is all zeros.
type content struct {
	pages [][]byte
	size  int64
	// shared says of each page whether a clone has it as well: then it is copied
	// before it is written.
	shared []bool
}

const pageSize = 4096

var zeroPage [pageSize]byte

func (c *content) readAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read at negative offset %d", off)
	}
	if off >= c.size {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), c.size-off))
	for done := 0; done < n; {
		page, at := int((off+int64(done))/pageSize), int((off+int64(done))%pageSize)
		from := zeroPage[:]
		if page < len(c.pages) && c.pages[page] != nil {
			from = c.pages[page]
		}
		done += copy(p[done:n], from[at:])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (c *content) writeAt(p []byte, off int64) {
	c.size = max(c.size, off+int64(len(p)))
	for len(p) > 0 {
		page, at := int(off/pageSize), int(off%pageSize)
		n := min(len(p), pageSize-at)
		if page >= len(c.pages) {
			c.grow(page + 1)
		}
		if c.pages[page] != nil || string(p[:n]) != string(zeroPage[:n]) {
			copy(c.own(page)[at:], p[:n])
		}
		p, off = p[n:], off+int64(n)
	}
}

func (c *content) grow(pages int) {
	c.pages = append(c.pages, make([][]byte, pages-len(c.pages))...)
	c.shared = append(c.shared, make([]bool, pages-len(c.shared))...)
}

// own returns a page that may be written.
func (c *content) own(page int) []byte {
	switch {
	case c.pages[page] == nil:
		c.pages[page] = make([]byte, pageSize)
	case c.shared[page]:
		c.pages[page] = slices.Clone(c.pages[page])
	}
	c.shared[page] = false
	return c.pages[page]
}

func (c *content) truncate(size int64) {
	if size < c.size {
		keep := int((size + pageSize - 1) / pageSize)
		if keep < len(c.pages) {
			clear(c.pages[keep:])
			c.pages, c.shared = c.pages[:keep], c.shared[:keep]
		}
		if at := size % pageSize; at != 0 && keep <= len(c.pages) && c.pages[keep-1] != nil {
			clear(c.own(keep - 1)[at:])
		}
	}
	c.size = size
}

// clone returns the same bytes. The pages are shared until one of the two
// writes them; pages of zeros stay free.
func (c *content) clone() content {
	for i := range c.shared {
		c.shared[i] = true
	}
	return content{slices.Clone(c.pages), c.size, slices.Clone(c.shared)}
}
