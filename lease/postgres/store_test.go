package postgres

import (
	"errors"
	"slices"
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
					Begin: func(t testing.TB, s lease.Store) leasetest.Transaction {
						tx, err := s.(*Store).pool.Begin(t.Context())
						if err != nil {
							t.Fatal(err)
						}
						return leasetest.Transaction{Tx: tx, Commit: tx.Commit, Rollback: tx.Rollback, Locks: true}
					},
					Spoil: func(t testing.TB, store lease.Store, key string) {
						s := store.(*Store)
						if _, err := s.pool.Exec(t.Context(), qualified("UPDATE millrace_lease SET checkpoint = 'someday' WHERE key = $1", s.schema), key); err != nil {
							t.Fatal(err)
						}
					},
					Reopen: func(t testing.TB, s lease.Store) lease.Store {
						s.(*Store).pool.Close()
						return another(t, s, "app")
					},
				})
		})
	}
}

// Two who create the same rows wait for one another: not in a circle, when both go
// by one order.
func TestRowsAreCreatedInTheOrderOfTheirKeys(t *testing.T) {
	s := open(t, testpg.Shared(t), Config{Application: "app"})
	rows := someLeases(20)
	slices.Reverse(rows)
	if err := s.Create(t.Context(), rows...); err != nil {
		t.Fatal(err)
	}
	found, err := s.pool.Query(t.Context(), qualified("SELECT key FROM millrace_lease ORDER BY ctid", s.schema)) // as they lie in the table
	if err != nil {
		t.Fatal(err)
	}
	keys, err := pgx.CollectRows(found, pgx.RowTo[string])
	if err != nil || len(keys) != len(rows) || !slices.IsSorted(keys) {
		t.Errorf("created were %q, error %v", keys, err)
	}
}

// Two fleets may well have the same shards, owners and counters.
func TestApplicationsWithTheSameRowsDoNotTouchEachOther(t *testing.T) {
	server := testpg.Shared(t)
	mine := open(t, server, Config{Application: "mine"})
	theirs := beside(t, server, Config{Application: "theirs", Schema: mine.schema})
	ctx := t.Context()
	row, member := someLeases(1)[0], lease.Member{Incarnation: "w/1"}
	row.CheckpointOwner = "other"
	for _, s := range []*Store{mine, theirs} {
		if err := s.Create(ctx, row); err != nil {
			t.Fatal(err)
		}
		if _, err := s.SwapMember(ctx, lease.Member{}, member); err != nil {
			t.Fatal(err)
		}
	}
	member.Version = 1
	untouched := func(after string) {
		t.Helper()
		for what, read := range map[string]func() ([]lease.Lease, error){
			"read":      func() ([]lease.Lease, error) { return theirs.Read(ctx, row.Key) },
			"owned":     func() ([]lease.Lease, error) { return theirs.Owned(ctx, row.Owner) },
			"to finish": func() ([]lease.Lease, error) { return theirs.Owned(ctx, row.CheckpointOwner) },
		} {
			if rows, err := read(); err != nil || len(rows) != 1 || flat(rows[0]) != flat(row) {
				t.Errorf("%s after %s: got %+v, error %v; want %+v", what, after, rows, err, row)
			}
		}
		if members, err := theirs.Members(ctx); err != nil || len(members) != 1 || members[0] != member {
			t.Errorf("members after %s: got %+v, error %v; want %+v", after, members, err, member)
		}
	}
	untouched("a creation by others")

	next := row
	next.Load.BytesPerSecond = 7
	swapped, err := mine.Swap(ctx, row, next)
	if err != nil {
		t.Fatal(err)
	}
	beaten := member
	beaten.Beats = 7
	if beaten, err = mine.SwapMember(ctx, member, beaten); err != nil {
		t.Fatal(err)
	}
	untouched("swaps by others")
	if got, err := mine.Swap(ctx, row, next); !errors.Is(err, lease.ErrConflict) || flat(got) != flat(swapped) {
		t.Errorf("conflict: got %+v, error %v; want %+v", got, err, swapped)
	}
	if got, err := mine.SwapMember(ctx, member, member); !errors.Is(err, lease.ErrConflict) || got != beaten {
		t.Errorf("conflict: got %+v, error %v; want %+v", got, err, beaten)
	}

	// In the end theirs are as mine once were: no guard but the name tells them apart.
	if err := mine.Delete(ctx, swapped); err != nil {
		t.Fatal(err)
	}
	if err := mine.Delete(ctx, row); !errors.Is(err, lease.ErrConflict) {
		t.Errorf("delete of a row that only others have: %v", err)
	}
	if _, err := mine.Swap(ctx, row, next); !errors.Is(err, lease.ErrConflict) {
		t.Errorf("swap of a row that only others have: %v", err)
	}
	if _, err := mine.SwapMember(ctx, beaten, lease.Member{}); err != nil {
		t.Fatal(err)
	}
	for what, next := range map[string]lease.Member{"end": {}, "beat": member} {
		if _, err := mine.SwapMember(ctx, member, next); !errors.Is(err, lease.ErrConflict) {
			t.Errorf("%s of a member that only others have: %v", what, err)
		}
	}
	for l, err := range mine.Leases(ctx) {
		t.Errorf("listed %+v, error %v; want nothing", l, err)
	}
	untouched("deletes by others")
}
