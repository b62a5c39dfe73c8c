package sqlite

import (
	"context"
	"database/sql"
	"errors"

	"github.com/millrace/millrace/lease"
)

// The columns of a note, in the order of scanNote.
const noteColumns = `name, version, value`

const (
	createNote = `INSERT INTO millrace_note (application, ` + noteColumns + `)
VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (application, name) DO NOTHING
RETURNING ` + noteColumns

	swapNote = `UPDATE millrace_note SET version = version + 1, value = ?4
WHERE application = ?1 AND name = ?2 AND version = ?3
RETURNING ` + noteColumns

	removeNote = `DELETE FROM millrace_note
WHERE application = ?1 AND name = ?2 AND version = ?3`

	readNote = `SELECT ` + noteColumns + ` FROM millrace_note
WHERE application = ?1 AND name = ?2`

	allNotes = `SELECT ` + noteColumns + ` FROM millrace_note
WHERE application = ?1 ORDER BY name`
)

type noteStatements struct {
	create, swap, remove *sql.Stmt // run by the writer
	read, all            *sql.Stmt // run by readers
}

func (n *noteStatements) prepare(ctx context.Context, s *Store) error {
	return errors.Join(
		prepare(ctx, s.writes, &n.create, createNote),
		prepare(ctx, s.writes, &n.swap, swapNote),
		prepare(ctx, s.writes, &n.remove, removeNote),
		prepare(ctx, s.reads, &n.read, readNote),
		prepare(ctx, s.reads, &n.all, allNotes),
	)
}

// Notes implements [lease.Store]. The rows are one snapshot.
func (s *Store) Notes(ctx context.Context) ([]lease.Note, error) {
	notes, err := many(ctx, s.notes.all, scanNote, s.application)
	if err != nil {
		return nil, failed(ctx, err, "list notes")
	}
	return notes, nil
}

// SwapNote implements [lease.Store].
func (s *Store) SwapNote(ctx context.Context, old, next lease.Note) (row lease.Note, err error) {
	var (
		none           lease.Note
		create, remove = old == none, next == none
		name           = old.Name
		written        bool
	)
	switch {
	case create && remove:
		return none, errors.New("sqlite: swap note: both are zero; give the note to create as next, or the one to remove as old")
	case create:
		name = next.Name
		row, written, err = one(ctx, s.notes.create, scanNote, s.application, name, next.Version, next.Value)
	case remove:
		var n int64
		n, err = affected(ctx, s.notes.remove, s.application, name, old.Version)
		written = n > 0
	default:
		row, written, err = one(ctx, s.notes.swap, scanNote, s.application, name, old.Version, next.Value)
	}
	if err == nil && !written {
		if row, _, err = one(ctx, s.notes.read, scanNote, s.application, name); err == nil {
			return row, lease.ErrConflict
		}
	}
	if err != nil {
		return none, failed(ctx, err, "swap note %s", name)
	}
	s.wrote(ctx)
	return row, nil
}

// scanNote reads the columns of noteColumns.
func scanNote(rows *sql.Rows) (n lease.Note, err error) {
	err = rows.Scan(&n.Name, &n.Version, &n.Value)
	return n, err
}
