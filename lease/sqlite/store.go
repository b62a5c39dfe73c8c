package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	driver "modernc.org/sqlite"

	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/lease/internal/sqlstore"
)

// readers is how many reads run at the same time. They do not wait for
// writes, nor writes for them; each connection keeps a page cache of its own.
const readers = 4

// busyTimeout is how long SQLite itself waits for another writer, looking
// again after 1 ms, 2 ms, 5 ms … 25 ms. It is short because [patiently] starts
// it anew, with short pauses again.
const busyTimeout = 100 * time.Millisecond

// Store is a [lease.Store] in an SQLite file, and all that a store may be besides.
type Store struct {
	application string
	poll        time.Duration

	// writes has one connection: SQLite has one writer at a time, and waiting
	// for it in this pool is fair and ends with the caller's context. A group of
	// swaps asks for it anew, so that a beat goes between two groups.
	writes *sql.DB
	// reads has a few, opened read-only in effect.
	reads *sql.DB
	// watches has one for each call of Changes, because what PRAGMA
	// data_version returns means something only to the connection it came from.
	watches *sql.DB

	log     string       // the path of the write-ahead log
	written atomic.Int64 // rows, by this handle

	swaps sqlstore.Gatherer[swap]
}

var (
	_ lease.Store    = (*Store)(nil)
	_ lease.Notifier = (*Store)(nil)
	_ lease.Named    = (*Store)(nil)
	_ lease.Grouping = (*Store)(nil)
)

// Open opens the file for one application, and makes it and its tables where
// they are missing. The directory has to exist: a volume that is not mounted
// shall not look like a fleet that has processed nothing yet.
//
// Errors of it and of the store's methods wrap [ErrNotDatabase], [ErrDamaged],
// [ErrReadOnly], [ErrDiskFull], [ErrText] or [ErrNewerSchema] where one of them is the
// reason. Close the Store after use.
func Open(ctx context.Context, path string, config Config) (*Store, error) {
	config = config.withDefaults()
	if err := config.validate(); err != nil {
		return nil, err
	}
	path, err := checkPath(path)
	if err != nil {
		return nil, err
	}
	s := newStore(config)
	if err := s.open(ctx, path, config.synchronous()); err != nil {
		return nil, errors.Join(failed(ctx, err, "open %s", path), s.Close())
	}
	return s, nil
}

// newStore returns a store that has nothing open yet.
func newStore(config Config) *Store {
	s := &Store{application: config.Application, poll: config.PollInterval}
	s.swaps = sqlstore.Gatherer[swap]{Most: together, Fly: s.swapTogether}
	return s
}

// Application returns whose rows these are: a worker of another one refuses them.
func (s *Store) Application() string { return s.application }

// GroupsSwaps implements [lease.Grouping]: swaps that come together are one
// transaction.
func (s *Store) GroupsSwaps() bool { return true }

// checkPath finds what can be said about a path without SQLite, whose own
// words are few: "unable to open database file".
func checkPath(path string) (absolute string, err error) {
	if path == "" || strings.HasPrefix(path, ":memory:") {
		return "", fmt.Errorf("sqlite: path %q names no file: give one, or use lease.NewMemory for a store in memory", path)
	}
	path, err = filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("sqlite: path %q: %w", path, err)
	}
	dir := filepath.Dir(path)
	switch info, err := os.Stat(dir); {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("sqlite: open %s: its directory does not exist: create it, or mount the volume that holds it: %w", path, err)
	case err != nil:
		return "", fmt.Errorf("sqlite: open %s: %w", path, err)
	case !info.IsDir():
		return "", fmt.Errorf("sqlite: open %s: %s is no directory: give another path", path, dir)
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return "", fmt.Errorf("sqlite: open %s: it is no regular file: give the path of a file", path)
	}
	return path, nil
}

func (s *Store) open(ctx context.Context, path, synchronous string) (err error) {
	if s.writes, err = connect(path, url.Values{
		"_pragma": {"synchronous(" + synchronous + ")"},
		// A transaction that begins by reading cannot become a writer when
		// another one wrote meanwhile; so each takes the lock at its start.
		"_txlock": {"immediate"},
	}); err != nil {
		return err
	}
	s.writes.SetMaxOpenConns(1)
	if s.reads, err = connect(path, url.Values{"_query_only": {"1"}}); err != nil {
		return err
	}
	s.reads.SetMaxOpenConns(readers)
	s.reads.SetMaxIdleConns(readers)
	if s.watches, err = connect(path, url.Values{"_query_only": {"1"}}); err != nil {
		return err
	}
	s.watches.SetMaxIdleConns(0)

	if err := patiently(ctx, func() error { return useWriteAheadLog(ctx, s.writes) }); err != nil {
		return err
	}
	if err := patiently(ctx, func() error { return migrate(ctx, s.writes, migrations) }); err != nil {
		return err
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // the log lies beside the file, and not beside a link to it
	}
	s.log = path + "-wal"
	return nil
}

// connect makes a pool; connections are opened as they are needed.
func connect(path string, parameters url.Values) (*sql.DB, error) {
	parameters.Set("_busy_timeout", fmt.Sprint(busyTimeout.Milliseconds()))
	parameters.Set("_dqs", "0")      // a misspelled column is an error, and no text
	parameters.Set("_error_rc", "1") // messages that belong to their errors
	file := url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(path), RawQuery: parameters.Encode()}
	made, err := driver.NewConnector(file.String())
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector{made}), nil
}

// useWriteAheadLog turns the file to the journal mode in which readers and the
// writer do not wait for each other. The mode is a property of the file.
func useWriteAheadLog(ctx context.Context, db *sql.DB) error {
	var mode string
	if err := db.QueryRowContext(ctx, "PRAGMA journal_mode = WAL").Scan(&mode); err != nil {
		return err
	}
	if mode != "wal" {
		return fmt.Errorf("its file system takes no write-ahead log (journal mode %s): put the file on a local disk", mode)
	}
	return nil
}

// Close closes the file. Calls that are under way end with an error. It may be
// called twice.
func (s *Store) Close() error {
	var errs []error
	// The writer comes last: whoever closes a file last tidies it up, and
	// readers may not.
	for _, db := range []*sql.DB{s.watches, s.reads, s.writes} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}
