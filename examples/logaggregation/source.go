package main

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/millrace/millrace/stream"
)

// sampleLog is the log that is read when no file is given.
//
//go:embed sample.log
var sampleLog []byte

const (
	sampleName = "the sample log"

	longestLine = 64 << 10  // what is kept of a line
	readAhead   = 256 << 10 // buffer of a file
	headBytes   = 256       // what tells a file from another under its name

	// recordEvery is how often it is recorded how much of a source is in the
	// stream. What was put since comes twice after a crash, and is counted once.
	recordEvery = time.Second
)

// source is where lines come from.
type source struct {
	origin
	from  io.ReadCloser // stands behind what is in the stream already
	left  int64         // how many lines are to come, -1 when nobody knows
	spool *os.File      // keeps what came from standard input; nil for files
}

// openSources opens the named files, "-" for standard input, or the sample when
// there are none, and with them whatever a former run left unfinished.
func openSources(ctx context.Context, t *tally, dir string, names []string) (sources []*source, err error) {
	defer func() {
		if err != nil {
			for _, s := range sources {
				s.from.Close()
			}
		}
	}()
	unfinished, err := t.unfinished(ctx)
	if err != nil {
		return nil, err
	}
	wanted := slices.Sorted(maps.Values(unfinished))
	if len(names) == 0 {
		wanted = append(wanted, sampleName)
	}
	stdin := false
	for _, name := range names {
		if name == "-" {
			stdin = true
			continue
		}
		path, err := filepath.Abs(name)
		if err != nil {
			return nil, fmt.Errorf("find %s: %w", name, err)
		}
		wanted = append(wanted, path)
	}
	opened := map[string]bool{}
	for _, name := range wanted {
		if opened[name] {
			continue
		}
		opened[name] = true
		s, err := openSource(ctx, t, name)
		if err != nil {
			return sources, err
		}
		sources = append(sources, s)
		delete(unfinished, s.id)
	}
	for _, name := range unfinished {
		return sources, fmt.Errorf("%s was being read when a former run ended, and is another file now: put the former one back, or begin with another -data directory", name)
	}
	if stdin {
		s, err := openStdin(ctx, t, dir)
		if err != nil {
			return sources, err
		}
		sources = append(sources, s)
	}
	return sources, nil
}

func openSource(ctx context.Context, t *tally, name string) (*source, error) {
	var file io.ReadSeekCloser
	if name == sampleName {
		file = readSeekNopCloser{bytes.NewReader(sampleLog)}
	} else {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		file = f
	}
	s, err := resume(ctx, t, name, file)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return s, nil
}

type readSeekNopCloser struct{ io.ReadSeeker }

func (readSeekNopCloser) Close() error { return nil }

// resume finds out how much of a file is in the stream already, and stands
// behind it.
func resume(ctx context.Context, t *tally, name string, file io.ReadSeekCloser) (*source, error) {
	head, err := readHead(file)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	o, err := t.origin(ctx, name, head, size)
	if err != nil {
		return nil, err
	}
	s := &source{origin: o, from: file}
	if s.left, err = countLines(file, o.bytes); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if _, err := file.Seek(o.bytes, io.SeekStart); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return s, nil
}

// readHead returns the beginning of a file's first line.
func readHead(file io.ReadSeeker) (string, error) {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	head := make([]byte, headBytes)
	n, err := io.ReadFull(file, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return "", err
	}
	first, _, _ := bytes.Cut(head[:n], []byte("\n"))
	return string(first), nil
}

// countLines counts the lines of a file from an offset on.
func countLines(file io.ReadSeeker, from int64) (n int64, err error) {
	if _, err := file.Seek(from, io.SeekStart); err != nil {
		return 0, err
	}
	r := bufio.NewReaderSize(file, readAhead)
	for {
		if _, _, err := readLine(r, nil); err == io.EOF {
			return n, nil
		} else if err != nil {
			return 0, err
		}
		n++
	}
}

