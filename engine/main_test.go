package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/millrace/millrace/stream"
)

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		putUntilKilled()
		return
	}
	goleak.VerifyTestMain(m)
}

// quiet is a logger for engines that are expected to complain.
var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// small is the configuration of most tests: little files, no noise.
func small() Config {
	return Config{SegmentBytes: 64 << 10, MinRetention: time.Millisecond, Logger: quiet}
}

func openDir(t testing.TB, dir string, cfg Config) *Engine {
	t.Helper()
	e, err := Open(dir, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

func openMemory(t testing.TB, cfg Config) *Engine {
	t.Helper()
	e, err := OpenMemory(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

func ensure(t testing.TB, e *Engine, name string, cfg StreamConfig) *Stream {
	t.Helper()
	s, err := e.EnsureStream(t.Context(), name, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func entry(key, data string) stream.Entry {
	return stream.Entry{PartitionKey: key, Data: []byte(data)}
}

// mustPut puts records that have to be accepted.
func mustPut(t testing.TB, s *Stream, entries ...stream.Entry) []stream.PutResult {
	t.Helper()
	results, err := s.Put(t.Context(), entries...)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range results {
		if r.Err != nil {
			t.Fatalf("entry %d: %v", i, r.Err)
		}
	}
	return results
}

// number makes n entries with the keys and the data 0, 1, 2 …
func number(from, n int) []stream.Entry {
	entries := make([]stream.Entry, n)
	for i := range entries {
		entries[i] = entry(fmt.Sprintf("key-%d", from+i), fmt.Sprintf("data-%d", from+i))
	}
	return entries
}

// readNow reads what is there, from a position, until there is no more; the
// error is the one that ended it, nil for "nothing more yet".
func readNow(s *Stream, shard string, from stream.Position) ([]stream.Record, error) {
	r, err := s.reader(context.Background(), shard, from)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var all []stream.Record
	var b stream.Batch
	for {
		if r.ended {
			return all, r.end()
		}
		wait, err := r.cursor.Read(&b, s.cutoff())
		if err != nil {
			return all, r.explain(context.Background(), err)
		}
		if wait != nil {
			return all, nil
		}
		all = append(all, b.Records...)
	}
}

func mustRead(t testing.TB, s *Stream, shard string, from stream.Position) []stream.Record {
	t.Helper()
	records, err := readNow(s, shard, from)
	var end *stream.ShardEndError
	if err != nil && !errors.As(err, &end) {
		t.Fatal(err)
	}
	return records
}

func next(t testing.TB, r stream.Reader, b *stream.Batch) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Second, errors.New("no records in time"))
	defer cancel()
	if err := r.Next(ctx, b); err != nil {
		t.Fatal(err)
	}
}
