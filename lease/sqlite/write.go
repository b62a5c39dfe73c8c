package sqlite

import "context"

// recordChange tells others that something was written that is their business.
const recordChange = `INSERT INTO millrace_change (application, number) VALUES (?, 1)
ON CONFLICT (application) DO UPDATE SET number = number + 1`

// write runs do in a transaction of the writer's, when its turn comes: what do
// writes is stored wholly, durable, and told to others if do says so; or, after
// an error, not at all. do may be run again.
func (s *Store) write(ctx context.Context, do func(*conn) (tell bool, err error)) error {
	var rows int64
	err := patiently(ctx, func() error {
		return on(ctx, s.writes, func(c *conn) error {
			return c.transaction(func() error {
				before := c.changed
				tell, err := do(c)
				rows = c.changed - before
				if err == nil && tell {
					_, err = c.exec(recordChange, s.application)
				}
				return err
			})
		})
	})
	if err == nil {
		s.wrote(ctx, rows)
	}
	return err
}

// read returns all rows of a statement of a reader's.
func read[T any](ctx context.Context, s *Store, scan func(*columns) (T, error), statement string, args ...any) (all []T, err error) {
	err = patiently(ctx, func() error {
		return on(ctx, s.reads, func(c *conn) (err error) {
			all, err = query(c, scan, statement, args...)
			return err
		})
	})
	return all, err
}
