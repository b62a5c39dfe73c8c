package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/millrace/millrace/lease"
)

// The columns of a note, in the order of scanNote.
const noteColumns = `name, version, value`

const (
	createNote = `INSERT INTO millrace_note (application, ` + noteColumns + `)
VALUES ($1, $2, $3, $4)
ON CONFLICT (application, name) DO NOTHING
RETURNING CASE WHEN $5::text <> '' THEN pg_notify($5, '') END`

	swapNote = `UPDATE millrace_note SET version = version + 1, value = $4
WHERE application = $1 AND name = $2 AND version = $3
RETURNING CASE WHEN $5::text <> '' THEN pg_notify($5, '') END`

	removeNote = `DELETE FROM millrace_note
WHERE application = $1 AND name = $2 AND version = $3
RETURNING CASE WHEN $4::text <> '' THEN pg_notify($4, '') END`

	readNote = `SELECT ` + noteColumns + ` FROM millrace_note
WHERE application = $1 AND name = $2`

	allNotes = `SELECT ` + noteColumns + ` FROM millrace_note
WHERE application = $1 ORDER BY name`
)

// Notes implements [lease.Store]. The rows are one snapshot.
func (s *Store) Notes(ctx context.Context) ([]lease.Note, error) {
	notes, err := many(ctx, s, scanNote, s.sql.allNotes, s.application)
	if err != nil {
		return nil, failed(ctx, err, "list notes")
	}
	return notes, nil
}

// SwapNote implements [lease.Store].
func (s *Store) SwapNote(ctx context.Context, old, next lease.Note) (row lease.Note, err error) {
	var none lease.Note
	name := old.Name
	switch {
	case old == none && next == none:
		return none, errors.New("postgres: swap note: both are zero; give the note to create as next, or the one to remove as old")
	case old == none:
		name = next.Name
	}
	row, won, err := guarded(old,
		func() (bool, error) { return s.writeNote(ctx, name, old, next) },
		func() (lease.Note, error) { return one(ctx, s, scanNote, s.sql.readNote, s.application, name) },
		func(a, b lease.Note) bool { return a.Version == b.Version })
	switch {
	case err != nil:
		return none, failed(ctx, err, "swap note %s", name)
	case !won:
		return row, lease.ErrConflict
	case old == none || next == none:
		return next, nil
	}
	return lease.Note{Name: name, Version: old.Version + 1, Value: next.Value}, nil
}

// writeNote reports whether the note was as old says, so that it was written.
func (s *Store) writeNote(ctx context.Context, name string, old, next lease.Note) (written bool, err error) {
	var none lease.Note
	if err := storable("note", name, next.Value); err != nil {
		return false, err
	}
	switch none {
	case next:
		return s.write(ctx, s.sql.removeNote, s.application, name, old.Version, s.channel)
	case old:
		return s.write(ctx, s.sql.createNote, s.application, name, next.Version, next.Value, s.channel)
	default:
		return s.write(ctx, s.sql.swapNote, s.application, name, old.Version, next.Value, s.channel)
	}
}

// scanNote reads the columns of noteColumns.
func scanNote(row pgx.CollectableRow) (n lease.Note, err error) {
	err = row.Scan(&n.Name, &n.Version, &n.Value)
	return n, err
}
