package postgres

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/lease/internal/sqlstore"
)

// Store is a [lease.Store], a [lease.Notifier], [lease.Named], a
// [lease.Transactional] and, with [Config.FastFailover], a [lease.Presence] in a
// PostgreSQL database.
type Store struct {
	pool         *pgxpool.Pool
	application  string
	schema       string
	channel      string // on which this application is notified; "" for not at all
	fastFailover bool
	sql          statements
	swaps        sqlstore.Gatherer[swap]
	lone         chan struct{} // tokens for connections that wait for a row that is locked
	present      presences
	broken       broken
}

var (
	_ lease.Store    = (*Store)(nil)
	_ lease.Notifier = (*Store)(nil)
	_ lease.Named    = (*Store)(nil)
)

// New returns the store of one application on a pool, which stays the
// caller's: close it when everything that uses the store has ended. New asks
// the database nothing; [Store.Migrate] makes the tables.
//
// A store uses few connections at a time: four serve a worker well. Errors of
// its methods wrap [ErrNoSchema], [ErrPermission], [ErrReadOnly],
// [ErrTooManyConnections], [ErrPoolExhausted], [ErrDiskFull] or [ErrText] where one
// of them is the reason.
func New(pool *pgxpool.Pool, config Config) (*Store, error) {
	config = config.withDefaults()
	if err := config.validate(pool); err != nil {
		return nil, err
	}
	s := &Store{
		pool:         pool,
		application:  config.Application,
		schema:       config.Schema,
		fastFailover: config.FastFailover,
		sql:          statementsIn(config.Schema),
		lone:         make(chan struct{}, max(1, pool.Config().MaxConns/4)),
	}
	if !config.PollOnly {
		s.channel = channelOf(config.Schema, config.Application)
	}
	s.swaps = sqlstore.Gatherer[swap]{Most: together, Fly: s.swapTogether}
	return s, nil
}

// Application returns whose rows these are: a worker of another one refuses them.
func (s *Store) Application() string { return s.application }

// channelOf returns the channel on which an application is notified. Names of
// channels are short, and names of applications need not be.
func channelOf(schema, application string) string {
	sum := sha256.Sum256([]byte(schema + "\x00" + application))
	return fmt.Sprintf("millrace_%x", sum[:8])
}

// channelFor returns where a write is told: nowhere if it wakes nobody.
func (s *Store) channelFor(wakes bool) string {
	if wakes {
		return s.channel
	}
	return ""
}

// statements are the SQL of one schema.
type statements struct {
	createLeases, swapLeases, deleteLease            string
	readLease, readLeases, pageOfLeases, ownedLeases string
	joinMember, swapMember, endMember                string
	readMember, allMembers, endedMembers             string
	createNote, swapNote, removeNote                 string
	readNote, allNotes                               string
}

func statementsIn(schema string) statements {
	in := func(statement string) string { return qualified(statement, schema) }
	return statements{
		createLeases: in(createLeases), swapLeases: in(swapLeases), deleteLease: in(deleteLease),
		readLease: in(readLease), readLeases: in(readLeases), pageOfLeases: in(pageOfLeases), ownedLeases: in(ownedLeases),
		joinMember: in(joinMember), swapMember: in(swapMember), endMember: in(endMember),
		readMember: in(readMember), allMembers: in(allMembers), endedMembers: in(endedMembers),
		createNote: in(createNote), swapNote: in(swapNote), removeNote: in(removeNote),
		readNote: in(readNote), allNotes: in(allNotes),
	}
}

// qualified puts the schema before the names of the tables, so that nothing
// depends on the search_path of a connection, which poolers may share.
func qualified(statement, schema string) string {
	return strings.ReplaceAll(statement, "millrace_", pgx.Identifier{schema}.Sanitize()+".millrace_")
}

// many returns all rows of a query.
func many[T any](ctx context.Context, s *Store, scan pgx.RowToFunc[T], query string, args ...any) (all []T, err error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	bounded := halfOf
	err = patiently(ctx, readAgain, func() error {
		return s.lent(ctx, func(conn *pgxpool.Conn) error {
			reading, cancel := bounded(ctx)
			defer cancel()
			bounded = context.WithCancel
			rows, err := conn.Query(reading, query, args...)
			if err == nil {
				all, err = pgx.CollectRows(rows, scan)
			}
			if err != nil && reading.Err() != nil && ctx.Err() == nil {
				err = errNoAnswer
			}
			return err
		})
	})
	return all, err
}

// halfOf leaves time for another attempt, on another connection, when that of the
// first one is cut off without a word.
func halfOf(ctx context.Context) (context.Context, context.CancelFunc) {
	if deadline, ok := ctx.Deadline(); ok {
		return context.WithTimeout(ctx, time.Until(deadline)/2)
	}
	return context.WithCancel(ctx)
}

// one returns the only row of a query, if there is one, else the zero value.
func one[T any](ctx context.Context, s *Store, scan pgx.RowToFunc[T], query string, args ...any) (row T, err error) {
	rows, err := many(ctx, s, scan, query, args...)
	if err != nil || len(rows) == 0 {
		return row, err
	}
	return rows[0], nil
}

// write runs a statement that changes rows, and says whether it changed any.
func (s *Store) write(ctx context.Context, statement string, args ...any) (written bool, err error) {
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	err = patiently(ctx, nothingWritten, func() error {
		return s.lent(ctx, func(conn *pgxpool.Conn) error {
			tag, err := conn.Exec(ctx, statement, args...)
			written = tag.RowsAffected() > 0
			return err
		})
	})
	return written, err
}
