package testpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A Server is a PostgreSQL server that tests may use.
type Server struct {
	url     string
	cluster *cluster // nil when the server was given by address
}

// shared is the server of this test binary.
var shared struct {
	once   sync.Once
	server *Server
	err    error
}

// Shared returns the server of this test binary, started by whoever asks
// first. The binary's TestMain has to run its tests by [Main].
func Shared(tb testing.TB) *Server {
	tb.Helper()
	shared.once.Do(func() {
		if url := os.Getenv("MILLRACE_POSTGRES"); url != "" {
			shared.server, shared.err = given(url)
		} else {
			shared.server, shared.err = start(nil)
		}
	})
	need(tb, shared.err)
	return shared.server
}

// Main runs the tests of a test binary and then ends the server that [Shared]
// started:
//
//	func TestMain(m *testing.M) { goleak.VerifyTestMain(testpg.Main(m)) }
//	func TestMain(m *testing.M) { os.Exit(testpg.Main(m).Run()) }
func Main(m *testing.M) Tests { return Tests{m} }

// Tests are those of a test binary.
type Tests struct{ m *testing.M }

// Run runs the tests, ends the server, and returns the exit code.
func (t Tests) Run() (code int) {
	code = t.m.Run()
	if s := shared.server; s != nil && s.cluster != nil {
		if err := s.cluster.remove(); err != nil {
			fmt.Fprintln(os.Stderr, "PostgreSQL for tests:", err)
			code = max(code, 1)
		}
	}
	return code
}

// Start starts a server for one test alone, with further settings as postgres
// takes them after -c ("max_connections=20"); it ends with the test.
func Start(tb testing.TB, settings ...string) *Server {
	tb.Helper()
	s, err := start(settings)
	need(tb, err)
	tb.Cleanup(func() {
		if err := s.cluster.remove(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

// Open starts a server for a program that is no test, or takes the one that is given
// by address; stop ends it.
func Open(settings ...string) (s *Server, stop func() error, err error) {
	if url := os.Getenv("MILLRACE_POSTGRES"); url != "" {
		s, err = given(url)
		return s, func() error { return nil }, err
	}
	if s, err = start(settings); err != nil {
		return nil, nil, err
	}
	return s, s.cluster.remove, nil
}

func start(settings []string) (*Server, error) {
	c, err := newCluster(settings)
	if err != nil {
		return nil, err
	}
	return &Server{url: c.url(), cluster: c}, nil
}

// given checks that a server whose address was given answers.
func given(url string) (*Server, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, fmt.Errorf("the server that MILLRACE_POSTGRES names does not answer: %w", err)
	}
	return &Server{url: url}, conn.Close(ctx)
}

// need skips the test for want of a server, or fails it where one has to be
// there. Whatever else went wrong fails it anywhere.
func need(tb testing.TB, err error) {
	tb.Helper()
	switch {
	case err == nil:
	case errors.Is(err, errNoServer) && os.Getenv("CI") == "" && os.Getenv("MILLRACE_NEED_SERVICES") == "":
		tb.Skipf("not tested: %v", err)
	default:
		tb.Fatalf("PostgreSQL for tests: %v", err)
	}
}

// URL is the address of the server's database for tests.
func (s *Server) URL() string { return s.url }

var schemas atomic.Int64

// Schema returns the name of a schema that nobody else uses. It is dropped
// with all that is in it when the test ends; to create it is left to the test.
func (s *Server) Schema(tb testing.TB) string {
	tb.Helper()
	name := fmt.Sprintf("test_%d_%d", os.Getpid(), schemas.Add(1))
	tb.Cleanup(func() {
		s.exec(tb, "SET client_min_messages = warning; DROP SCHEMA IF EXISTS "+name+" CASCADE")
	})
	return name
}

func (s *Server) exec(tb testing.TB, statements string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.url)
	if err != nil {
		tb.Errorf("connect to PostgreSQL: %v", err)
		return
	}
	defer conn.Close(ctx)
	if _, err := conn.PgConn().Exec(ctx, statements).ReadAll(); err != nil {
		tb.Errorf("%s: %v", statements, err)
	}
}

// Pool returns connections to the server, which are closed when the test ends.
// Each change is made to their configuration before.
func (s *Server) Pool(tb testing.TB, changes ...func(*pgxpool.Config)) *pgxpool.Pool {
	tb.Helper()
	config, err := pgxpool.ParseConfig(s.url)
	if err != nil {
		tb.Fatal(err)
	}
	for _, change := range changes {
		change(config)
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(pool.Close)
	return pool
}

// Kill ends the server as a crash would, in the middle of whatever it does.
// Only a server of [Start] can be killed. [Server.Resume] starts it again.
func (s *Server) Kill(tb testing.TB) {
	tb.Helper()
	if err := s.cluster.kill(); err != nil {
		tb.Fatal(err)
	}
}

// Resume starts a killed server again, on the same address and data, and waits
// until it answers.
func (s *Server) Resume(tb testing.TB) {
	tb.Helper()
	if err := s.cluster.run(); err != nil {
		tb.Fatal(err)
	}
}

// Standby makes the server one that follows another one, which is not there: it
// shows what it has, and takes no writes, until it is promoted (pg_promote). Only
// a server of [Start] can be made one.
func (s *Server) Standby(tb testing.TB) {
	tb.Helper()
	s.Kill(tb)
	if err := s.cluster.follow(); err != nil {
		tb.Fatal(err)
	}
	s.Resume(tb)
}

// CPU returns the processor time that the server and all its connections have
// used so far, where the system can tell; a server that was given by address
// cannot be asked.
func (s *Server) CPU() (used time.Duration, ok bool) {
	if s.cluster == nil || s.cluster.process == nil {
		return 0, false
	}
	return cpuOfFamily(s.cluster.process.Pid)
}
