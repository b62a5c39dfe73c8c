package postgres

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/millrace/millrace/internal/testpg"
	"github.com/millrace/millrace/lease"
)

func TestNewRefusesWhatCannotWork(t *testing.T) {
	pool, err := pgxpool.New(t.Context(), "postgres://nowhere")
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	for name, c := range map[string]struct {
		pool   *pgxpool.Pool
		config Config
		says   string
	}{
		"no pool":                {nil, Config{Application: "app"}, "pgxpool.New"},
		"no application":         {pool, Config{}, "Config.Application"},
		"an application of zero": {pool, Config{Application: "a\x00"}, "Config.Application"},
		"a long schema":          {pool, Config{Application: "app", Schema: strings.Repeat("s", 64)}, "Config.Schema"},
		"a schema of no text":    {pool, Config{Application: "app", Schema: "\xff"}, "Config.Schema"},
	} {
		if _, err := New(c.pool, c.config); err == nil || !strings.HasPrefix(err.Error(), "postgres: ") || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got error %v, want one that says %q", name, err, c.says)
		}
	}
}

// calls are one call of each kind.
func calls(s lease.Store) map[string]func(context.Context) error {
	row, member := lease.Lease{Key: "a", Counter: 1}, lease.Member{Incarnation: "w/1"}
	return map[string]func(context.Context) error{
		"leases": func(ctx context.Context) error {
			for _, err := range s.Leases(ctx) {
				if err != nil {
					return err
				}
			}
			return nil
		},
		"owned":   func(ctx context.Context) error { _, err := s.Owned(ctx, "w/1"); return err },
		"read":    func(ctx context.Context) error { _, err := s.Read(ctx, "a"); return err },
		"members": func(ctx context.Context) error { _, err := s.Members(ctx); return err },
		"create":  func(ctx context.Context) error { return s.Create(ctx, row) },
		"swap":    func(ctx context.Context) error { _, err := s.Swap(ctx, row, row); return err },
		"delete":  func(ctx context.Context) error { return s.Delete(ctx, row) },
		"join":    func(ctx context.Context) error { _, err := s.SwapMember(ctx, lease.Member{}, member); return err },
		"beat":    func(ctx context.Context) error { _, err := s.SwapMember(ctx, member, member); return err },
		"end":     func(ctx context.Context) error { _, err := s.SwapMember(ctx, member, lease.Member{}); return err },
	}
}

func allFail(t *testing.T, s *Store, want error, but ...string) {
	t.Helper()
	for name, call := range calls(s) {
		switch err := call(t.Context()); {
		case strings.Contains(strings.Join(but, " "), name):
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		case !errors.Is(err, want) || !strings.HasPrefix(err.Error(), "postgres: "):
			t.Errorf("%s: got error %v, want one that is %v", name, err, want)
		}
	}
}

