package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/millrace/millrace/internal/testpg"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/lease/internal/sqlstore"
)

// applied returns how many migrations the schema says it has.
func applied(t *testing.T, s *Store) (n int) {
	t.Helper()
	if err := s.pool.QueryRow(t.Context(), qualified("SELECT count(*) FROM millrace_migration", s.schema)).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestManyWorkersMayMigrateAtOnceAndAgain(t *testing.T) {
	server := testpg.Shared(t)
	pools := map[string]func(*pgxpool.Config){"Serializable": func(c *pgxpool.Config) {
		c.ConnConfig.RuntimeParams["default_transaction_isolation"] = "serializable"
	}}
	for name, mode := range modes {
		pools[name] = in(mode)
	}
	for name, pool := range pools {
		t.Run(name, func(t *testing.T) {
			schema := server.Schema(t)
			errs := make([]error, 10)
			var wg sync.WaitGroup
			for i := range errs {
				s := beside(t, server, Config{Application: "app", Schema: schema}, pool)
				wg.Go(func() {
					for range 2 {
						errs[i] = errors.Join(errs[i], s.Migrate(t.Context()))
					}
					errs[i] = errors.Join(errs[i], s.Create(t.Context(), lease.Lease{Key: fmt.Sprint(i)}))
				})
			}
			wg.Wait()
			if err := errors.Join(errs...); err != nil {
				t.Fatal(err)
			}
			s := beside(t, server, Config{Application: "app", Schema: schema}, pool)
			rows, err := s.Read(t.Context(), "0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
			if err != nil || len(rows) != len(errs) {
				t.Errorf("%d rows, error %v; want one of each", len(rows), err)
			}
			if n := applied(t, s); n != len(migrations) {
				t.Errorf("%d migrations were recorded, want %d", n, len(migrations))
			}
		})
	}
}

func TestAMigrationTakesPlaceOnceAndWholly(t *testing.T) {
	s := open(t, testpg.Shared(t), Config{Application: "app"})
	ctx := t.Context()
	if err := s.Create(ctx, lease.Lease{Key: "a"}); err != nil {
		t.Fatal(err)
	}
	next := sqlstore.Migration{Version: len(migrations) + 1, Name: "next", SQL: "CREATE TABLE next (n integer); INSERT INTO next VALUES (1);"}
	broken := sqlstore.Migration{Version: next.Version + 1, Name: "broken", SQL: "INSERT INTO next VALUES (2); CREATE NONSENSE;"}

	// The last step fails, so none of the missing ones takes place.
	if err := s.migrate(ctx, append(migrations, next, broken)); err == nil || !strings.Contains(err.Error(), "broken") {
		t.Fatalf("got error %v, want one that names the step", err)
	}
	if n := applied(t, s); n != len(migrations) {
		t.Fatalf("%d migrations were recorded, want %d", n, len(migrations))
	}

	for range 3 {
		if err := s.migrate(ctx, append(migrations, next)); err != nil {
			t.Fatal(err)
		}
	}
	var rows int
	if err := s.pool.QueryRow(ctx, "SELECT count(*) FROM "+s.schema+".next").Scan(&rows); err != nil || rows != 1 {
		t.Fatalf("the step ran %d times, error %v; want once", rows, err)
	}
	if kept, err := s.Read(ctx, "a"); err != nil || len(kept) != 1 {
		t.Fatalf("%d rows after the migration, error %v; want the one from before", len(kept), err)
	}
	// This very program is now the older one.
	if err := s.Migrate(ctx); !errors.Is(err, ErrNewerSchema) {
		t.Errorf("got error %v, want %v", err, ErrNewerSchema)
	}
}

func TestFromEachEarlierVersionTheTablesBecomeTheSame(t *testing.T) {
	server := testpg.Shared(t)
	ctx := t.Context()
	columns := func(s *Store) (all string) {
		err := s.pool.QueryRow(ctx, `SELECT string_agg(concat_ws(' ', table_name, column_name, data_type, collation_name, is_nullable), E'\n' ORDER BY table_name, column_name)
			FROM information_schema.columns WHERE table_schema = $1`, s.schema).Scan(&all)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	want := columns(open(t, server, Config{Application: "app"}))
	for from := range len(migrations) + 1 {
		schema := server.Schema(t)
		s := beside(t, server, Config{Application: "app", Schema: schema})
		if err := s.migrate(ctx, migrations[:from]); err != nil {
			t.Fatalf("to version %d: %v", from, err)
		}
		if err := s.Migrate(ctx); err != nil {
			t.Fatalf("from version %d: %v", from, err)
		}
		if got := columns(s); got != want {
			t.Errorf("from version %d: got columns\n%s\nwant\n%s", from, got, want)
		}

		// And what is printed does the same.
		printed := beside(t, server, Config{Application: "app", Schema: server.Schema(t)})
		if err := printed.migrate(ctx, migrations[:from]); err != nil {
			t.Fatal(err)
		}
		text, err := SQL(printed.schema, from)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := printed.pool.Exec(ctx, text, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatalf("what SQL prints from version %d on: %v\n%s", from, err, text)
		}
		if got := columns(printed); got != want {
			t.Errorf("printed from version %d: got columns\n%s\nwant\n%s", from, got, want)
		}
		if err := printed.Migrate(ctx); err != nil {
			t.Errorf("Migrate after what was printed: %v", err)
		}
	}
	for _, from := range []int{-1, len(migrations) + 1} {
		if _, err := SQL("", from); err == nil {
			t.Errorf("SQL from version %d is no error", from)
		}
	}
}

func TestASchemaMayHaveAnyName(t *testing.T) {
	server := testpg.Shared(t)
	for _, name := range []string{`Quoted "Name"`, "select", "ünï", "millrace_x"} {
		s := beside(t, server, Config{Application: "app", Schema: name})
		t.Cleanup(func() {
			_, err := s.pool.Exec(context.Background(), "DROP SCHEMA "+pgx.Identifier{name}.Sanitize()+" CASCADE", pgx.QueryExecModeSimpleProtocol)
			if err != nil {
				t.Error(err)
			}
		})
		if err := s.Migrate(t.Context()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := s.Create(t.Context(), lease.Lease{Key: "a"}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
