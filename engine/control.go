package engine

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/millrace/millrace/engine/internal/manifest"
	"github.com/millrace/millrace/engine/internal/wal"
	"github.com/millrace/millrace/stream"
)

// begin takes the control of the engine, until the returned function is called.
func (e *Engine) begin(ctx context.Context) (end func(), err error) {
	select {
	case <-e.done:
		return nil, stream.ErrClosed
	default:
	}
	select {
	case e.control <- struct{}{}:
		return func() { <-e.control }, nil
	case <-e.done:
		return nil, stream.ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// change is what a control call wants to be so: it is saved before it is.
type change struct {
	stream   *Stream
	topology *topology // nil: as it is
	settings *settings // nil: as it is
	remove   bool      // the stream is to go

	files *wal.Files // that count; nil: as it is
}

// save writes the manifest: all as it is, but for the change. The caller has
// the control, or is alone.
func (e *Engine) save(ctx context.Context, c *change) error {
	files := e.log.Files()
	if c != nil && c.files != nil {
		files = *c.files
	}
	m := &manifest.Manifest{
		Openings: e.openings, NextHandle: e.nextHandle, LastCreated: e.lastCreated,
		FirstSegment: files.First, Closed: files.Closed, NextChunk: files.NextChunk,
		// Before the shards' counters are read: they cover all of it.
		Durable: uint64(e.log.Durable()),
	}
	e.mu.RLock()
	streams := slices.Collect(maps.Values(e.streams))
	e.mu.RUnlock()
	if c != nil && c.stream != nil && !slices.Contains(streams, c.stream) {
		streams = append(streams, c.stream)
	}
	slices.SortFunc(streams, func(a, b *Stream) int { return strings.Compare(a.name, b.name) })
	for _, s := range streams {
		t, set := s.topology.Load(), s.settings.Load()
		if c != nil && c.stream == s {
			if c.remove {
				continue
			}
			if c.topology != nil {
				t = c.topology
			}
			if c.settings != nil {
				set = c.settings
			}
		}
		m.Streams = append(m.Streams, s.saved(t, set))
	}
	if e.cfg.Durability != Durable {
		// What the manifest calls durable has to be.
		if err := e.log.Flush(ctx); err != nil {
			return err
		}
	}
	err := manifest.Save(e.fs, m)
	var unknown *manifest.UnknownError
	if errors.As(err, &unknown) {
		// What is acknowledged from now on might not be what the next opening finds.
		e.log.Fail(err)
	}
	return err
}
