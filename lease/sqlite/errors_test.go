package sqlite

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/lease"
)

func TestOpenRefusesWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "notes.txt")
	if err := os.WriteFile(text, bytes.Repeat([]byte("not a database\n"), 100), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, path string
		config     Config
		is         error  // nil: any
		says       string // part of the message that names the fix
	}{
		{"no path", "", Config{Application: "app"}, nil, "lease.NewMemory"},
		{"memory", ":memory:", Config{Application: "app"}, nil, "lease.NewMemory"},
		{"missing directory", filepath.Join(dir, "missing", "leases.db"), Config{Application: "app"}, fs.ErrNotExist, "create it"},
		{"a file for a directory", filepath.Join(text, "leases.db"), Config{Application: "app"}, nil, "directory"},
		{"a directory", dir, Config{Application: "app"}, nil, "give the path of a file"},
		{"another file", text, Config{Application: "app"}, ErrNotDatabase, "give another path"},
		{"poll interval", filepath.Join(dir, "a.db"), Config{Application: "app", PollInterval: -time.Second}, nil, "Config.PollInterval"},
		{"hasty poll interval", filepath.Join(dir, "a.db"), Config{Application: "app", PollInterval: time.Microsecond}, nil, "1ms or more"},
	} {
		s, err := Open(t.Context(), c.path, c.config)
		if err == nil {
			s.Close()
			t.Errorf("%s: opened", c.name)
			continue
		}
		if c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) || !strings.HasPrefix(err.Error(), "sqlite: ") {
			t.Errorf("%s: got error %q, want one that is %v and says %q", c.name, err, c.is, c.says)
		}
	}
	if left, err := os.ReadFile(text); err != nil || !bytes.HasPrefix(left, []byte("not a database")) {
		t.Errorf("the file that was no database was written to: %q, %v", left[:20], err)
	}
	if _, err := os.Stat(filepath.Join(dir, "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the missing directory was made: %v", err)
	}
}

func TestAFileThatCannotBeWrittenIsSaidToBe(t *testing.T) {
	path := file(t)
	open(t, path, Config{Application: "app"})
	s := newStore(Config{Application: "default"})
	t.Cleanup(func() { s.Close() })
	var err error
	// The way in which SQLite itself is told that a file is read-only: file
	// permissions would not keep a superuser out.
	if s.writes, err = connect(path, url.Values{"mode": {"ro"}}); err != nil {
		t.Fatal(err)
	}
	if s.reads, err = connect(path, url.Values{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Create(t.Context(), lease.Lease{Key: "a"}); !errors.Is(err, ErrReadOnly) {
		t.Errorf("create: got error %v, want %v", err, ErrReadOnly)
	}
	if _, err := s.SwapMember(t.Context(), lease.Member{}, lease.Member{Incarnation: "w"}); !errors.Is(err, ErrReadOnly) {
		t.Errorf("join: got error %v, want %v", err, ErrReadOnly)
	}
}

func TestAFullDiskIsSaidToBeAndLeavesAllAsItWas(t *testing.T) {
	s := open(t, file(t), Config{Application: "app"})
	ctx := t.Context()
	row := lease.Lease{Key: "a", Counter: 1}
	if err := s.Create(ctx, row); err != nil {
		t.Fatal(err)
	}
	var pages int
	if err := s.writes.QueryRow("PRAGMA page_count").Scan(&pages); err != nil {
		t.Fatal(err)
	}
	limit := func(pages int) {
		var now int
		if err := s.writes.QueryRow("PRAGMA max_page_count = " + strconv.Itoa(pages)).Scan(&now); err != nil || now != pages {
			t.Fatalf("max_page_count is %d, error %v", now, err)
		}
	}
	limit(pages)
	next := row
	next.Checkpoint.Progress = make([]byte, 1<<20)
	if got, err := s.Swap(ctx, row, next); !errors.Is(err, ErrDiskFull) {
		t.Errorf("swap: got counter %d and error %v, want %v", got.Counter, err, ErrDiskFull)
	}
	big := lease.Lease{Key: "b"}
	big.Checkpoint.Progress = next.Checkpoint.Progress
	if err := s.Create(ctx, lease.Lease{Key: "c"}, big); !errors.Is(err, ErrDiskFull) {
		t.Errorf("create: got error %v, want %v", err, ErrDiskFull)
	}
	rows, err := s.Read(ctx, "a", "b", "c")
	if err != nil || len(rows) != 1 || rows[0].Counter != 1 {
		t.Errorf("after refused writes: %d rows, error %v; want the one from before", len(rows), err)
	}
	limit(pages + 1000)
	if _, err := s.Swap(ctx, row, next); err != nil {
		t.Errorf("swap when there is space again: %v", err)
	}
}

func TestARowThatWasSpoiledIsNamed(t *testing.T) {
	s := open(t, file(t), Config{Application: "app"})
	ctx := t.Context()
	for column, value := range map[string]string{
		"checkpoint": "AFTER:x", "pending": "nowhere", "hash_start": "-1", "hash_end": "", "parents": "[", "children": "{}",
	} {
		row := lease.Lease{Key: "spoiled " + column, Counter: 1}
		if err := s.Create(ctx, row); err != nil {
			t.Fatal(err)
		}
		if _, err := s.writes.Exec("UPDATE millrace_lease SET "+column+" = ?1 WHERE key = ?2", value, row.Key); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Read(ctx, row.Key); err == nil || !strings.Contains(err.Error(), column) || !strings.Contains(err.Error(), row.Key) {
			t.Errorf("%s: got error %v, want one that names row and column", column, err)
		}
		// A swap that does not look at it may replace it.
		if _, err := s.Swap(ctx, row, row); err != nil {
			t.Errorf("%s: swap: %v", column, err)
		}
	}
}

func TestAnErrorOfAContextIsItsCause(t *testing.T) {
	s := open(t, file(t), Config{Application: "app"})
	stopped := errors.New("stopped by hand")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stopped)
	if _, err := s.Read(ctx, "a"); !errors.Is(err, stopped) {
		t.Errorf("got error %v, want %v", err, stopped)
	}
}
