package sqlite

import (
	"context"
	"errors"

	"github.com/millrace/millrace/lease"
)

// The columns of a note, in the order of scanNote.
const noteColumns = `name, version, value`

const (
	createNote = `INSERT INTO millrace_note (application, ` + noteColumns + `)
VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (application, name) DO NOTHING`

	swapNote = `UPDATE millrace_note SET version = version + 1, value = ?4
WHERE application = ?1 AND name = ?2 AND version = ?3`

	removeNote = `DELETE FROM millrace_note
WHERE application = ?1 AND name = ?2 AND version = ?3`

	readNote = `SELECT ` + noteColumns + ` FROM millrace_note
WHERE application = ?1 AND name = ?2`

	allNotes = `SELECT ` + noteColumns + ` FROM millrace_note
WHERE application = ?1 ORDER BY name`
)

// Notes implements [lease.Store]. The rows are one snapshot.
func (s *Store) Notes(ctx context.Context) ([]lease.Note, error) {
	notes, err := read(ctx, s, scanNote, allNotes, s.application)
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
		return none, errors.New("sqlite: swap note: both are zero; give the note to create as next, or the one to remove as old")
	case old == none:
		name = next.Name
	}
	written := false
	err = s.write(ctx, func(c *conn) (tell bool, err error) {
		if written, err = s.writeNote(c, name, old, next); err != nil || written {
			return true, err
		}
		row, err = one(c, scanNote, readNote, s.application, name)
		return false, err
	})
	switch {
	case err != nil:
		return none, failed(ctx, err, "swap note %s", name)
	case !written:
		return row, lease.ErrConflict
	case next == none || old == none:
		return next, nil
	}
	next.Name, next.Version = name, old.Version+1
	return next, nil
}

// writeNote reports whether the row was as old says, so that it was written.
func (s *Store) writeNote(c *conn, name string, old, next lease.Note) (written bool, err error) {
	var (
		none lease.Note
		rows int64
	)
	switch none {
	case next:
		rows, err = c.exec(removeNote, s.application, name, old.Version)
	case old:
		rows, err = c.exec(createNote, s.application, name, next.Version, next.Value)
	default:
		rows, err = c.exec(swapNote, s.application, name, old.Version, next.Value)
	}
	return rows > 0, err
}

// scanNote reads the columns of noteColumns.
func scanNote(c *columns) (n lease.Note, err error) {
	n.Name, n.Version, n.Value = next[string](c), next[int64](c), next[string](c)
	return n, c.err
}
