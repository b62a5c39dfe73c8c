package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// migration is one step of the tables from what they were to what they are.
type migration struct {
	version int
	name    string
	sql     string
}

// migrations returns all steps in order. Files are numbered from 1 without a
// gap, and never change once they were released.
func migrations() []migration {
	names, err := fs.Glob(migrationFiles, "migrations/*.sql")
	if err != nil {
		panic(err) // the pattern is a constant
	}
	all := make([]migration, len(names))
	for i, name := range names {
		text, err := migrationFiles.ReadFile(name)
		if err != nil {
			panic(err) // the file is part of the program
		}
		all[i] = migration{version: i + 1, name: name, sql: string(text)}
	}
	return all
}

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
func migrate(ctx context.Context, db *sql.DB, steps []migration) error {
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
		if _, err := tx.ExecContext(ctx, step.sql); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		if _, err := tx.ExecContext(ctx, recordMigration, step.version, step.name); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return tx.Commit()
}

// missingOf returns the steps that have not taken place yet, and refuses
// tables that this program does not know.
func missingOf(ctx context.Context, db querier, steps []migration) ([]migration, error) {
	var tables, version int
	if err := db.QueryRowContext(ctx, hasMigrations).Scan(&tables); err != nil || tables == 0 {
		return steps, err
	}
	if err := db.QueryRowContext(ctx, lastMigration).Scan(&version); err != nil {
		return nil, err
	}
	if version > len(steps) {
		return nil, fmt.Errorf("schema version %d, this program knows %d: %w", version, len(steps), ErrNewerSchema)
	}
	return steps[version:], nil
}
