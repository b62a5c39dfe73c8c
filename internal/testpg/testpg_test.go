package testpg

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(Main(m)) }

func TestTestsShareAServerAndNoSchema(t *testing.T) {
	s := Shared(t)
	names := map[string]bool{}
	for range 3 {
		name := s.Schema(t)
		if names[name] {
			t.Errorf("schema %s was given twice", name)
		}
		names[name] = true
		if _, err := s.Pool(t).Exec(t.Context(), "CREATE SCHEMA "+name+"; CREATE TABLE "+name+".t (x int)"); err != nil {
			t.Error(err)
		}
	}
	if again := Shared(t); again != s {
		t.Error("a second server was started")
	}
}

func TestASchemaIsGoneWithItsTest(t *testing.T) {
	s := Shared(t)
	var name string
	t.Run("inner", func(t *testing.T) {
		name = s.Schema(t)
		if _, err := s.Pool(t).Exec(t.Context(), "CREATE SCHEMA "+name); err != nil {
			t.Fatal(err)
		}
	})
	var there bool
	err := s.Pool(t).QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", name).Scan(&there)
	if err != nil || there {
		t.Errorf("schema %s is there: %v, error %v", name, there, err)
	}
}

func TestAServerOfOnesOwnCanBeKilledAndKeepsWhatItCommitted(t *testing.T) {
	s := Start(t, "max_connections=17")
	ctx := t.Context()
	conn, err := pgx.Connect(ctx, s.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	var limit string
	if err := conn.QueryRow(ctx, "SHOW max_connections").Scan(&limit); err != nil || limit != "17" {
		t.Errorf("max_connections is %s, error %v; want the setting that was asked for", limit, err)
	}
	if _, err := conn.Exec(ctx, "CREATE TABLE kept AS SELECT 7 AS x"); err != nil {
		t.Fatal(err)
	}
	s.Kill(t)
	if err := conn.Ping(ctx); err == nil {
		t.Error("a killed server answers")
	}
	if s.cluster.answers() {
		t.Error("a killed server takes connections")
	}
	s.Resume(t)
	var kept int
	if err := s.Pool(t).QueryRow(ctx, "SELECT x FROM kept").Scan(&kept); err != nil || kept != 7 {
		t.Errorf("after the restart: got %d, error %v", kept, err)
	}
}

func TestARemovedServerLeavesNothing(t *testing.T) {
	s := Start(t)
	dir := s.cluster.dir
	if err := s.cluster.remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", dir, err)
	}
}

