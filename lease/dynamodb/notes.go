package dynamodb

import (
	"context"
	"errors"
	"fmt"

	"github.com/millrace/millrace/lease"
)

const noteValue = "value"

// noting are the attributes that a swap of a note sets or removes.
var noting = []string{memberVersion, noteValue, memberWrite}

func readNote(it item) (lease.Note, error) {
	r := &reader{item: it}
	n := lease.Note{Name: r.text(memberIncarnation), Version: r.integer(memberVersion), Value: r.text(noteValue)}
	if err := r.err(); err != nil {
		return lease.Note{}, fmt.Errorf("note %q: %w", n.Name, err)
	}
	return n, nil
}

// Notes implements [lease.Store] by a consistent query.
func (s *Store) Notes(ctx context.Context) ([]lease.Note, error) {
	rows, err := s.rowsOf(ctx, notesOf+s.config.fleet(), "")
	if err != nil {
		return nil, failed(ctx, err, "list notes in table %s", s.config.MembersTable)
	}
	notes := make([]lease.Note, len(rows))
	for i, it := range rows {
		if notes[i], err = readNote(it); err != nil {
			return nil, failed(ctx, err, "list notes in table %s", s.config.MembersTable)
		}
	}
	return notes, nil
}

// SwapNote implements [lease.Store].
func (s *Store) SwapNote(ctx context.Context, old, next lease.Note) (row lease.Note, err error) {
	var none lease.Note
	var current item
	switch {
	case old == none && next == none:
		return none, errors.New("dynamodb: swap note: both are zero; give the note to create as next, or the one to remove as old")
	case next == none:
		current, err = s.deleteRow(ctx, s.noteKey(old.Name), atVersion(old.Version))
	case old == none:
		current, err = s.putNote(ctx, next, absent)
	default:
		next.Name, next.Version = old.Name, old.Version+1
		current, err = s.putNote(ctx, next, atVersion(old.Version))
	}
	switch {
	case err == nil:
		return next, nil
	case !errors.Is(err, lease.ErrConflict):
	case current == nil:
		return none, lease.ErrConflict
	default:
		var unreadable error
		if row, unreadable = readNote(current); unreadable == nil {
			return row, lease.ErrConflict
		}
		err = unreadable
	}
	return none, failed(ctx, err, "swap note %s in table %s", old.Name+next.Name, s.config.MembersTable)
}

func (s *Store) noteKey(name string) item { return keyIn(notesOf+s.config.fleet(), name) }

func (s *Store) putNote(ctx context.Context, next lease.Note, only condition) (current item, err error) {
	it := item{memberVersion: integer(next.Version)}
	setText(it, noteValue, next.Value)
	return s.putRow(ctx, s.noteKey(next.Name), only, it, noting)
}
