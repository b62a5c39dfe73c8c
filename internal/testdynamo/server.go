package testdynamo

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/millrace/millrace/internal/provide"
)

// server is an emulator as a process of this one's: it ends when its standard
// input is closed, as it is when the test binary dies.
type server struct {
	api     API
	install func(ctx context.Context) (dir string, place provide.Place, err error)
	// command is run in dir, with the address and the port to listen on as its
	// last words. Its first line of output is the port.
	command func(dir string) []string

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
		dir, place, err := s.install(ctx)
		if err == nil {
			err = s.run(dir, place)
		}
		s.err = err
	})
}

func (s *server) run(dir string, place provide.Place) error {
	port := 0 // any
	if place.Host() != loopback {
		// A container has ports of its own: the machine's has to be known before.
		var err error
		if port, err = freePort(); err != nil {
			return err
		}
	}
	s.cmd = place.Command(context.Background(), dir, port, append(s.command(dir), place.Host(), strconv.Itoa(port))...)
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
	s.api.URL = "http://" + loopback + ":" + strings.TrimSpace(line)
	return nil
}

const loopback = "127.0.0.1"

func freePort() (int, error) {
	l, err := net.Listen("tcp", loopback+":0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
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
