package logs

import (
	"context"
	"io"
	"log/slog"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/stream"
)

// StreamName is the name of the one stream of a Millrace log.
const StreamName = "bench"

// Millrace is Millrace's own engine with one stream.
type Millrace struct {
	Engine *engine.Engine
	Stream *engine.Stream
}

// OpenMillrace opens the engine in dir and the stream, which it makes when
// there is none.
func OpenMillrace(ctx context.Context, dir string, cfg engine.Config, sc engine.StreamConfig) (*Millrace, error) {
	cfg.Logger = Quiet
	e, err := engine.Open(dir, cfg)
	if err != nil {
		return nil, err
	}
	s, err := e.EnsureStream(ctx, StreamName, sc)
	if err != nil {
		e.Close()
		return nil, err
	}
	return &Millrace{e, s}, nil
}

// Quiet is a logger for what would disturb a table.
var Quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// Writer implements Log.
func (m *Millrace) Writer() Writer { return &millraceWriter{stream: m.Stream} }

// Close implements Log.
func (m *Millrace) Close() error { return m.Engine.Close() }

type millraceWriter struct {
	stream  *engine.Stream
	entries []stream.Entry
}

func (w *millraceWriter) Append(ctx context.Context, records []Record) error {
	w.entries = w.entries[:0]
	for i := range records {
		w.entries = append(w.entries, stream.Entry{PartitionKey: records[i].Key, Data: records[i].Data})
	}
	results, err := w.stream.Put(ctx, w.entries...)
	if err != nil {
		return err
	}
	for i := range results {
		if results[i].Err != nil {
			return results[i].Err
		}
	}
	return nil
}
