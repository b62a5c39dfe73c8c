package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	_ "modernc.org/sqlite"
)

// tally is what has been counted, and how far, in an SQLite file. Its methods
// may be called at the same time; they take turns.
type tally struct{ db *sql.DB }

// The three tables. A mark is the last line of a source that was counted from a
// shard; it moves in the transaction that counts.
const schema = `
CREATE TABLE IF NOT EXISTS source (
	id    INTEGER PRIMARY KEY,
	name  TEXT NOT NULL,              -- what people call it: a path, or standard input
	head  TEXT NOT NULL,              -- its first bytes: another file under an old name differs in them
	lines INTEGER NOT NULL DEFAULT 0, -- how many lines are in the stream for certain
	bytes INTEGER NOT NULL DEFAULT 0, -- how many bytes these lines are
	open  INTEGER NOT NULL DEFAULT 1  -- whether more may come
);
CREATE TABLE IF NOT EXISTS mark (
	shard  TEXT NOT NULL,
	source INTEGER NOT NULL,
	line   INTEGER NOT NULL,
	PRIMARY KEY (shard, source)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS count (
	source INTEGER NOT NULL,
	format TEXT NOT NULL,
	minute INTEGER NOT NULL,          -- Unix seconds; 0 for lines without a time
	label  TEXT NOT NULL,
	lines  INTEGER NOT NULL,
	PRIMARY KEY (source, format, minute, label)
) WITHOUT ROWID;`

// openTally opens the file, or makes it. Every transaction is durable: a
// checkpoint follows it, and must not know more than the tally.
func openTally(ctx context.Context, file string) (*tally, error) {
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=busy_timeout(10000)&_txlock=immediate")
	if err != nil {
		return nil, fmt.Errorf("open the tally %s: %w", file, err)
	}
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx, schema); err != nil {
		return nil, errors.Join(fmt.Errorf("open the tally %s: %w", file, err), db.Close())
	}
	return &tally{db}, nil
}

func (t *tally) close() error { return t.db.Close() }

// counted is what one transaction added, and what had been counted before.
type counted struct{ lines, repeats int }