func TestWhatAKilledProcessLeftIsSweptAway(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	folder := func(name string) (string, *os.File) {
		dir := filepath.Join(os.TempDir(), folders+name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		lock, err := lockFolder(dir)
		if err != nil {
			t.Fatal(err)
		}
		return dir, lock
	}
	// The numbers of the processes tell nothing: they may be those of a container.
	used, lock := folder("99999999-1")
	defer lock.Close()
	left, lock := folder(fmt.Sprintf("%d-1", os.Getpid()))
	lock.Close()
	fresh := filepath.Join(os.TempDir(), folders+"99999999-2") // and not locked yet
	if err := os.Mkdir(fresh, 0o700); err != nil {
		t.Fatal(err)
	}
	sweep()
	if _, err := os.Stat(left); runtime.GOOS == "linux" && !os.IsNotExist(err) {
		t.Errorf("the folder of a process that is gone is still there: %v", err)
	}
	for _, dir := range []string{used, fresh} {
		if _, err := os.Stat(dir); err != nil {
			t.Errorf("the folder of a process that lives: %v", err)
		}
	}
}

func TestAServerThatCannotStartSaysWhy(t *testing.T) {
	_, err := findBinaries()
	need(t, err)
	_, err = start([]string{"no_such_setting=1"})
	if err == nil || !strings.Contains(err.Error(), "no_such_setting") {
		t.Errorf("got error %v, want the server's own words", err)
	}
}

// docker does what the command does with the words that it gets here, and runs the
// programs of this machine.
const docker = `#!/bin/sh
PATH=%s
case "$1" in
version) exit 0 ;;
volume) exec rm -rf %s/data ;;
esac
while [ "$1" != %s ]; do
	case "$1" in --entrypoint) program=$2 ;; esac
	shift
done
shift
for word; do
	set -- "$@" "$(echo "$word" | sed s:/var/lib/postgresql/data:%[2]s/data:)"
	shift
done
if [ "$(id -u)" = 0 ]; then
	exec setpriv --reuid=postgres --regid=postgres --clear-groups "$program" "$@"
fi
exec "$program" "$@"
`

func TestWithoutProgramsTheServerRunsInDocker(t *testing.T) {
	bin, err := findBinaries()
	if err != nil {
		t.Skipf("not tested: %v", err)
	}
	// The container's file system has to be open to the server's user.
	container, err := os.MkdirTemp("", "container-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(container) })
	if err := os.Chmod(container, 0o777); err != nil {
		t.Fatal(err)
	}
	path := t.TempDir()
	script := fmt.Sprintf(docker, bin+":"+os.Getenv("PATH"), container, image)
	if err := os.WriteFile(filepath.Join(path, "docker"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", path)
	before := debian
	t.Cleanup(func() { debian = before })
	debian = filepath.Join(path, "*/bin")

	s := Start(t)
	if s.cluster.programs.volume == "" {
		t.Fatal("the server does not run in Docker")
	}
	if _, err := s.Pool(t).Exec(t.Context(), "CREATE TABLE kept AS SELECT 7 AS x"); err != nil {
		t.Fatal(err)
	}
	s.Kill(t)
	s.Resume(t)
	var kept int
	if err := s.Pool(t).QueryRow(t.Context(), "SELECT x FROM kept").Scan(&kept); err != nil || kept != 7 {
		t.Errorf("after a crash: got %d, error %v", kept, err)
	}
	if err := s.cluster.remove(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(container, "data")); !os.IsNotExist(err) {
		t.Errorf("the volume is still there: %v", err)
	}
}

// judge is a test that notes whether it was skipped or failed.
type judge struct {
	testing.TB
	skipped, failed bool
}

func (j *judge) Helper()               {}
func (j *judge) Skipf(string, ...any)  { j.skipped = true }
func (j *judge) Fatalf(string, ...any) { j.failed = true }

func TestWithoutAServerTestsAreSkippedAndInCIFail(t *testing.T) {
	for _, c := range []struct {
		ci, need string
		fails    bool
	}{{"", "", false}, {"true", "", true}, {"", "1", true}} {
		t.Setenv("CI", c.ci)
		t.Setenv("MILLRACE_NEED_SERVICES", c.need)
		j := &judge{TB: t}
		need(j, errNoServer)
		if j.failed != c.fails || j.skipped == c.fails {
			t.Errorf("CI=%q MILLRACE_NEED_SERVICES=%q: skipped %v, failed %v", c.ci, c.need, j.skipped, j.failed)
		}
	}
}

func TestManyTestsMayAskAtOnce(t *testing.T) {
	var wg sync.WaitGroup
	servers := make([]*Server, 8)
	Shared(t) // skips here, since goroutines may not
	for i := range servers {
		wg.Go(func() { servers[i] = Shared(t) })
	}
	wg.Wait()
	for _, s := range servers {
		if s != servers[0] {
			t.Error("more than one server was started")
		}
	}
}

func TestTheProcessorTimeOfAServerGrows(t *testing.T) {
	s := Shared(t)
	before, ok := s.CPU()
	if !ok {
		t.Skip("this system does not tell, or the server is somebody else's")
	}
	if _, err := s.Pool(t).Exec(t.Context(), "SELECT count(*) FROM generate_series(1, 3000000)"); err != nil {
		t.Fatal(err)
	}
	if after, _ := s.CPU(); after <= before {
		t.Errorf("%v before and %v after some work", before, after)
	}
}
