package testpg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// patience is how long a server may take to start, to stop or to answer. They
// take a second; a machine that is busy with all tests at once, several.
const patience = time.Minute

// installing is how long it may take until there is a server: some seconds, where
// the packages are near, and as long as another process takes that came first.
const installing = 4 * time.Minute

// cluster is a throw-away server: a folder, and the process that works in it.
type cluster struct {
	programs programs
	dir      string
	port     int
	settings []string
	lock     *os.File // held for as long as the folder is in use

	process *os.Process   // nil while the server is down
	ended   chan struct{} // closed when the process is gone
}

// newCluster makes the folder and starts the server.
func newCluster(settings []string) (_ *cluster, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), installing)
	defer cancel()
	programs, err := find(ctx)
	if err != nil {
		return nil, err
	}
	c := &cluster{programs: programs, settings: settings}
	sweep()
	if c.dir, err = os.MkdirTemp("", fmt.Sprintf("%s%d-", folders, os.Getpid())); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.remove())
		}
	}()
	if c.lock, err = lockFolder(c.dir); err != nil {
		return nil, err
	}
	if user := programs.user; user != nil {
		if err := os.Chown(c.dir, user.uid, user.gid); err != nil {
			return nil, err
		}
	}
	initdb := c.command("initdb", "-D", c.data(), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	if programs.volume != "" {
		// To the server in a container we come from its network's gateway.
		hba := c.command("sh", "-c", "echo host all all all trust >> "+c.data()+"/pg_hba.conf")
		if out, err := hba.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("pg_hba.conf: %w\n%s", err, out)
		}
	}
	// Somebody else may take a free port before the server does.
	for range 5 {
		if c.port, err = freePort(); err != nil {
			return nil, err
		}
		if err = c.run(); !errors.Is(err, errEnded) {
			break
		}
	}
	return c, err
}

// folders is how the folders begin; the process that made one comes next.
const folders = "millrace-postgres-"

// lockFile is the file of a folder that is locked while somebody uses it.
const lockFile = "lock"

// lockFolder locks a folder. It gets its lock file when that is locked.
func lockFolder(dir string) (*os.File, error) {
	file, err := os.CreateTemp(dir, lockFile)
	if err != nil {
		return nil, err
	}
	tryLock(file)
	return file, os.Rename(file.Name(), filepath.Join(dir, lockFile))
}

// sweep deletes the folders that processes left which were killed, wherever they
// ran: in a container that shares the folder of temporary files nobody knows the
// numbers of the others' processes, and a lock ends with its process all the same.
func sweep() {
	left, err := filepath.Glob(filepath.Join(os.TempDir(), folders+"*-*", lockFile))
	if err != nil {
		return
	}
	for _, path := range left {
		file, err := os.Open(path)
		if err != nil {
			continue
		}
		if tryLock(file) {
			_ = os.RemoveAll(filepath.Dir(path)) // or the next one does
		}
		_ = file.Close()
	}
}

// follow lets the server, which is down, be a standby when it is started again.
func (c *cluster) follow() error {
	touch := c.command("touch", filepath.Join(c.data(), "standby.signal"))
	if c.programs.volume == "" {
		touch = exec.Command("touch", touch.Args[1:]...)
		touch.SysProcAttr = attributes(c.programs.user)
	}
	if out, err := touch.CombinedOutput(); err != nil {
		return fmt.Errorf("standby.signal: %w\n%s", err, out)
	}
	return nil
}

func (c *cluster) data() string {
	if c.programs.volume != "" {
		return "/var/lib/postgresql/data" // in the container
	}
	return filepath.Join(c.dir, "data")
}

func (c *cluster) log() string { return filepath.Join(c.dir, "log") }

func (c *cluster) url() string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", c.port)
}

// command is one of PostgreSQL's programs, run as the right user. It ends with
// this process, where the system can see to that: docker passes the signal on to
// its container.
func (c *cluster) command(name string, args ...string) *exec.Cmd {
	words := []string{filepath.Join(c.programs.dir, name)}
	if volume := c.programs.volume; volume != "" {
		words = []string{"docker", "run", "--rm", "--user", "postgres", "--entrypoint", name, "-v", volume + ":" + c.data()}
		if name == "postgres" {
			words = append(words, "-p", fmt.Sprintf("127.0.0.1:%d:%[1]d", c.port))
		}
		words = append(words, image)
	}
	cmd := exec.Command(words[0], append(words[1:], args...)...)
	cmd.Dir = c.dir
	cmd.SysProcAttr = attributes(c.programs.user)
	return cmd
}

var errEnded = errors.New("the server ended at once")

// run starts the server and returns when it answers.
func (c *cluster) run() error {
	log, err := os.OpenFile(c.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	args := []string{"-D", c.data(), "-p", strconv.Itoa(c.port)}
	listen := "127.0.0.1"
	if c.programs.volume != "" {
		listen = "*" // of the container, of which one port is given to the machine's loopback
	}
	for _, setting := range slices.Concat([]string{
		"fsync=off", "listen_addresses=" + listen, "unix_socket_directories=", "max_connections=200",
		"shared_buffers=32MB", "max_wal_size=256MB",
	}, c.settings) {
		args = append(args, "-c", setting)
	}
	cmd := c.command("postgres", args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	c.process, c.ended = cmd.Process, make(chan struct{})
	go func() { // ends with the process, which kill waits for
		defer close(c.ended)
		_ = cmd.Wait() // how it ended is in its log
	}()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for !c.answers() {
		select {
		case <-again.C:
		case <-c.ended:
			return fmt.Errorf("%w:\n%s", errEnded, c.words())
		case <-deadline.C:
			return errors.Join(fmt.Errorf("the server did not answer within %v:\n%s", patience, c.words()), c.kill())
		}
	}
	return nil
}

// answers reports whether the server takes connections.
func (c *cluster) answers() bool {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.url())
	if err != nil {
		return false
	}
	_ = conn.Close(ctx)
	return true
}

// words returns what the server said.
func (c *cluster) words() []byte {
	text, _ := os.ReadFile(c.log())
	return bytes.TrimSpace(text)
}

// kill ends the server at once, connections and all, and waits until it is
// gone. PostgreSQL takes SIGQUIT for a crash: it leaves everything as it is, and
// recovers when it is started again. (SIGKILL would leave its children behind.)
func (c *cluster) kill() error {
	if c.process == nil {
		return nil
	}
	if err := c.process.Signal(syscall.SIGQUIT); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-c.ended
	c.process = nil
	return nil
}

// remove ends the server and deletes what it wrote.
func (c *cluster) remove() error {
	err := errors.Join(c.kill(), os.RemoveAll(c.dir))
	if volume := c.programs.volume; volume != "" {
		err = errors.Join(err, exec.Command("docker", "volume", "rm", "-f", volume).Run())
	}
	if c.lock != nil {
		err = errors.Join(err, c.lock.Close())
		c.lock = nil // who removes it twice finds nothing
	}
	return err
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
