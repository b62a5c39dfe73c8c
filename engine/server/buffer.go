package server

import (
	"math/bits"
	"sync"
)

// Bodies are read into, and answers written into, memory that is used again.
// Buffers of one size are kept together, each twice as large as the one before, so
// that none holds much more than it needs.
const (
	smallestBuffer = 4 << 10
	bufferSizes    = 13 // the largest has 16 MiB: records of 10 MiB, in base64
)

var buffers [bufferSizes]sync.Pool

// bufferClass is of the buffers with room for n bytes; beyond bufferSizes they are
// made to measure.
func bufferClass(n int) int {
	return max(0, bits.Len(uint(max(n, 1)-1))-bits.Len(smallestBuffer-1))
}

// bufferSize is how much memory borrow gives for n bytes.
func bufferSize(n int) int {
	if class := bufferClass(n); class < bufferSizes {
		return smallestBuffer << class
	}
	return n
}

// borrow returns an empty buffer with room for n bytes.
func borrow(n int) []byte {
	class := bufferClass(n)
	if class >= bufferSizes {
		return make([]byte, 0, n)
	}
	if b, ok := buffers[class].Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, smallestBuffer<<class)
}

// giveBack takes a buffer, borrowed or grown, that nobody uses any more.
func giveBack(b []byte) {
	class := bits.Len(uint(cap(b))) - bits.Len(smallestBuffer)
	if cap(b) < smallestBuffer || class >= bufferSizes {
		return
	}
	buffers[class].Put(&b)
}
