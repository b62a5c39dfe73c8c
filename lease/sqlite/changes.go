package sqlite

import (
	"context"
	"time"
)

// Changes implements [lease.Notifier]. It asks the file, each
// [Config.PollInterval], whether anybody has committed anything since, which
// includes this process and other applications. It returns the cause of ctx,
// or the error that kept it from asking.
func (s *Store) Changes(ctx context.Context, wake func()) error {
	conn, err := s.watches.Conn(ctx)
	if err != nil {
		return failed(ctx, err, "watch for changes")
	}
	defer conn.Close()
	ask := func() (version int64, err error) {
		err = patiently(ctx, func() error {
			return conn.QueryRowContext(ctx, "PRAGMA data_version").Scan(&version)
		})
		return version, err
	}
	seen, err := ask()
	if err != nil {
		return failed(ctx, err, "watch for changes")
	}
	look := time.NewTicker(s.poll)
	defer look.Stop()
	for {
		select {
		case <-look.C:
		case <-ctx.Done():
			return failed(ctx, ctx.Err(), "watch for changes")
		}
		switch version, err := ask(); {
		case err != nil:
			return failed(ctx, err, "watch for changes")
		case version != seen:
			seen = version
			wake()
		}
	}
}
