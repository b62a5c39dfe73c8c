package postgres

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/millrace/millrace/internal/testpg"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/lease/leasetest"
)

// in is a change of a pool's configuration: how its statements are sent.
func in(mode pgx.QueryExecMode) func(*pgxpool.Config) {
	return func(c *pgxpool.Config) { c.ConnConfig.DefaultQueryExecMode = mode }
}

func atMost(connections int32) func(*pgxpool.Config) {
	return func(c *pgxpool.Config) { c.MaxConns = connections }
}

// open returns a store of that application in a new schema.
func open(t testing.TB, server *testpg.Server, config Config, changes ...func(*pgxpool.Config)) *Store {
	t.Helper()
	config.Schema = server.Schema(t)
	s := beside(t, server, config, changes...)
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// beside returns a store with a pool of its own, as another process has.
func beside(t testing.TB, server *testpg.Server, config Config, changes ...func(*pgxpool.Config)) *Store {
	t.Helper()
	s, err := New(server.Pool(t, append([]func(*pgxpool.Config){atMost(6)}, changes...)...), config)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// modes are the ways in which statements can be sent.
var modes = map[string]pgx.QueryExecMode{
	"Prepared":       pgx.QueryExecModeCacheStatement,
	"DescribedCache": pgx.QueryExecModeCacheDescribe,
	"Described":      pgx.QueryExecModeDescribeExec,
	"Exec":           pgx.QueryExecModeExec,
	"Simple":         pgx.QueryExecModeSimpleProtocol,
}

func TestThePostgresStoreKeepsTheContract(t *testing.T) {
	server := testpg.Shared(t)
	for _, name := range []string{"Prepared", "Exec", "Simple"} {
		if testing.Short() && name != "Prepared" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			mode := in(modes[name])
			another := func(t testing.TB, s lease.Store, application string) lease.Store {
				return beside(t, server, Config{Application: application, Schema: s.(*Store).schema}, mode)
			}
			leasetest.Run(t,
				func(t testing.TB) lease.Store { return open(t, server, Config{Application: "app"}, mode) },
				leasetest.Options{
					Second: func(t testing.TB, s lease.Store) lease.Store { return another(t, s, "app") },
					Other:  func(t testing.TB, s lease.Store) lease.Store { return another(t, s, "App") },
					Reopen: func(t testing.TB, s lease.Store) lease.Store {
						s.(*Store).pool.Close()
						return another(t, s, "app")
					},
				})
		})
	}
}
