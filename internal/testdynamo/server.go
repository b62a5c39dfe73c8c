package testdynamo

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// server is an emulator as a process of this one's: it ends when its standard
// input is closed, as it is when the test binary dies.
type server struct {
	api     API
	install func(ctx context.Context) (dir string, err error)
	command func(dir string) []string // run in dir; its first line of output is the port

	once   sync.Once
	err    error // why it does not run
	cmd    *exec.Cmd
	stdin  io.Closer
	stderr bytes.Buffer // read when the process has ended
}

const (
	// patience is how long an installation may take: some seconds, where the
	// packages are near.
	patience = 4 * time.Minute
	// startup is how long the first line may take: half a second, on a machine
	// that is not busy.
	startup = time.Minute
)

// start installs and starts the server, the first time that it is called.
func (s *server) start() {
	s.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		dir, err := s.install(ctx)
		if err == nil {
			err = s.run(dir)
		}
		s.err = err
	})
}

func (s *server) run(dir string) error {
	words := s.command(dir)
	s.cmd = exec.Command(words[0], words[1:]...)
	s.cmd.Dir = dir
	s.cmd.Stderr = &s.stderr
	stdin, err := s.cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := s.cmd.Start(); err != nil {
		s.cmd = nil
		return err
	}
	s.stdin = stdin
	late := time.AfterFunc(startup, func() { _ = s.cmd.Process.Kill() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	late.Stop()
	if err != nil {
		s.stop()
		return fmt.Errorf("it does not start: %w: %s", err, s.stderr.String())
	}
	s.api.URL = "http://127.0.0.1:" + strings.TrimSpace(line)
	return nil
}

// stop ends the server, if it runs.
func (s *server) stop() {
	if s.cmd == nil {
		return
	}
	_ = s.stdin.Close()
	late := time.AfterFunc(10*time.Second, func() { _ = s.cmd.Process.Kill() })
	defer late.Stop()
	if err := s.cmd.Wait(); err != nil { // it did not end when it was told to, but before
		fmt.Fprintf(os.Stderr, "%s: %v\n%s", s.api.Name, err, &s.stderr)
	}
	s.cmd = nil
}
