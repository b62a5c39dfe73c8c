package fleet

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/millrace/millrace/stream"
)

// Host has the stream, and the worker processes that read it. Its methods are
// called by one goroutine, but for the processes', which may be called by any.
type Host struct {
	dir      string
	stream   stream.Stream
	listener net.Listener
	hangUp   context.CancelFunc
	serving  sync.WaitGroup
	journals []*tail
	all      []*Process
}

// NewHost serves a stream to worker processes, whose journals and logs it keeps in
// dir.
func NewHost(dir string, s stream.Stream) (*Host, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	h := &Host{dir: dir, stream: s, listener: l, hangUp: cancel}
	h.serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			h.serving.Go(func() { serve(ctx, conn, s) })
		}
	})
	return h, nil
}

// Close kills the processes that are left, and hangs up.
func (h *Host) Close() error {
	var errs []error
	for _, p := range h.all {
		errs = append(errs, p.Kill())
	}
	h.hangUp()
	errs = append(errs, h.listener.Close())
	h.serving.Wait()
	for _, t := range h.journals {
		errs = append(errs, t.file.Close())
	}
	return errors.Join(errs...)
}

// Events returns what the processes have told since it was last called, in the
// order of its times.
func (h *Host) Events() ([]Event, error) {
	var all []Event
	for _, t := range h.journals {
		events, err := t.read()
		if err != nil {
			return nil, err
		}
		all = append(all, events...)
	}
	slices.SortStableFunc(all, func(a, b Event) int { return cmp.Compare(a.At, b.At) })
	return all, nil
}

// Start starts a worker process under a name that no other one has had.
func (h *Host) Start(name string, cfg Config) (*Process, error) {
	cfg.Application = cmp.Or(cfg.Application, "fleet")
	path := filepath.Join(h.dir, name+".journal")
	text, err := json.Marshal(order{Config: cfg, Name: name, Stream: h.listener.Addr().String(), Journal: path})
	if err != nil {
		return nil, err
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	h.journals = append(h.journals, &tail{who: name, file: file})
	p := &Process{Name: name, log: filepath.Join(h.dir, name+".log"), ended: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd = exec.Command(exe)
	p.cmd.Env = append(os.Environ(), envOrder+"="+string(text))
	p.cmd.Stdout, p.cmd.Stderr = log, log
	// The process ends when its input does, so that it does not outlive this one.
	if p.input, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	h.all = append(h.all, p)
	go func() { // ends with the process, which Kill waits for
		defer close(p.ended)
		p.err = p.cmd.Wait()
	}()
	return p, nil
}

// Process is a worker process.
type Process struct {
	Name  string
	log   string
	cmd   *exec.Cmd
	input interface{ Close() error }
	ended chan struct{}
	err   error // how it ended; read when it has
}

// Kill ends the process with SIGKILL, if it has not ended, and waits until it is gone.
func (p *Process) Kill() error {
	err := p.signal(syscall.SIGKILL)
	<-p.ended
	return err
}

// Pause stops the process where it is, until Resume.
func (p *Process) Pause() error { return p.signal(syscall.SIGSTOP) }

// Resume lets it go on.
func (p *Process) Resume() error { return p.signal(syscall.SIGCONT) }

// Stop asks the process to stop in good order, and waits until it has. Its error
// says that it did not.
func (p *Process) Stop(patience time.Duration) error {
	if err := p.signal(syscall.SIGTERM); err != nil {
		return err
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case <-p.ended:
	case <-late.C:
		_ = p.signal(syscall.SIGQUIT) // its log tells what it is doing
		<-p.ended
		return fmt.Errorf("%s has not stopped within %v; its log ends with\n%s", p.Name, patience, p.words())
	}
	status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if early := ok && status.Signal() == syscall.SIGTERM; p.err != nil && !early { // it had not begun to listen
		return fmt.Errorf("%s: %w; its log ends with\n%s", p.Name, p.err, p.words())
	}
	return nil
}

// words returns what the process told last.
func (p *Process) words() string {
	const enough = 16 << 10
	text := p.Log()
	return text[max(0, len(text)-enough):]
}

// Ended is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Log returns what the process has logged.
func (p *Process) Log() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func (p *Process) signal(s os.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}
