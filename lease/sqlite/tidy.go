package sqlite

import (
	"context"
	"os"
)

const (
	// lookEvery is after how many rows that it has written a handle looks at the
	// size of the write-ahead log: some megabytes of it.
	lookEvery = 1000
	// largeLog is four times the size at which SQLite begins to copy the log
	// into the file by itself.
	largeLog = 16 << 20
)

// wrote counts rows that were written, and sees to it now and then that the
// write-ahead log does not grow for ever. SQLite begins its log anew only when a
// writer finds no reader in it, and where many poll that moment may never come. To
// cut the log is to wait for the readers of this moment, for busyTimeout at most;
// when they take longer, the next look tries again.
func (s *Store) wrote(ctx context.Context, rows int64) {
	if n := s.written.Add(rows); n/lookEvery == (n-rows)/lookEvery {
		return
	}
	if log, err := os.Stat(s.log); err != nil || log.Size() < largeLog {
		return
	}
	// The write itself is stored, whatever comes of this.
	_ = on(ctx, s.writes, func(c *conn) error {
		_, err := c.exec("PRAGMA wal_checkpoint(TRUNCATE)")
		return err
	})
}
