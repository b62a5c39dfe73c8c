package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// program is the example, built once.
var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "logaggregation")
	if err != nil {
		panic(err)
	}
	program = filepath.Join(dir, "logaggregation")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		panic(fmt.Sprintf("%v\n%s", err, out))
	}
	code := m.Run()
	os.RemoveAll(dir)
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

func newCommand(t *testing.T, data string, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return exec.CommandContext(ctx, program, append([]string{"-data", data}, args...)...)
}

// runProgram runs the example to its end and checks that its totals are those
// wanted.
func runProgram(t *testing.T, stdin io.Reader, data string, want int, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	c := newCommand(t, data, args...)
	c.Stdin, c.Stdout, c.Stderr = stdin, &out, &err
	if failure := c.Run(); failure != nil {
		t.Fatalf("%v\n%s\n%s", failure, &err, &out)
	}
	checkTotals(t, out.String(), want)
	return out.String(), err.String()
}

var total = regexp.MustCompile(`(?m)^ +total +([0-9,]+)$`)

func checkTotals(t *testing.T, out string, want int) {
	t.Helper()
	number := grouped(int64(want))
	if proof := fmt.Sprintf("lines in %s = lines counted %s\n", number, number); !strings.Contains(out, proof) {
		t.Fatalf("%q is not in\n%s", proof, out)
	}
	last := total.FindStringSubmatch(out)
	if last == nil || last[1] != number {
		t.Fatalf("the table's total is %v, want %s\n%s", last, number, out)
	}
}

func sampleLines() int { return bytes.Count(sampleLog, []byte("\n")) }

func TestEveryLineOfTheSampleIsCounted(t *testing.T) {
	data := t.TempDir()
	out, _ := runProgram(t, nil, data, sampleLines())
	for _, want := range []string{"access log: lines by minute and status", "syslog: lines by minute and level", "unknown"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	_, told := runProgram(t, nil, data, sampleLines(), "-kill")
	if !strings.Contains(told, "nothing new") || !strings.Contains(told, "nobody is killed") {
		t.Errorf("a second run, with -kill, says\n%s", told)
	}
}

func TestEveryLineIsCountedWhenAWorkerIsKilled(t *testing.T) {
	out, told := runProgram(t, nil, t.TempDir(), sampleLines(), "-kill")
	if !regexp.MustCompile(`worker-[123] was killed`).MatchString(told) {
		t.Errorf("no worker was killed:\n%s", told)
	}
	if !strings.Contains(out, "came again and were not counted again") {
		t.Errorf("nothing came again:\n%s", out)
	}
}

func TestFilesAndStandardInputAreCounted(t *testing.T) {
	data, dir := t.TempDir(), t.TempDir()
	file := filepath.Join(dir, "dpkg.log")
	write(t, file, strings.Repeat("2026-11-01 06:12:01 status installed libc6:amd64 2.36-9\n", 700))
	out, _ := runProgram(t, nil, data, 700, file)
	if !strings.Contains(out, "dpkg.log: lines by minute and action") {
		t.Errorf("no table of dpkg.log in\n%s", out)
	}
	runProgram(t, strings.NewReader("one\ntwo\nthree"), data, 703, "-")
	runProgram(t, strings.NewReader("one\ntwo\nthree"), data, 706, "-", file)
	if left, _ := filepath.Glob(filepath.Join(data, "stdin-*")); len(left) > 0 {
		t.Errorf("copies of standard input are left: %v", left)
	}
}

// TestAKilledRunIsFinishedByTheNext kills the whole program, with -9, several
// times while it works.
func TestAKilledRunIsFinishedByTheNext(t *testing.T) {
	const lines, kills = 60_000, 4
	data, dir := t.TempDir(), t.TempDir()
	file := filepath.Join(dir, "access.log")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(f)
	for i := range lines {
		fmt.Fprintf(w, "192.0.2.%d - - [20/Nov/2026:06:%02d:03 +0000] \"GET /%d HTTP/2.0\" %d 1\n", i%200, i/5%60, i, 200+i%3)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	halfWay := 0
	for i := range kills {
		if counted := killHalfWay(t, data, file, i); counted > 0 && counted < lines {
			halfWay++
		}
	}
	if halfWay == 0 {
		t.Error("no kill came half-way")
	}
	runProgram(t, nil, data, lines, file)
}

// killHalfWay runs the example until more lines are counted than before, a
// little longer each round, kills it, and returns how many lines are counted.
func killHalfWay(t *testing.T, data, file string, round int) (counted int64) {
	t.Helper()
	tl, err := openTally(t.Context(), filepath.Join(data, "tally.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer tl.close()
	_, before, err := tl.totals(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := newCommand(t, data, file)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for more := 0; more <= 3*round; {
		select {
		case <-tick.C:
		case err := <-ended:
			t.Logf("round %d ended before it was killed: %v", round, err)
			return 0
		}
		if _, counted, err = tl.totals(t.Context()); err != nil {
			t.Fatal(err)
		}
		if counted > before {
			more++
		}
	}
	c.Process.Kill()
	<-ended
	if _, counted, err = tl.totals(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("round %d: killed when %d lines were counted", round, counted)
	return counted
}
