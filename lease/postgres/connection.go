package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A connection of the pool may be to a standby, when the pool's address names
// several hosts; it may be cut off without a word; and there may be none left.

// trial is how long one attempt at getting a connection takes at most: the pool
// asks a connection that lay idle whether it is alive, and one that is cut off
// never answers. The next attempt gets another one.
const trial = 3 * time.Second

// acquire returns a connection to the server that takes the writes.
func (s *Store) acquire(ctx context.Context) (*pgxpool.Conn, error) {
	conn, err := s.await(ctx)
	if err != nil {
		return nil, err
	}
	if err := onPrimary(ctx, conn.Conn()); err != nil {
		_ = conn.Conn().Close(ctx) // so that the pool may find another host
		s.giveBack(conn)
		return nil, err
	}
	return conn, nil
}

// await takes a connection out of the pool, however long that takes.
func (s *Store) await(ctx context.Context) (*pgxpool.Conn, error) {
	for {
		patience := trial
		if deadline, ok := ctx.Deadline(); ok {
			patience = min(patience, time.Until(deadline)/4)
		}
		trying, cancel := context.WithTimeout(ctx, max(patience, time.Millisecond))
		conn, err := s.pool.Acquire(trying)
		late := trying.Err() != nil
		cancel()
		switch {
		case err == nil || !late:
			return conn, err
		case ctx.Err() != nil:
			return nil, s.starved(err)
		}
	}
}

// starved says that a call came to nothing because the pool is too small, if that
// is so.
func (s *Store) starved(err error) error {
	if now := s.pool.Stat(); now.AcquiredConns() >= now.MaxConns() {
		return fmt.Errorf("%w, %d of %d (%w)", ErrPoolExhausted, now.AcquiredConns(), now.MaxConns(), err)
	}
	return err
}

// primary is the mark of a connection that is known to be to a primary. Such a
// server becomes a standby only by a restart, which ends its connections.
const primary = "millrace: to a primary"

const askWhetherStandby = "SELECT pg_is_in_recovery()"

// onPrimary refuses a standby: what is read there may be old, and a worker who is
// not in an old list of members would be taken for gone. It asks the server once
// for each connection.
func onPrimary(ctx context.Context, conn *pgx.Conn) error {
	known := conn.PgConn().CustomData()
	if known[primary] == true {
		return nil
	}
	var standby bool
	if err := conn.QueryRow(ctx, askWhetherStandby).Scan(&standby); err != nil {
		return err
	}
	if standby {
		return errStandby
	}
	known[primary] = true
	return nil
}

var errStandby = fmt.Errorf("a connection of the pool is to a standby: %w", ErrReadOnly)

// dedicated takes a connection out of the pool for good (the pool may open another
// one instead), which done closes. It may be idle for as long as it likes. begin is
// what has to be said on it first, and answered before [answerWithin] is over: there
// may be nobody at its other end.
func (s *Store) dedicated(ctx context.Context, begin func(context.Context, *pgx.Conn) error) (conn *pgx.Conn, done func(), err error) {
	acquired, err := s.acquire(ctx)
	if err != nil {
		return nil, nil, err
	}
	conn = acquired.Hijack()
	done = func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(ctx) // whatever it was good for is over
	}
	asking, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	// The setting is of PostgreSQL 14.
	_, err = conn.Exec(asking, "SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'idle_session_timeout'")
	if err == nil {
		err = begin(asking, conn)
	}
	if err != nil {
		done()
		return nil, nil, err
	}
	return conn, done, nil
}

// lent runs f with a connection of the pool.
func (s *Store) lent(ctx context.Context, f func(*pgxpool.Conn) error) error {
	conn, err := s.acquire(ctx)
	if err != nil {
		return err
	}
	defer s.giveBack(conn)
	return f(conn)
}

// broken are connections that are being closed, outside of the pool.
type broken struct {
	mu     sync.Mutex // guards closed
	closed []<-chan struct{}
}

// take reports whether there are fewer than most of them, so that it has taken
// this one, too.
func (b *broken) take(conn *pgxpool.Conn, most int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = slices.DeleteFunc(b.closed, func(closed <-chan struct{}) bool {
		select {
		case <-closed:
			return true
		default:
			return false
		}
	})
	if len(b.closed) >= most {
		return false
	}
	b.closed = append(b.closed, conn.Hijack().PgConn().CleanupDone())
	return true
}

// giveBack returns a connection to the pool. A broken one would keep its place
// there until the server has said goodbye, for a quarter of a minute where it
// cannot, so it is taken out: as many as the pool has places, lest a server that is
// slow for all be asked for ever more connections.
func (s *Store) giveBack(conn *pgxpool.Conn) {
	if !conn.Conn().IsClosed() || !s.broken.take(conn, int(s.pool.Stat().MaxConns())) {
		conn.Release()
	}
}

var errNoAnswer = errors.New("the connection gives no answer")
