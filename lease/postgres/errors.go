package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/millrace/millrace/lease/internal/sqlstore"
)

var (
	// ErrNoSchema says that the tables are not there, or older than this program.
	ErrNoSchema = errors.New("the tables are missing or too old: call Migrate when a worker starts, or run what SQL returns, and check Config.Schema and the database of the pool")
	// ErrNewerSchema says that a newer version of the program has changed the
	// tables, so that this one cannot know what they mean.
	ErrNewerSchema = sqlstore.ErrNewerSchema
	// ErrPermission says that the pool's user may not do this.
	ErrPermission = errors.New("permission denied: grant the pool's user USAGE on the schema and SELECT, INSERT, UPDATE, DELETE on its tables; to migrate, it must own them")
	// ErrReadOnly says that the server takes no writes.
	ErrReadOnly = errors.New("the server is a standby, or takes no writes: connect to the primary, for example with target_session_attrs=read-write in the pool's address")
	// ErrTooManyConnections says that the server has no connection left.
	ErrTooManyConnections = errors.New("the server has no connection left: lower pool_max_conns of all who use it, or raise max_connections")
	// ErrPoolExhausted says that a call waited in vain for a connection.
	ErrPoolExhausted = errors.New("all connections of the pool are in use: raise pool_max_conns, and give long transactions a pool of their own")
	// ErrDiskFull says that nothing was written for want of space. Writes
	// succeed again as soon as there is some.
	ErrDiskFull = errors.New("no space left on the server's disk: free some")
	// ErrText says that a name holds what PostgreSQL keeps in no text.
	ErrText = errors.New("PostgreSQL keeps only text that is valid UTF-8 without a zero byte: choose another name")
)

// What the server says with a SQLSTATE of five characters, or with the class
// that the first two are.
var known = map[string]error{
	"3F000": ErrNoSchema,           // invalid_schema_name
	"42P01": ErrNoSchema,           // undefined_table
	"42703": ErrNoSchema,           // undefined_column
	"42501": ErrPermission,         // insufficient_privilege
	"25006": ErrReadOnly,           // read_only_sql_transaction
	"53300": ErrTooManyConnections, // too_many_connections
	"53100": ErrDiskFull,           // disk_full
	"22021": ErrText,               // character_not_in_repertoire
	"22P05": ErrText,               // untranslatable_character
}

const (
	serializationFailure = "40001"
	deadlockDetected     = "40P01"
	lockNotAvailable     = "55P03"
	adminShutdown        = "57P01"
	crashShutdown        = "57P02"
	idleSessionTimeout   = "57P05"
	queryCanceled        = "57014" // by statement_timeout, where nobody asked for it
)

// state returns the SQLSTATE of an error of the server, "" of any other.
func state(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}

// failed wraps an error of the driver with what was being done, and with one
// of the errors above where it is one.
func failed(ctx context.Context, err error, format string, args ...any) error {
	what := "postgres: " + fmt.Sprintf(format, args...)
	switch {
	case ctx.Err() == nil:
	case errors.Is(err, ErrPoolExhausted):
		return fmt.Errorf("%s: %w: %w", what, context.Cause(ctx), err)
	default:
		return fmt.Errorf("%s: %w", what, context.Cause(ctx))
	}
	if known := known[state(err)]; known != nil {
		return fmt.Errorf("%s: %w (%w)", what, known, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// storable refuses text that the server would refuse: a row that is sent with
// others should not spoil their statement.
func storable(what string, texts ...string) error {
	for _, text := range texts {
		if strings.IndexByte(text, 0) >= 0 || !utf8.ValidString(text) {
			return fmt.Errorf("%s %q: %w", what, text, ErrText)
		}
	}
	return nil
}

// attempts is how often a call is made at most. After the server has ended
// connections that lie in a pool, each attempt takes one of them out.
const attempts = 5

// patiently calls do until it no longer fails in a way that tells that nothing
// was written, at most [attempts] times.
func patiently(ctx context.Context, again func(error) bool, do func() error) error {
	for n := 1; ; n++ {
		err := do()
		if err == nil || n == attempts || !again(err) {
			return err
		}
		// Two who were in each other's way should not come again in step.
		pause := time.NewTimer(time.Millisecond + rand.N(4*time.Millisecond))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return context.Cause(ctx)
		}
	}
}

// nothingWritten reports whether a statement that ended with that error has
// surely changed nothing, and may well succeed the next time: it was never
// sent, or the server rolled it back in favour of another one.
func nothingWritten(err error) bool {
	code := state(err)
	return code == serializationFailure || code == deadlockDetected || pgconn.SafeToRetry(err)
}

// readAgain reports whether a query that ended with that error may well
// succeed the next time: it writes nothing, so a lost connection is no harm.
func readAgain(err error) bool {
	if nothingWritten(err) || errors.Is(err, errNoAnswer) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return true
	}
	if code := state(err); code == adminShutdown || code == crashShutdown || code == idleSessionTimeout {
		return true
	}
	_, lost := errors.AsType[*net.OpError](err)
	return lost
}

// spoiled reports whether a statement of many rows was rolled back for what
// may be the fault of one: data that the server refuses, a row too large, a
// row that is locked, or two statements in each other's way. A statement_timeout
// may be shorter than the wait for a locked row.
func spoiled(err error) bool {
	code := state(err)
	if len(code) != 5 {
		return false
	}
	switch code[:2] {
	case "22", "23", "40", "54": // data, integrity, rollback, program limit
		return true
	}
	return code == lockNotAvailable || code == queryCanceled
}
