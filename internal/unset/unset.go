// Package unset gives memory that nobody zeroes in vain.
package unset

import (
	"strings"
	"unsafe"
)

// Bytes returns n bytes of memory with any content. It spares the zeroing of
// what is overwritten at once; the runtime gives such memory to nobody but the
// Builder.
func Bytes(n int) []byte {
	if n == 0 {
		return nil
	}
	var b strings.Builder
	b.Grow(n)
	b.WriteByte(0) // an empty string has no memory of its own
	return unsafe.Slice(unsafe.StringData(b.String()), n)
}
