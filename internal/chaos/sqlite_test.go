package chaos

import (
	"context"
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/millrace/millrace/internal/fleet"
	"github.com/millrace/millrace/lease/sqlite"
)

func TestAFleetOverSQLiteKeepsItsPromisesUnderChaos(t *testing.T) {
	lasts := length(t)
	t.Parallel()
	trial(t, lasts, inSQLite(t))
}

// inSQLite is a file that processes share. There is no wire that could be cut, and no
// server that could end: but whoever is stopped in the middle of a write holds up all
// others, and so does whoever else writes to the file.
func inSQLite(t *testing.T) backend {
	const application = "fleet"
	path := filepath.Join(t.TempDir(), "fleet.db")
	store, err := sqlite.Open(t.Context(), path, sqlite.Config{Application: application})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	db, err := fleet.OpenSQLite(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	locked := func(least, most float64) func(context.Context, *arena) {
		return func(ctx context.Context, a *arena) {
			tx, err := db.BeginTx(context.WithoutCancel(ctx), nil)
			if err != nil {
				a.fail(err)
				return
			}
			rest(ctx, between(least, most))
			if err := tx.Rollback(); err != nil {
				a.fail(err)
			}
		}
	}
	return backend{
		name: "SQLite", store: store,
		reach:   func(cfg *fleet.Config, _ string) { cfg.SQLite, cfg.Application = path, application },
		booked:  func(ctx context.Context) (map[string]booking, error) { return bookedIn(ctx, db, application) },
		globals: []global{{"file locked for a moment", locked(0.2, 0.8)}, {outage, locked(1.2, 1.6)}},
	}
}

func bookedIn(ctx context.Context, db *sql.DB, application string) (map[string]booking, error) {
	table := pgx.Identifier{fleet.BookTable(application)}.Sanitize()
	rows, err := db.QueryContext(ctx, "SELECT record, count(*), max(term) FROM "+table+" GROUP BY record")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	booked := map[string]booking{}
	for rows.Next() {
		var record string
		var b booking
		if err := rows.Scan(&record, &b.times, &b.term); err != nil {
			return nil, err
		}
		booked[record] = b
	}
	return booked, rows.Err()
}
