package main

import (
	"bufio"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/stream/streamtest"
)

func TestLinesAreReadWhateverTheirEndsAndLengths(t *testing.T) {
	long := strings.Repeat("x", longestLine+1000)
	r := bufio.NewReaderSize(strings.NewReader("one\ntwo\r\n\n"+long+"\nlast"), 64)
	var got []string
	var size int64
	for {
		text, n, err := readLine(r, nil)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(text))
		size += n
	}
	want := []string{"one", "two", "", long[:longestLine], "last"}
	if !slices.Equal(got, want) {
		t.Errorf("%.40q", got)
	}
	if wantSize := int64(len("one\ntwo\r\n\n") + len(long) + len("\nlast")); size != wantSize {
		t.Errorf("%d bytes are read, want %d", size, wantSize)
	}
}

// feedFile feeds a file into m as one run would.
func feedFile(t *testing.T, tl *tally, m stream.Putter, dir string, names ...string) error {
	t.Helper()
	sources, err := openSources(t.Context(), tl, dir, names)
	if err != nil {
		return err
	}
	for _, s := range sources {
		if err := s.feed(t.Context(), m, tl, 3, func(int) {}); err != nil {
			return err
		}
		if err := s.close(); err != nil {
			return err
		}
	}
	return nil
}

// drain counts everything that is in m.
func drain(t *testing.T, tl *tally, m *streamtest.Memory) counted {
	t.Helper()
	var sum counted
	shards, err := m.Shards(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, shard := range shards {
		end, err := m.Pin(t.Context(), shard.ID)
		if err != nil {
			t.Fatal(err)
		}
		// A last record, so that there is something to stop at.
		_, err = m.Put(t.Context(), stream.Entry{PartitionKey: "end", HashKey: shard.Hash.Start, HasHashKey: true})
		if err != nil {
			t.Fatal(err)
		}
		r, err := m.Open(t.Context(), shard.ID, stream.TrimHorizon)
		if err != nil {
			t.Fatal(err)
		}
		for b, done := (stream.Batch{}), false; !done; {
			if err := r.Next(t.Context(), &b); err != nil {
				t.Fatal(err)
			}
			var batch []numbered
			for _, record := range b.Records {
				done = !end.Includes(record.Sequence)
				if len(record.Data) > 0 {
					n, err := decode(record.Data)
					if err != nil {
						t.Fatal(err)
					}
					batch = append(batch, n)
				}
			}
			added, err := tl.add(t.Context(), shard.ID, batch, now)
			if err != nil {
				t.Fatal(err)
			}
			sum.lines += added.lines
			sum.repeats += added.repeats
		}
		r.Close()
	}
	return sum
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestAFileIsReadOnFromWhereTheFormerRunStopped(t *testing.T) {
	tl, m, dir := newTally(t), streamtest.NewMemory("logs", 2), t.TempDir()
	file := filepath.Join(dir, "a.log")
	for _, step := range []struct {
		name, text string
		lines      int // new ones
	}{
		{"new", "one\ntwo\nthree\nfour\n", 4},
		{"unchanged", "one\ntwo\nthree\nfour\n", 0},
		{"grown", "one\ntwo\nthree\nfour\nfive\nsix", 2},
		{"rotated: another first line", "uno\ndue\n", 2},
		{"truncated and written again", "uno\n", 1},
		{"emptied", "", 0},
	} {
		write(t, file, step.text)
		if err := feedFile(t, tl, m, dir, file); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if got := drain(t, tl, m); got.lines != step.lines {
			t.Errorf("%s: %d lines are counted, want %d", step.name, got.lines, step.lines)
		}
		if in, counted, err := tl.totals(t.Context()); err != nil || in != counted {
			t.Errorf("%s: %d lines are in, %d are counted (%v)", step.name, in, counted, err)
		}
	}
}

// forgetful is a putter whose process dies after some calls, before it has
// recorded any of them.
type forgetful struct {
	stream.Putter
	calls int
}

func (f *forgetful) Put(ctx context.Context, entries ...stream.Entry) ([]stream.PutResult, error) {
	if f.calls--; f.calls < 0 {
		// The last call arrives in part, and its answer never.
		f.Putter.Put(ctx, entries[:1]...)
		return nil, io.ErrUnexpectedEOF
	}
	return f.Putter.Put(ctx, entries...)
}

func TestWhatIsPutTwiceAfterACrashIsCountedOnce(t *testing.T) {
	tl, m, dir := newTally(t), streamtest.NewMemory("logs", 3), t.TempDir()
	file := filepath.Join(dir, "a.log")
	write(t, file, strings.Repeat("192.0.2.1 - - [20/Nov/2026:06:00:03 +0000] \"GET / HTTP/2.0\" 200 1\nother\nlines\n\n", 10))

	if err := feedFile(t, tl, &forgetful{m, 5}, dir, file); err == nil {
		t.Fatal("the crash did not happen")
	}
	first := drain(t, tl, m)
	// The next run is not even asked for the file: it was left unfinished.
	if err := feedFile(t, tl, m, dir); err != nil {
		t.Fatal(err)
	}
	second := drain(t, tl, m)
	if want := 40 + strings.Count(string(sampleLog), "\n"); first.lines+second.lines != want {
		t.Errorf("%d and %d lines are counted, want %d in sum", first.lines, second.lines, want)
	}
	if second.repeats <= first.lines {
		t.Errorf("%d lines came again, want those that were put twice, too", second.repeats)
	}
	if in, counted, err := tl.totals(t.Context()); err != nil || in != counted {
		t.Errorf("%d lines are in, %d are counted (%v)", in, counted, err)
	}
}

func TestAnUnfinishedFileThatIsReplacedIsAnError(t *testing.T) {
	tl, m, dir := newTally(t), streamtest.NewMemory("logs", 1), t.TempDir()
	file := filepath.Join(dir, "a.log")
	write(t, file, "one\ntwo\nthree\nfour\n")
	if err := feedFile(t, tl, &forgetful{m, 0}, dir, file); err == nil {
		t.Fatal("the crash did not happen")
	}
	write(t, file, "another\n")
	if err := feedFile(t, tl, m, dir, file); err == nil || !strings.Contains(err.Error(), "another file now") {
		t.Errorf("%v", err)
	}
}