func TestMissingTablesAreSaidToBe(t *testing.T) {
	server := testpg.Shared(t)
	s := beside(t, server, Config{Application: "app", Schema: server.Schema(t)})
	allFail(t, s, ErrNoSchema)
	// A schema without the tables, too.
	if err := s.migrate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	allFail(t, s, ErrNoSchema)
	// And tables of an older program.
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.pool.Exec(t.Context(), qualified("ALTER TABLE millrace_lease DROP COLUMN progress", s.schema)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(t.Context(), "a"); !errors.Is(err, ErrNoSchema) {
		t.Errorf("got error %v, want %v", err, ErrNoSchema)
	}
}

func TestAMissingPermissionIsSaidToBe(t *testing.T) {
	server := testpg.Shared(t)
	s := open(t, server, Config{Application: "app"})
	ctx := t.Context()
	role := s.schema + "_reader"
	run := func(statements string) {
		t.Helper()
		if _, err := s.pool.Exec(ctx, statements, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatal(err)
		}
	}
	run("CREATE ROLE " + role + " NOLOGIN")
	t.Cleanup(func() {
		_, err := s.pool.Exec(context.Background(), "DROP OWNED BY "+role+"; DROP ROLE "+role, pgx.QueryExecModeSimpleProtocol)
		if err != nil {
			t.Error(err)
		}
	})
	as := func(c *pgxpool.Config) { c.ConnConfig.RuntimeParams["role"] = role }
	other := beside(t, server, Config{Application: "app", Schema: s.schema}, as)
	allFail(t, other, ErrPermission)
	fresh := beside(t, server, Config{Application: "app", Schema: server.Schema(t)}, as)
	if err := fresh.Migrate(ctx); !errors.Is(err, ErrPermission) {
		t.Errorf("migrate: got error %v, want %v", err, ErrPermission)
	}

	// The grants that the error asks for are all that a worker needs.
	run("GRANT USAGE ON SCHEMA " + s.schema + " TO " + role + "; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA " + s.schema + " TO " + role)
	if err := other.Migrate(ctx); err != nil {
		t.Errorf("migrate where nothing is missing: %v", err)
	}
	for name, call := range calls(other) {
		if err := call(ctx); err != nil && !errors.Is(err, lease.ErrConflict) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAServerThatTakesNoWritesIsSaidToBeOne(t *testing.T) {
	server := testpg.Shared(t)
	s := open(t, server, Config{Application: "app"})
	standby := beside(t, server, Config{Application: "app", Schema: s.schema}, func(c *pgxpool.Config) {
		c.ConnConfig.RuntimeParams["default_transaction_read_only"] = "on"
	})
	allFail(t, standby, ErrReadOnly, "leases", "owned", "read", "members")
	fresh := beside(t, server, Config{Application: "app", Schema: server.Schema(t)}, func(c *pgxpool.Config) {
		c.ConnConfig.RuntimeParams["default_transaction_read_only"] = "on"
	})
	if err := fresh.Migrate(t.Context()); !errors.Is(err, ErrReadOnly) {
		t.Errorf("migrate: got error %v, want %v", err, ErrReadOnly)
	}
}

func TestTooManyConnectionsAreSaidToBe(t *testing.T) {
	server := testpg.Start(t, "max_connections=8", "superuser_reserved_connections=0", "max_wal_senders=0")
	s := open(t, server, Config{Application: "app"})
	s.pool.Reset()
	greedy := server.Pool(t)
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		conn, err := pgx.ConnectConfig(ctx, greedy.Config().ConnConfig)
		cancel()
		if err != nil {
			break
		}
		defer conn.Close(t.Context())
	}
	allFail(t, s, ErrTooManyConnections)
}

func TestAnErrorOfAContextIsItsCause(t *testing.T) {
	s := open(t, testpg.Shared(t), Config{Application: "app"})
	stopped := errors.New("stopped by hand")
	over, cancel := context.WithCancelCause(t.Context())
	cancel(stopped)
	for name, call := range calls(s) {
		if err := call(over); !errors.Is(err, stopped) {
			t.Errorf("%s: got error %v, want %v", name, err, stopped)
		}
	}
	if err := s.Migrate(over); !errors.Is(err, stopped) {
		t.Errorf("migrate: got error %v, want %v", err, stopped)
	}

	// In the middle of a call, too.
	lock, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Rollback(context.WithoutCancel(t.Context()))
	if _, err := lock.Exec(t.Context(), qualified("LOCK TABLE millrace_lease, millrace_member", s.schema)); err != nil {
		t.Fatal(err)
	}
	for name, call := range calls(s) {
		waiting, cancel := context.WithTimeoutCause(t.Context(), 20*time.Millisecond, stopped)
		if err := call(waiting); !errors.Is(err, stopped) {
			t.Errorf("%s that waits: got error %v, want %v", name, err, stopped)
		}
		cancel()
	}
}

func TestARowThatWasSpoiledIsNamed(t *testing.T) {
	s := open(t, testpg.Shared(t), Config{Application: "app"})
	ctx := t.Context()
	for column, value := range map[string]string{"checkpoint": "AFTER:x", "pending": "nowhere", "hash_start": "-1", "hash_end": ""} {
		row := lease.Lease{Key: "spoiled " + column, Counter: 1}
		if err := s.Create(ctx, row); err != nil {
			t.Fatal(err)
		}
		if _, err := s.pool.Exec(ctx, qualified("UPDATE millrace_lease SET "+column+" = $1 WHERE key = $2", s.schema), value, row.Key); err != nil {
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
