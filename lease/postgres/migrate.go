package postgres

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/binary"
	"fmt"
	"io/fs"
	"strings"

	"github.com/jackc/pgx/v5"
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
		all[i] = migration{version: i + 1, name: strings.TrimPrefix(name, "migrations/"), sql: string(text)}
	}
	return all
}

const (
	createMigrations = `CREATE TABLE IF NOT EXISTS millrace_migration (
    version integer     PRIMARY KEY,
    name    text        NOT NULL,
    applied timestamptz NOT NULL DEFAULT now()
)`
	hasSchema       = `SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1)`
	hasMigrations   = `SELECT EXISTS (SELECT FROM pg_catalog.pg_tables WHERE schemaname = $1 AND tablename = 'millrace_migration')`
	lastMigration   = `SELECT coalesce(max(version), 0) FROM millrace_migration`
	recordMigration = `INSERT INTO millrace_migration (version, name) VALUES ($1, $2)`
	// One at a time migrates a schema, until the end of its transaction.
	lockMigrations = `SELECT pg_advisory_xact_lock($1)`
)

// Migrate brings the tables up to what this program needs, all missing steps
// in one transaction. Many may call it at once: one of them does it, and the
// others wait. Where nothing is missing it only looks, and needs no more
// permission than the store itself.
//
// Errors wrap [ErrNewerSchema], [ErrPermission] or [ErrReadOnly] where one of
// them is the reason.
func (s *Store) Migrate(ctx context.Context) error {
	if err := s.migrate(ctx, migrations()); err != nil {
		return failed(ctx, err, "migrate schema %s", s.schema)
	}
	return nil
}

func (s *Store) migrate(ctx context.Context, steps []migration) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return patiently(ctx, nothingWritten, func() error {
		missing, err := s.missingOf(ctx, s.pool, steps)
		if err != nil || len(missing) == 0 {
			return err // without having waited for anybody
		}
		// Whatever the pool's default is: each statement has to see what others
		// did while this one waited for its turn.
		return pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error { return s.apply(ctx, tx, steps) })
	})
}

// apply carries out the missing steps in a transaction.
func (s *Store) apply(ctx context.Context, tx pgx.Tx, steps []migration) error {
	if _, err := tx.Exec(ctx, lockMigrations, migrationLock(s.schema)); err != nil {
		return err
	}
	missing, err := s.missingOf(ctx, tx, steps) // others may have been faster
	if err != nil {
		return err
	}
	// Only where it is missing: who may not create schemas may still be given one.
	var there bool
	if err := tx.QueryRow(ctx, hasSchema, s.schema).Scan(&there); err != nil {
		return err
	}
	schema := pgx.Identifier{s.schema}.Sanitize()
	if !there {
		if _, err := tx.Exec(ctx, "CREATE SCHEMA "+schema); err != nil {
			return err
		}
	}
	if _, err := tx.Exec(ctx, "SET LOCAL search_path = "+schema); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, createMigrations); err != nil {
		return err
	}
	for _, step := range missing {
		// A file holds many statements, which only the simple protocol takes.
		if _, err := tx.Exec(ctx, step.sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		if _, err := tx.Exec(ctx, recordMigration, step.version, step.name); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

// querier is a pool or a transaction of it.
type querier interface {
	QueryRow(ctx context.Context, query string, args ...any) pgx.Row
}

// missingOf returns the steps that have not taken place yet, and refuses
// tables that this program does not know.
func (s *Store) missingOf(ctx context.Context, db querier, steps []migration) ([]migration, error) {
	var there bool
	if err := db.QueryRow(ctx, hasMigrations, s.schema).Scan(&there); err != nil || !there {
		return steps, err
	}
	var version int
	if err := db.QueryRow(ctx, qualified(lastMigration, s.schema)).Scan(&version); err != nil {
		return nil, err
	}
	if version > len(steps) {
		return nil, fmt.Errorf("schema version %d, this program knows %d: %w", version, len(steps), ErrNewerSchema)
	}
	return steps[version:], nil
}

// migrationLock is the advisory lock of a schema.
func migrationLock(schema string) int64 {
	sum := sha256.Sum256([]byte("millrace migration of " + schema))
	return int64(binary.BigEndian.Uint64(sum[:]))
}

// SQL returns the statements that make the tables of a schema ("" is the
// default of [Config.Schema]) from the given version of them on (0 when there
// are none yet): what [Store.Migrate] would do, for people who run such things
// themselves.
func SQL(schema string, from int) (string, error) {
	schema = Config{Schema: schema}.withDefaults().Schema
	if err := validateSchema(schema); err != nil {
		return "", err
	}
	steps := migrations()
	if from < 0 || from > len(steps) {
		return "", fmt.Errorf("postgres: SQL from version %d: want 0 to %d", from, len(steps))
	}
	name := pgx.Identifier{schema}.Sanitize()
	var b strings.Builder
	fmt.Fprintf(&b, "BEGIN;\nCREATE SCHEMA IF NOT EXISTS %s;\nSET LOCAL search_path = %s;\n\n%s;\n", name, name, createMigrations)
	for _, step := range steps[from:] {
		fmt.Fprintf(&b, "\n-- %s\n\n%s\nINSERT INTO millrace_migration (version, name) VALUES (%d, '%s');\n", step.name, step.sql, step.version, step.name)
	}
	b.WriteString("\nCOMMIT;\n")
	return b.String(), nil
}
