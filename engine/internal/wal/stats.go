package wal

// Stats is how much the files hold in one moment.
type Stats struct {
	// LogBytes is the length of the log, from its oldest segment to its end.
	LogBytes int64
	// Chunks are files that were written anew, Adopted are segments that were
	// closed as they are; both in files and in bytes.
	Chunks, Adopted          int
	ChunkBytes, AdoptedBytes int64
}

// Stats counts what is in use.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	grown := l.grownLocked()
	l.mu.Unlock()
	l.segs.mu.Lock()
	defer l.segs.mu.Unlock()
	s := Stats{LogBytes: max(0, grown-int64(l.segs.files.First)*l.opt.SegmentBytes)}
	for _, gen := range l.segs.files.Closed {
		seg := l.segs.byGen[gen]
		switch {
		case seg == nil: // it is damaged
		case isChunk(gen):
			s.Chunks++
			s.ChunkBytes += seg.size
		default:
			s.Adopted++
			s.AdoptedBytes += seg.size
		}
	}
	return s
}
