package sqlite

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	driver "modernc.org/sqlite"
	codes "modernc.org/sqlite/lib"

	"github.com/millrace/millrace/lease/internal/sqlstore"
)

var (
	// ErrNotDatabase says that the file is something else than an SQLite
	// database, or that its first page is damaged. It was not touched.
	ErrNotDatabase = errors.New("the file is no SQLite database: give another path, or restore it from a copy")
	// ErrDamaged says that SQLite found the file to be malformed.
	ErrDamaged = errors.New("the database file is damaged: stop all workers and restore it from a copy")
	// ErrReadOnly says that the file or its directory cannot be written to.
	ErrReadOnly = errors.New("the database cannot be written: give this user write permission on the file and on its directory (SQLite keeps -wal and -shm files beside it)")
	// ErrDiskFull says that nothing was written for want of space. Writes
	// succeed again as soon as there is some.
	ErrDiskFull = errors.New("no space left for the database file and its write-ahead log: free some")
	// ErrText says that a name cannot be stored as it is.
	ErrText = errors.New("the names of leases, parents and children have to be valid UTF-8: choose another name")
	// ErrNewerSchema says that a newer version of the program has changed the
	// tables, so that this one cannot know what they mean.
	ErrNewerSchema = sqlstore.ErrNewerSchema
)

// code returns SQLite's primary result code, 0 when err is not SQLite's.
func code(err error) int {
	if e, ok := errors.AsType[*driver.Error](err); ok {
		return e.Code() & 0xff
	}
	return 0
}

// failed wraps an error of the driver with what was being done, and with one
// of the errors above where it is one.
func failed(ctx context.Context, err error, format string, args ...any) error {
	what := "sqlite: " + fmt.Sprintf(format, args...)
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", what, context.Cause(ctx))
	}
	for c, known := range map[int]error{
		codes.SQLITE_NOTADB:   ErrNotDatabase,
		codes.SQLITE_CORRUPT:  ErrDamaged,
		codes.SQLITE_READONLY: ErrReadOnly,
		codes.SQLITE_PERM:     ErrReadOnly,
		codes.SQLITE_FULL:     ErrDiskFull,
	} {
		if code(err) == c {
			return fmt.Errorf("%s: %w (%w)", what, known, err)
		}
	}
	return fmt.Errorf("%s: %w", what, err)
}

// patiently calls do until it no longer fails because another connection is
// writing, or ctx is done. SQLite waits by itself for busyTimeout each time; a
// refused statement or transaction has written nothing.
func patiently(ctx context.Context, do func() error) error {
	for {
		err := do()
		if c := code(err); c != codes.SQLITE_BUSY && c != codes.SQLITE_LOCKED {
			return err
		}
		// Some refusals come at once; two handles should not come again
		// in step.
		pause := time.NewTimer(time.Millisecond + rand.N(4*time.Millisecond))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return context.Cause(ctx)
		}
	}
}
