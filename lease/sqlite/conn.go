package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"

	codes "modernc.org/sqlite/lib"
)

// conn is one connection of a pool, spoken to in the terms of the driver:
//
//	on(pool) ──► conn ── exec ───► how many rows changed
//	               │  └─ query ──► columns, row by row
//	               └─ transaction: BEGIN, do, COMMIT
//
// It compiles each statement once. What database/sql would do besides costs as
// much as the statements of a checkpoint themselves.
//
// Statements take no context. They wait for nothing but the disk, and for
// busyTimeout; to be able to interrupt one costs more than most take.
type conn struct {
	link
	compiled map[string]compiled
	args     []driver.NamedValue // of the statement that is running
	changed  int64               // rows, so far
}

// link is what the driver's own connections can do.
type link interface {
	driver.Conn
	driver.ConnPrepareContext
	driver.ConnBeginTx
	driver.ExecerContext
	driver.QueryerContext
	driver.SessionResetter
	driver.Validator
}

// compiled is what its compiled statements can do.
type compiled interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

// connector makes the connections of a pool.
type connector struct{ driver.Connector }

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	made, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &conn{link: made.(link), compiled: map[string]compiled{}}, nil
}

// on runs do on a connection of the pool, for which it waits until ctx is done.
func on(ctx context.Context, pool *sql.DB, do func(*conn) error) error {
	c, err := pool.Conn(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	return raw(c, do)
}

// raw runs do on a connection that was taken out of its pool.
func raw(c *sql.Conn, do func(*conn) error) error {
	return c.Raw(func(c any) error { return do(c.(*conn)) })
}

// Close implements [driver.Conn].
func (c *conn) Close() error {
	var errs []error
	for _, s := range c.compiled {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, c.link.Close())...)
}

// prepared returns a compiled statement, and its arguments as it takes them.
func (c *conn) prepared(statement string, args []any) (compiled, []driver.NamedValue, error) {
	c.args = c.args[:0]
	for i, v := range args {
		c.args = append(c.args, driver.NamedValue{Ordinal: i + 1, Value: v})
	}
	if s, ok := c.compiled[statement]; ok {
		return s, c.args, nil
	}
	s, err := c.PrepareContext(context.Background(), statement)
	if err != nil {
		return nil, nil, err
	}
	c.compiled[statement] = s.(compiled)
	return s.(compiled), c.args, nil
}

// exec runs a statement, and returns how many rows it changed. Arguments are
// values as the driver takes them: string, []byte, int64, float64, bool.
func (c *conn) exec(statement string, args ...any) (rows int64, err error) {
	s, values, err := c.prepared(statement, args)
	if err != nil {
		return 0, err
	}
	result, err := s.ExecContext(context.Background(), values)
	if err != nil {
		return 0, err
	}
	rows, err = result.RowsAffected()
	c.changed += rows
	return rows, err
}

// transaction runs do between BEGIN and COMMIT. After an error nothing of it took
// place, or, when that is one of the disk, it is unknown.
func (c *conn) transaction(do func() error) error {
	_, err := c.exec("BEGIN IMMEDIATE") // and not when it writes: then it may be too late
	if err == nil {
		err = do()
	}
	if err == nil {
		_, err = c.exec("COMMIT")
	}
	if err == nil {
		return nil
	}
	// After some errors there is no transaction any more, and that is one, too. A
	// connection that is left in the middle of one is of no use.
	if _, undo := c.exec("ROLLBACK"); undo != nil && code(undo) != codes.SQLITE_ERROR {
		return fmt.Errorf("%w (rollback: %w: %w)", err, driver.ErrBadConn, undo)
	}
	return err
}

// query returns all rows of a statement.
func query[T any](c *conn, scan func(*columns) (T, error), statement string, args ...any) (all []T, err error) {
	s, values, err := c.prepared(statement, args)
	if err != nil {
		return nil, err
	}
	rows, err := s.QueryContext(context.Background(), values)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	row := make([]driver.Value, len(rows.Columns()))
	for {
		switch err := rows.Next(row); {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, err
		}
		one, err := scan(&columns{values: row})
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
}

// one returns the only row of a statement, if there is one, else the zero value.
func one[T any](c *conn, scan func(*columns) (T, error), statement string, args ...any) (row T, err error) {
	all, err := query(c, scan, statement, args...)
	if err != nil || len(all) == 0 {
		return row, err
	}
	return all[0], nil
}

// columns are those of one row that were not looked at yet. The first column that
// is not what is expected is the error of the row.
type columns struct {
	values []driver.Value
	err    error
}

// next returns the value of the next column.
func next[T any](c *columns) (v T) {
	v, ok := c.values[0].(T)
	if !ok && c.err == nil {
		c.err = fmt.Errorf("a column holds a %T, want a %T", c.values[0], v)
	}
	c.values = c.values[1:]
	return v
}
