package engine

// Stats is where an engine's data is in one moment, by its files.
type Stats struct {
	// LogBytes is in the log and was not rewritten yet. It stays near
	// [Config.ChunkBytes] while puts are slow, and reaches eight times as much
	// while they are as fast as can be; more says that the log cannot be
	// rewritten, which is logged. The next opening reads it.
	LogBytes int64
	// RewrittenFiles hold each shard's records together, by so many bytes.
	RewrittenFiles int
	RewrittenBytes int64
	// AdoptedFiles have left the log as they were written, since their blocks
	// were large enough already, by so many bytes.
	AdoptedFiles int
	AdoptedBytes int64
}

// Stats returns how the engine's files are now.
func (e *Engine) Stats() Stats {
	s := e.log.Stats()
	return Stats{
		LogBytes:       s.LogBytes,
		RewrittenFiles: s.Chunks, RewrittenBytes: s.ChunkBytes,
		AdoptedFiles: s.Adopted, AdoptedBytes: s.AdoptedBytes,
	}
}
