package server

import "sync/atomic"

// reading bounds the records that answers and events on their way to clients
// keep in memory, however many clients there are and however slow they are: the
// more is under way, the less each read gets, and none has to wait. The zero value
// works.
type reading struct{ used atomic.Int64 }

const (
	// readingBytes is what all of them may have, roughly: those that come when
	// it is used up get leastRead.
	readingBytes = 256 << 20
	leastRead    = 64 << 10
)

// take returns how many bytes one may read, at most want. They have to be given
// back.
func (r *reading) take(want int) int {
	left := readingBytes - r.used.Load()
	n := min(int64(want), max(leastRead, left/8))
	r.used.Add(n)
	return int(n)
}

func (r *reading) give(n int) { r.used.Add(int64(-n)) }