// add counts numbered lines of one shard, in order, each at most once.
func (t *tally) add(ctx context.Context, shard string, lines []numbered, now time.Time) (added counted, err error) {
	err = t.transact(ctx, func(tx *sql.Tx) error {
		added = counted{}
		marks := map[int64]int64{}
		type cell struct {
			source int64
			Line
		}
		counts := map[cell]int{}
		for _, l := range lines {
			mark, known := marks[l.source]
			if !known {
				row := tx.QueryRowContext(ctx, `SELECT line FROM mark WHERE shard = ? AND source = ?`, shard, l.source)
				if err := row.Scan(&mark); err != nil && !errors.Is(err, sql.ErrNoRows) {
					return err
				}
			}
			if l.line <= mark {
				added.repeats++
			} else {
				added.lines++
				mark = l.line
				parsed := Parse(l.text, now)
				parsed.Key = ""
				counts[cell{l.source, parsed}]++
			}
			marks[l.source] = mark
		}
		for c, n := range counts {
			minute := int64(0)
			if !c.Minute.IsZero() {
				minute = c.Minute.Unix()
			}
			_, err := tx.ExecContext(ctx, `INSERT INTO count (source, format, minute, label, lines) VALUES (?, ?, ?, ?, ?)
				ON CONFLICT DO UPDATE SET lines = lines + excluded.lines`, c.source, string(c.Format), minute, c.Label, n)
			if err != nil {
				return err
			}
		}
		for source, line := range marks {
			_, err := tx.ExecContext(ctx, `INSERT INTO mark (shard, source, line) VALUES (?, ?, ?)
				ON CONFLICT DO UPDATE SET line = excluded.line`, shard, source, line)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return counted{}, fmt.Errorf("count %d lines of %s: %w", len(lines), shard, err)
	}
	return added, nil
}

func (t *tally) transact(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := t.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after Commit
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// origin is a source of lines as the tally knows it.
type origin struct {
	id           int64
	name         string
	lines, bytes int64 // in the stream for certain
	open         bool  // more may come: it was not read to its end yet
}

// origin finds the source with that name and head, or begins it. A file that
// has become shorter than what was read of it is another one.
func (t *tally) origin(ctx context.Context, name, head string, size int64) (o origin, err error) {
	err = t.transact(ctx, func(tx *sql.Tx) error {
		row := tx.QueryRowContext(ctx, `SELECT id, name, lines, bytes FROM source WHERE name = ? AND head = ? AND bytes <= ? ORDER BY id DESC LIMIT 1`, name, head, size)
		err := row.Scan(&o.id, &o.name, &o.lines, &o.bytes)
		if errors.Is(err, sql.ErrNoRows) {
			o.name = name
			err = tx.QueryRowContext(ctx, `INSERT INTO source (name, head) VALUES (?, ?) RETURNING id`, name, head).Scan(&o.id)
		}
		if err != nil {
			return err
		}
		o.open = true
		_, err = tx.ExecContext(ctx, `UPDATE source SET open = 1 WHERE id = ?`, o.id)
		return err
	})
	if err != nil {
		return o, fmt.Errorf("look up what is known of %s: %w", name, err)
	}
	return o, nil
}

// unfinished returns the sources that a former run had begun and not ended:
// some of their lines may be in the stream without being recorded here.
func (t *tally) unfinished(ctx context.Context) (names map[int64]string, err error) {
	rows, err := t.db.QueryContext(ctx, `SELECT id, name FROM source WHERE open`)
	if err != nil {
		return nil, fmt.Errorf("look up unfinished sources: %w", err)
	}
	defer rows.Close()
	names = map[int64]string{}
	for rows.Next() {
		var id int64
		var name string
		if err := rows.Scan(&id, &name); err != nil {
			return nil, fmt.Errorf("look up unfinished sources: %w", err)
		}
		names[id] = name
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("look up unfinished sources: %w", err)
	}
	return names, nil
}

// progress says how much of a source is in the stream.
func (t *tally) progress(ctx context.Context, o origin) error {
	_, err := t.db.ExecContext(ctx, `UPDATE source SET lines = ?, bytes = ?, open = ? WHERE id = ?`, o.lines, o.bytes, o.open, o.id)
	if err != nil {
		return fmt.Errorf("record how far %s is in the stream: %w", o.name, err)
	}
	return nil
}

// totals returns how many lines are in, and how many are counted.
func (t *tally) totals(ctx context.Context) (in, counted int64, err error) {
	row := t.db.QueryRowContext(ctx, `SELECT (SELECT coalesce(sum(lines), 0) FROM source), (SELECT coalesce(sum(lines), 0) FROM count)`)
	if err := row.Scan(&in, &counted); err != nil {
		return 0, 0, fmt.Errorf("read the totals: %w", err)
	}
	return in, counted, nil
}

// entry is one cell of the table: lines of one format, minute and label.
type entry struct {
	format Format
	minute time.Time
	label  string
	lines  int64
}

// entries returns everything that is counted, by format and minute.
func (t *tally) entries(ctx context.Context) (entries []entry, err error) {
	rows, err := t.db.QueryContext(ctx, `SELECT format, minute, label, sum(lines) FROM count GROUP BY format, minute, label ORDER BY format, minute, label`)
	if err != nil {
		return nil, fmt.Errorf("read the counts: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var e entry
		var seconds int64
		if err := rows.Scan(&e.format, &seconds, &e.label, &e.lines); err != nil {
			return nil, fmt.Errorf("read the counts: %w", err)
		}
		if seconds != 0 {
			e.minute = time.Unix(seconds, 0).UTC()
		}
		entries = append(entries, e)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the counts: %w", err)
	}
	return entries, nil
}
