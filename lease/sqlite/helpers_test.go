package sqlite

import (
	"context"
	"errors"
	"os"
	"strings"
)

func isDeadline(err error) bool { return errors.Is(err, context.DeadlineExceeded) }

func tempDir() (dir string, cleanUp func()) {
	dir, err := os.MkdirTemp("", "millrace")
	if err != nil {
		panic(err)
	}
	return dir, func() { os.RemoveAll(dir) }
}

// planOf returns how SQLite goes about a statement, in its own words.
func planOf(ctx context.Context, s *Store, statement string) (steps []string, err error) {
	args := make([]any, strings.Count(statement, "?")) // at least as many as it has
	for n := len(args); n > 0; n-- {
		rows, err := s.reads.QueryContext(ctx, "EXPLAIN QUERY PLAN "+statement, args[:n]...)
		if err != nil {
			continue // one parameter fewer, then
		}
		defer rows.Close()
		for rows.Next() {
			var id, parent, unused int
			var step string
			if err := rows.Scan(&id, &parent, &unused, &step); err != nil {
				return nil, err
			}
			steps = append(steps, step)
		}
		return steps, rows.Err()
	}
	return nil, errors.New("no number of parameters fits")
}

// scansTable reports whether a step reads a whole table. The list of keys that
// a caller gives is a table of its own, and read as a whole.
func scansTable(step string) bool {
	return strings.HasPrefix(step, "SCAN") && !strings.Contains(step, "json_each")
}
