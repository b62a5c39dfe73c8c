package cli

import (
	"bytes"
	"context"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shell runs commands in this process.
type shell struct {
	t   *testing.T
	env map[string]string
}

func newShell(t *testing.T) *shell {
	t.Helper()
	// Nothing of the machine's own counts.
	for _, name := range []string{"AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_KINESIS", "AWS_CA_BUNDLE"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", t.TempDir()+"/none")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", t.TempDir()+"/none")
	return &shell{t: t, env: map[string]string{}}
}

func (s *shell) getenv(name string) string { return s.env[name] }

// answer is what a command left behind.
type answer struct {
	exit     int
	out, err string
}

// run runs a command, with a text as its input.
func (s *shell) run(in string, args ...string) answer {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.t.Context()), time.Minute)
	defer cancel()
	var out, err bytes.Buffer
	exit := Run(ctx, args, IO{In: strings.NewReader(in), Out: &out, Err: &err, Getenv: s.getenv})
	return answer{exit, out.String(), err.String()}
}

// ok runs a command that has to succeed, and returns what it said.
func (s *shell) ok(in string, args ...string) string {
	s.t.Helper()
	a := s.run(in, args...)
	if a.exit != 0 {
		s.t.Fatalf("millrace %s: exit %d\n%s%s", strings.Join(args, " "), a.exit, a.out, a.err)
	}
	return a.out
}

// fails runs a command that has to fail in one way, and say these words.
func (s *shell) fails(exit int, words string, args ...string) {
	s.t.Helper()
	if a := s.run("", args...); a.exit != exit || !strings.Contains(a.err, words) {
		s.t.Errorf("millrace %s: exit %d, %q; want %d, and %q", strings.Join(args, " "), a.exit, a.err, exit, words)
	}
}

// job is a command that goes on.
type job struct {
	t    *testing.T
	out  *growing
	err  *growing
	stop context.CancelFunc
	done chan int
}

// start starts a command, and ends it with the test.
func (s *shell) start(in io.Reader, args ...string) *job {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.t.Context()))
	j := &job{s.t, newGrowing(), newGrowing(), cancel, make(chan int, 1)}
	go func() {
		exit := Run(ctx, args, IO{In: in, Out: j.out, Err: j.err, Getenv: s.getenv})
		j.out.close()
		j.done <- exit
	}()
	s.t.Cleanup(func() { j.end() })
	return j
}

// end interrupts the command and returns its exit code. It may be called again.
func (j *job) end() int {
	j.t.Helper()
	j.stop()
	return j.wait()
}

func (j *job) wait() int {
	j.t.Helper()
	select {
	case exit := <-j.done:
		j.done <- exit
		return exit
	case <-time.After(time.Minute):
		j.t.Fatal("the command does not end: " + j.err.String())
		return -1
	}
}

// growing is an output that can be waited for.
type growing struct {
	mu      sync.Mutex
	text    strings.Builder
	closed  bool
	changed chan struct{}
}

func newGrowing() *growing { return &growing{changed: make(chan struct{})} }

func (g *growing) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.text.Write(p)
	g.wake()
	return len(p), nil
}

func (g *growing) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	g.wake()
}

func (g *growing) wake() {
	close(g.changed)
	g.changed = make(chan struct{})
}

func (g *growing) String() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.text.String()
}

// await waits until the output is so.
func (j *job) await(so func(text string) bool) string {
	j.t.Helper()
	timeout := time.After(time.Minute)
	for {
		j.out.mu.Lock()
		text, closed, changed := j.out.text.String(), j.out.closed, j.out.changed
		j.out.mu.Unlock()
		if so(text) {
			return text
		}
		if closed {
			j.t.Fatalf("the command ended, having said %q and %q", text, j.err.String())
		}
		select {
		case <-changed:
		case <-timeout:
			j.t.Fatalf("so far it said %q and %q", text, j.err.String())
		}
	}
}

func (j *job) awaitText(part string) string {
	j.t.Helper()
	return j.await(func(text string) bool { return strings.Contains(text, part) })
}

// awaitLines waits for so many lines, and returns them.
func (j *job) awaitLines(n int) []string {
	j.t.Helper()
	text := j.await(func(text string) bool { return strings.Count(text, "\n") >= n })
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}
