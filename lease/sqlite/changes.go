package sqlite

import (
	"context"
	"time"
)

// lastChange returns how often something was told to this application.
const lastChange = `SELECT coalesce(max(number), 0) FROM millrace_change WHERE application = ?`

// Changes implements [lease.Notifier]. It asks the file, each
// [Config.PollInterval], whether anybody has written anything since, this process
// included; if so, whether it is the business of this application, which beats and
// checkpoints are not. It calls wake when it begins, since something may have
// changed before. It returns the cause of ctx, or the error that kept it from asking.
func (s *Store) Changes(ctx context.Context, wake func()) error {
	held, err := s.watches.Conn(ctx)
	if err != nil {
		return failed(ctx, err, "watch for changes")
	}
	defer held.Close()
	w := watch{application: s.application}
	look := time.NewTicker(s.poll)
	defer look.Stop()
	for {
		var news bool
		if err := patiently(ctx, func() error {
			return raw(held, func(c *conn) (err error) {
				news, err = w.look(c)
				return err
			})
		}); err != nil {
			return failed(ctx, err, "watch for changes")
		}
		if news {
			wake()
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return failed(ctx, ctx.Err(), "watch for changes")
		}
	}
}

// watch is what Changes has seen of the file.
type watch struct {
	application string
	begun       bool
	version     int64 // of the file, in the eyes of one connection
	number      int64 // of changes
}

// look reports whether there is news since the last look.
func (w *watch) look(c *conn) (news bool, err error) {
	version, err := one(c, scanInteger, "PRAGMA data_version")
	if err != nil || w.begun && version == w.version {
		return false, err
	}
	number, err := one(c, scanInteger, lastChange, w.application)
	if err != nil {
		return false, err
	}
	news = !w.begun || number != w.number
	w.begun, w.version, w.number = true, version, number
	return news, nil
}

func scanInteger(c *columns) (int64, error) {
	n := next[int64](c)
	return n, c.err
}
