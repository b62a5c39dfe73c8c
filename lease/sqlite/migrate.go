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

// migrate brings the tables up to the last step, all missing ones in one
// transaction. Many processes may do so at once: one of them does it.
func migrate(ctx context.Context, db *sql.DB, steps []migration) error {
	if done, err := migrated(ctx, db, steps); done || err != nil {
		return err // without having asked for the write lock
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, createMigrations); err != nil {
		return err
	}
	// Others may have been faster.
	var version int
	if err := tx.QueryRowContext(ctx, lastMigration).Scan(&version); err != nil {
		return err
	}
	for _, step := range steps[min(version, len(steps)):] {
		if _, err := tx.ExecContext(ctx, step.sql); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		if _, err := tx.ExecContext(ctx, recordMigration, step.version, step.name); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return tx.Commit()
}

// migrated reports whether nothing is left to do, and refuses tables that
// this program does not know.
func migrated(ctx context.Context, db *sql.DB, steps []migration) (bool, error) {
	var tables, version int
	if err := db.QueryRowContext(ctx, hasMigrations).Scan(&tables); err != nil || tables == 0 {
		return false, err
	}
	if err := db.QueryRowContext(ctx, lastMigration).Scan(&version); err != nil {
		return false, err
	}
	if version > len(steps) {
		return false, fmt.Errorf("schema version %d, this program knows %d: %w", version, len(steps), ErrNewerSchema)
	}
	return version == len(steps), nil
}
