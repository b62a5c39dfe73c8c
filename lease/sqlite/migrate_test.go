package sqlite

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/lease/internal/sqlstore"
)

func TestManyMayOpenANewFileAtOnce(t *testing.T) {
	for range 5 {
		path := file(t)
		errs := make([]error, 12)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() {
				s, err := Open(t.Context(), path, Config{Application: "app"})
				if err == nil {
					err = errors.Join(s.Create(t.Context(), lease.Lease{Key: fmt.Sprint(i)}), s.Close())
				}
				errs[i] = err
			})
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		s := open(t, path, Config{Application: "app"})
		rows, err := s.Read(t.Context(), "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11")
		if err != nil || len(rows) != len(errs) {
			t.Fatalf("%d rows, error %v; want one of each", len(rows), err)
		}
		var applied int
		if err := s.reads.QueryRow("SELECT count(*) FROM millrace_migration").Scan(&applied); err != nil || applied != len(migrations) {
			t.Fatalf("%d migrations were recorded, error %v; want %d", applied, err, len(migrations))
		}
	}
}

func TestAMigrationTakesPlaceOnceAndWholly(t *testing.T) {
	s := open(t, file(t), Config{Application: "app"})
	ctx := t.Context()
	if err := s.Create(ctx, lease.Lease{Key: "a"}); err != nil {
		t.Fatal(err)
	}
	next := sqlstore.Migration{Version: len(migrations) + 1, Name: "next", SQL: "CREATE TABLE next (n INTEGER); INSERT INTO next VALUES (1)"}
	broken := sqlstore.Migration{Version: next.Version + 1, Name: "broken", SQL: "INSERT INTO next VALUES (2); CREATE NONSENSE"}

	// The last step fails, so none of the missing ones takes place.
	if err := migrate(ctx, s.writes, append(migrations, next, broken)); err == nil || !strings.Contains(err.Error(), "broken") {
		t.Fatalf("got error %v, want one that names the step", err)
	}
	var tables int
	if err := s.reads.QueryRow("SELECT count(*) FROM sqlite_schema WHERE name = 'next'").Scan(&tables); err != nil || tables != 0 {
		t.Fatalf("a table is left of a migration that failed: %v", err)
	}

	for range 3 {
		if err := migrate(ctx, s.writes, append(migrations, next)); err != nil {
			t.Fatal(err)
		}
	}
	var rows int
	if err := s.reads.QueryRow("SELECT count(*) FROM next").Scan(&rows); err != nil || rows != 1 {
		t.Fatalf("the step ran %d times, error %v; want once", rows, err)
	}
	if kept, err := s.Read(ctx, "a"); err != nil || len(kept) != 1 {
		t.Fatalf("%d rows after the migration, error %v; want the one from before", len(kept), err)
	}
}

func TestTablesOfANewerProgramAreRefused(t *testing.T) {
	path := file(t)
	s := open(t, path, Config{Application: "app"})
	if _, err := s.writes.Exec(recordMigration, len(migrations)+1, "from the future"); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), path, Config{Application: "app"}); !errors.Is(err, ErrNewerSchema) {
		t.Errorf("got error %v, want %v", err, ErrNewerSchema)
	}
}

func TestAFileMayHoldTablesOfOthers(t *testing.T) {
	path := file(t)
	s := open(t, path, Config{Application: "app"})
	for _, statement := range []string{"CREATE TABLE lease (x)", "CREATE TABLE migration (x)", "PRAGMA user_version = 7"} {
		if _, err := s.writes.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	again := open(t, path, Config{Application: "app"})
	if err := again.Create(t.Context(), lease.Lease{Key: "a"}); err != nil {
		t.Fatal(err)
	}
	var version int
	if err := again.reads.QueryRow("PRAGMA user_version").Scan(&version); err != nil || version != 7 {
		t.Errorf("user_version is %d, error %v; want it left alone", version, err)
	}
	rows, err := again.reads.Query("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	if want := []string{"lease", "migration", "millrace_change", "millrace_lease", "millrace_member", "millrace_migration", "millrace_note"}; !slices.Equal(names, want) {
		t.Errorf("tables %q, want %q", names, want)
	}
}
