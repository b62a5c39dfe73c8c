package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"fmt"

	"github.com/millrace/millrace/lease/internal/sqlstore"
)

//go:embed migrations/*.sql
var files embed.FS

var migrations = sqlstore.Migrations(files)

const (
	createMigrations = `CREATE TABLE IF NOT EXISTS millrace_migration (
    version INTEGER PRIMARY KEY,
    name    TEXT NOT NULL,
    applied TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
) STRICT`
	hasMigrations   = `SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'millrace_migration'`
	lastMigration   = `SELECT coalesce(max(version), 0) FROM millrace_migration`
	recordMigration = `INSERT INTO millrace_migration (version, name) VALUES (?1, ?2)`
)

// querier is a database or a transaction of it.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// migrate brings the tables up to the last step, all missing ones in one
// transaction. Many processes may do so at once: one of them does it.
func migrate(ctx context.Context, db *sql.DB, steps []sqlstore.Migration) error {
	missing, err := missingOf(ctx, db, steps)
	if err != nil || len(missing) == 0 {
		return err // without having asked for the write lock
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if missing, err = missingOf(ctx, tx, steps); err != nil { // others may have been faster
		return err
	}
	if _, err := tx.ExecContext(ctx, createMigrations); err != nil {
		return err
	}
	for _, step := range missing {
		if _, err := tx.ExecContext(ctx, step.SQL); err != nil {
			return fmt.Errorf("%s: %w", step.Name, err)
		}
		if _, err := tx.ExecContext(ctx, recordMigration, step.Version, step.Name); err != nil {
			return fmt.Errorf("%s: %w", step.Name, err)
		}
	}
	return tx.Commit()
}

// missingOf returns the steps that have not taken place yet, and refuses
// tables that this program does not know.
func missingOf(ctx context.Context, db querier, steps []sqlstore.Migration) ([]sqlstore.Migration, error) {
	var tables, version int
	if err := db.QueryRowContext(ctx, hasMigrations).Scan(&tables); err != nil || tables == 0 {
		return steps, err
	}
	if err := db.QueryRowContext(ctx, lastMigration).Scan(&version); err != nil {
		return nil, err
	}
	return sqlstore.Missing(steps, version)
}
