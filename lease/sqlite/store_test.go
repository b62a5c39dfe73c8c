package sqlite

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/lease/leasetest"
)

// open returns a store in a file of its own, which ends with the test.
func open(t testing.TB, path string, config Config) *Store {
	t.Helper()
	s, err := Open(t.Context(), path, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func file(t testing.TB) string { return filepath.Join(t.TempDir(), "leases.db") }

// pathOf returns the file that a store has open.
func pathOf(t testing.TB, s *Store) (path string) {
	t.Helper()
	if err := s.writes.QueryRowContext(t.Context(), "SELECT file FROM pragma_database_list").Scan(&path); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTheSQLiteStoreKeepsTheContract(t *testing.T) {
	config := Config{Application: "app", PollInterval: 5 * time.Millisecond}
	leasetest.Run(t,
		func(t testing.TB) lease.Store { return open(t, file(t), config) },
		leasetest.Options{
			Second: func(t testing.TB, store lease.Store) lease.Store {
				return open(t, pathOf(t, store.(*Store)), config)
			},
			Other: func(t testing.TB, store lease.Store) lease.Store {
				other := config
				other.Application = "Default" // but for its case the same
				return open(t, pathOf(t, store.(*Store)), other)
			},
			Begin: func(t testing.TB, store lease.Store) leasetest.Transaction {
				tx := begin(t, users(t, pathOf(t, store.(*Store)), url.Values{}))
				return leasetest.Transaction{
					Tx:       tx,
					Commit:   func(context.Context) error { return tx.Commit() },
					Rollback: func(context.Context) error { return tx.Rollback() },
					// It locks the whole file, and not its rows alone: what that means is
					// tried by tests of this package.
					Locks: false,
				}
			},
			Spoil: func(t testing.TB, store lease.Store, key string) {
				db := users(t, pathOf(t, store.(*Store)), url.Values{})
				if _, err := db.ExecContext(t.Context(), "UPDATE millrace_lease SET checkpoint = 'someday' WHERE key = ?", key); err != nil {
					t.Fatal(err)
				}
			},
			Reopen: func(t testing.TB, store lease.Store) lease.Store {
				path := pathOf(t, store.(*Store))
				if err := store.(*Store).Close(); err != nil {
					t.Fatal(err)
				}
				return open(t, path, config)
			},
		})
}

func TestPathsMayHoldAnyCharacter(t *testing.T) {
	for _, name := range []string{"a b.db", "what?.db", "100%.db", "#1.db", "ünï & co.db", "a;b=c.db", "file:x.db"} {
		path := filepath.Join(t.TempDir(), name)
		s := open(t, path, Config{Application: "app"})
		if err := s.Create(t.Context(), lease.Lease{Key: "a"}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := pathOf(t, s); filepath.Base(got) != name {
			t.Errorf("asked for %q, got %q", name, got)
		}
	}
}

func TestAStoreMayBeClosedTwice(t *testing.T) {
	s := open(t, file(t), Config{Application: "app"})
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Members(t.Context()); err == nil {
		t.Error("a closed store still answers")
	}
}

func TestDurabilityIsAsConfigured(t *testing.T) {
	for config, want := range map[Config]int{{Application: "app"}: 2, {Application: "app", MayForgetOnPowerCut: true}: 1} {
		s := open(t, file(t), config)
		var got int
		if err := s.writes.QueryRow("PRAGMA synchronous").Scan(&got); err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("%+v: PRAGMA synchronous is %d, want %d", config, got, want)
		}
	}
}

func TestWritersWaitForTheirTurnUntilTheirContextIsDone(t *testing.T) {
	path := file(t)
	s, other := open(t, path, Config{Application: "app"}), open(t, path, Config{Application: "app"})
	lock, err := other.writes.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Rollback()

	short, cancel := context.WithTimeout(t.Context(), 3*busyTimeout)
	defer cancel()
	if err := s.Create(short, lease.Lease{Key: "a"}); !isDeadline(err) {
		t.Errorf("create beside a writer that does not end: %v, want %v", err, context.DeadlineExceeded)
	}
	// Reads do not wait for writers.
	if _, err := s.Read(t.Context(), "a"); err != nil {
		t.Errorf("read beside a writer: %v", err)
	}

	ended := make(chan error, 1)
	go func() { ended <- s.Create(t.Context(), lease.Lease{Key: "a"}) }()
	select {
	case err := <-ended:
		t.Fatalf("create did not wait for the other writer: %v", err)
	case <-time.After(2 * busyTimeout): // SQLite itself has given up by now
	}
	if err := lock.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("create after the other writer: %v", err)
	}
}

func TestEveryQueryGoesThroughAnIndex(t *testing.T) {
	s := open(t, file(t), Config{Application: "app"})
	for _, statement := range []string{saveLease, swapLease, deleteLease, readLease, readLeases, pageOfLeases, ownedLeases, swapMember, endMember, readMember, allMembers, lastChange} {
		plan, err := planOf(t.Context(), s, statement)
		if err != nil {
			t.Errorf("%s: %v", statement, err)
		}
		for _, step := range plan {
			if scansTable(step) {
				t.Errorf("%s\nis planned as %q", statement, plan)
			}
		}
	}
}

func Example() {
	ctx := context.Background()
	dir, cleanUp := tempDir()
	defer cleanUp()

	store, err := Open(ctx, filepath.Join(dir, "leases.db"), Config{Application: "fraud"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()
	if err := store.Create(ctx, lease.Lease{Key: "shardId-0", Owner: "w1", Counter: 100}); err != nil {
		fmt.Println(err)
		return
	}
	for l, err := range store.Leases(ctx) {
		fmt.Println(l.Key, l.Owner, l.Counter, err)
	}
	// Output: shardId-0 w1 100 <nil>
}
