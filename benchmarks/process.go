package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/millrace/millrace/internal/cli"
)

// Servers that are measured run in processes of their own, so that what they take
// is not mixed up with what their clients take. Those of ours are this program,
// started again with a role.

const roleVariable = "MILLRACE_BENCHMARK_ROLE"

// Roles of this program.
const (
	millraceRole = "millrace" // the command, with its arguments
	answersRole  = "answers"  // an endpoint whose answers are made in advance
)

// playRole does not return where this process was started to play a role.
func playRole() {
	role := os.Getenv(roleVariable)
	if role == "" {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, gone := context.WithCancel(ctx)
	go func() { // until the process ends
		_, _ = io.Copy(io.Discard, os.Stdin)
		gone() // who started it has ended
	}()
	code := 0
	switch role {
	case millraceRole:
		code = cli.Run(ctx, os.Args[1:], cli.Process())
	case answersRole:
		if err := serveAnswers(ctx, os.Args[1:], os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	default:
		fmt.Fprintf(os.Stderr, "%s is %q: there is no such role\n", roleVariable, role)
		code = 2
	}
	stop()
	os.Exit(code)
}

// inRole is this program as a process in a role.
func inRole(role string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	return cmd
}

// process is a server that is measured.
type process struct {
	url    string
	cmd    *exec.Cmd
	stdin  io.Closer
	stderr bytes.Buffer // read when the process has ended
	read   chan struct{}
}

var urlForm = regexp.MustCompile(`http://127\.0\.0\.1:[0-9]+`)

// startTime is how long a process may take until it names its URL.
const startTime = time.Minute

// startProcess starts a server, and returns when it has printed its URL.
func startProcess(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, read: make(chan struct{})}
	cmd.Stderr = &p.stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p.stdin = stdin
	late := time.AfterFunc(startTime, func() { _ = cmd.Process.Kill() })
	lines := bufio.NewScanner(stdout)
	for p.url == "" && lines.Scan() {
		p.url = urlForm.FindString(lines.Text())
	}
	late.Stop()
	go func() { // until the process ends, for which stop waits
		defer close(p.read)
		_, _ = io.Copy(io.Discard, stdout)
	}()
	if p.url == "" {
		if err = p.stop(); err == nil {
			err = fmt.Errorf("it has ended: %s", &p.stderr)
		}
		return nil, fmt.Errorf("%s does not start: %w", cmd.Args[0], err)
	}
	return p, nil
}

// stop ends it by the end of its standard input, and by force if that is not enough.
func (p *process) stop() error {
	_ = p.stdin.Close()
	late := time.AfterFunc(20*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer late.Stop()
	<-p.read
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w: %s", p.cmd.Args[0], err, &p.stderr)
	}
	return nil
}

// ticks are what Linux counts CPU time in for programs: USER_HZ.
const ticks = 100

// cpuTime is the user and system time that the process has taken, to 10 ms.
func (p *process) cpuTime() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), ") ") // behind the name, which may have spaces
	fields := strings.Fields(rest)
	const user, system = 11, 12
	if len(fields) <= system {
		return 0, fmt.Errorf("/proc/%d/stat: %q", p.cmd.Process.Pid, text)
	}
	var sum int64
	for _, f := range fields[user : system+1] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return time.Duration(sum) * time.Second / ticks, nil
}

var residentForm = regexp.MustCompile(`(?m)^VmRSS:\s+([0-9]+) kB$`)

// resident is the memory that the process holds, in bytes.
func (p *process) resident() (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	m := residentForm.FindSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("/proc/%d/status does not tell VmRSS", p.cmd.Process.Pid)
	}
	kib, err := strconv.Atoi(string(m[1]))
	return kib << 10, err
}

// haveProc says, by an error, that other processes cannot be measured here.
func haveProc() error {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		return fmt.Errorf("what other processes take is known on Linux alone: %w", err)
	}
	return nil
}

// serve starts "millrace serve" on a folder, with a stream.
func serve(dir, name string, shards int) (*process, error) {
	return startProcess(inRole(millraceRole, "serve", "-data", dir, "-listen", "127.0.0.1:0",
		"-log-level", "error", "-create", fmt.Sprintf("%s:%d", name, shards)))
}