// openStdin copies standard input into a file while it is read, so that the
// lines of a run that is killed are not lost to the next one.
func openStdin(ctx context.Context, t *tally, dir string) (*source, error) {
	spool, err := os.CreateTemp(dir, "stdin-*.log")
	if err != nil {
		return nil, fmt.Errorf("keep what comes from standard input: %w", err)
	}
	name, err := filepath.Abs(spool.Name())
	if err != nil {
		return nil, errors.Join(err, spool.Close())
	}
	o, err := t.origin(ctx, name, "", 0)
	if err != nil {
		return nil, errors.Join(err, spool.Close())
	}
	return &source{origin: o, from: spooled{io.TeeReader(os.Stdin, spool), spool}, left: -1, spool: spool}, nil
}

type spooled struct {
	io.Reader
	io.Closer
}

// feed puts every line of the source into the stream, in groups of at most that
// many lines, and calls put with the size of each.
func (s *source) feed(ctx context.Context, to stream.Putter, t *tally, group int, put func(lines int)) error {
	r := bufio.NewReaderSize(s.from, readAhead)
	recorded := time.Now()
	for {
		entries, size, readErr := s.read(r, group)
		if readErr != nil && readErr != io.EOF {
			return fmt.Errorf("read %s: %w", s.name, readErr)
		}
		if s.spool != nil { // what is put must be there for a second try
			if err := s.spool.Sync(); err != nil {
				return fmt.Errorf("keep what comes from standard input: %w", err)
			}
		}
		if len(entries) > 0 {
			results, err := to.Put(ctx, entries...)
			if err != nil {
				return fmt.Errorf("put lines of %s: %w", s.name, err)
			}
			for i, r := range results {
				if r.Err != nil {
					return fmt.Errorf("put line %d of %s: %w", s.lines+int64(i)+1, s.name, r.Err)
				}
			}
			s.lines += int64(len(entries))
			s.bytes += size
			put(len(entries))
		}
		end := readErr == io.EOF
		if end || time.Since(recorded) > recordEvery {
			s.open = !end
			if err := t.progress(ctx, s.origin); err != nil {
				return err
			}
			recorded = time.Now()
		}
		if end {
			return nil
		}
	}
}

// read reads the next group of lines: what is there, and at least one.
func (s *source) read(r *bufio.Reader, most int) (entries []stream.Entry, size int64, err error) {
	for len(entries) < most {
		text, n, err := readLine(r, make([]byte, 0, 256))
		if err != nil {
			return entries, size, err
		}
		size += n
		line := numbered{s.id, s.lines + int64(len(entries)) + 1, text}
		entries = append(entries, stream.Entry{PartitionKey: Parse(text, time.Now()).Key, Data: line.encode()})
		if r.Buffered() == 0 {
			break
		}
	}
	return entries, size, nil
}

// readLine reads one line, appends what is kept of it to text, and returns how
// many bytes it was. The last line may lack its newline.
func readLine(r *bufio.Reader, text []byte) (_ []byte, n int64, err error) {
	for {
		part, err := r.ReadSlice('\n')
		n += int64(len(part))
		part, whole := bytes.CutSuffix(part, []byte("\n"))
		text = append(text, part[:min(len(part), longestLine-len(text))]...)
		switch {
		case whole, err == io.EOF && n > 0:
			return bytes.TrimSuffix(text, []byte("\r")), n, nil
		case err != nil && err != bufio.ErrBufferFull:
			return text, n, err
		}
	}
}

// close closes the file, and removes what was kept of standard input when all
// of it is in the stream.
func (s *source) close() error {
	err := s.from.Close()
	if s.spool != nil && !s.open {
		err = errors.Join(err, os.Remove(s.name))
	}
	return err
}

// tell says how much there is to do.
func (s *source) tell() string {
	switch {
	case s.spool != nil:
		return "standard input: reading until it ends"
	case s.lines == 0:
		return fmt.Sprintf("%s: %s lines", s.name, grouped(s.left))
	case s.left == 0:
		return fmt.Sprintf("%s: nothing new; %s lines were read by a former run", s.name, grouped(s.lines))
	default:
		return fmt.Sprintf("%s: %s lines, after %s that a former run has read", s.name, grouped(s.left), grouped(s.lines))
	}
}
