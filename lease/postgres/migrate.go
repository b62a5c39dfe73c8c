package postgres

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/millrace/millrace/lease/internal/sqlstore"
)

//go:embed migrations/*.sql
var files embed.FS

var migrations = sqlstore.Migrations(files)

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
	if err := s.migrate(ctx, migrations); err != nil {
		return failed(ctx, err, "migrate schema %s", s.schema)
	}
	return nil
}

func (s *Store) migrate(ctx context.Context, steps []sqlstore.Migration) error {
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
func (s *Store) apply(ctx context.Context, tx pgx.Tx, steps []sqlstore.Migration) error {
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
		if _, err := tx.Exec(ctx, step.SQL, pgx.QueryExecModeSimpleProtocol); err != nil {
			return fmt.Errorf("%s: %w", step.Name, err)
		}
		if _, err := tx.Exec(ctx, recordMigration, step.Version, step.Name); err != nil {
			return fmt.Errorf("%s: %w", step.Name, err)
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
func (s *Store) missingOf(ctx context.Context, db querier, steps []sqlstore.Migration) ([]sqlstore.Migration, error) {
	var there bool
	if err := db.QueryRow(ctx, hasMigrations, s.schema).Scan(&there); err != nil || !there {
		return steps, err
	}
	var version int
	if err := db.QueryRow(ctx, qualified(lastMigration, s.schema)).Scan(&version); err != nil {
		return nil, err
	}
	return sqlstore.Missing(steps, version)
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
	if from < 0 || from > len(migrations) {
		return "", fmt.Errorf("postgres: SQL from version %d: want 0 to %d", from, len(migrations))
	}
	name := pgx.Identifier{schema}.Sanitize()
	var b strings.Builder
	fmt.Fprintf(&b, "BEGIN;\nCREATE SCHEMA IF NOT EXISTS %s;\nSET LOCAL search_path = %s;\n\n%s;\n", name, name, createMigrations)
	for _, step := range migrations[from:] {
		fmt.Fprintf(&b, "\n-- %s\n\n%s\nINSERT INTO millrace_migration (version, name) VALUES (%d, '%s');\n", step.Name, step.SQL, step.Version, step.Name)
	}
	b.WriteString("\nCOMMIT;\n")
	return b.String(), nil
}
