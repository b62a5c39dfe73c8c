package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/millrace/millrace/lease"
)

// A worker is present while a connection of its own holds an advisory lock, whose
// key its member row tells. The server gives the lock free when the connection
// ends, and anybody can try whether it is free.
//
//	worker ══ connection ══► server: advisory lock 4711        member row: presence = 4711
//	          kill -9 ✗              free at once                          ▲
//	leader ── try 4711 for a moment ───────────────► it was free: ended ───┘
const (
	takePresence = `SELECT pg_try_advisory_lock($1)`

	// Who asks must be present itself, at this very server. A lock that is tried is
	// shared, so that nobody who tries stands in the way of another, and given
	// free with the end of the statement.
	endedMembers = `SELECT asked.incarnation
FROM unnest($2::text[]) AS asked (incarnation)
    LEFT JOIN millrace_member AS m ON m.application = $1 AND m.incarnation = asked.incarnation
WHERE NOT (SELECT pg_try_advisory_xact_lock_shared($3)) AND CASE
    WHEN m.incarnation IS NULL OR m.fenced THEN true
    WHEN m.presence = 0 THEN false
    ELSE pg_try_advisory_xact_lock_shared(m.presence) END`
)

var _ lease.Presence = (*Store)(nil)

// presences are the incarnations that attend through a store.
type presences struct {
	mu   sync.Mutex // guards keys
	keys map[string]int64
}

func (p *presences) set(incarnation string, key int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.keys == nil {
		p.keys = map[string]int64{}
	}
	p.keys[incarnation] = key
}

func (p *presences) remove(incarnation string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.keys, incarnation)
}

// of returns the key of the lock that an incarnation holds; 0 for none.
func (p *presences) of(incarnation string) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.keys[incarnation]
}

// Attend implements [lease.Presence] with [Config.FastFailover]. Like [Store.Changes]
// it takes a connection out of the pool, and closes it in the end.
func (s *Store) Attend(ctx context.Context, incarnation string, attending func()) error {
	if !s.fastFailover {
		return fmt.Errorf("postgres: Config.FastFailover is off: %w", errors.ErrUnsupported)
	}
	err := storable("member", incarnation)
	if err == nil {
		err = s.attend(ctx, incarnation, attending)
	}
	return failed(ctx, err, "keep the presence connection of %s", incarnation)
}

func (s *Store) attend(ctx context.Context, incarnation string, attending func()) error {
	key := s.presenceKey(incarnation)
	conn, done, err := s.dedicated(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		var taken bool
		err := conn.QueryRow(ctx, takePresence, key).Scan(&taken)
		if err == nil && !taken {
			return fmt.Errorf("somebody else holds the advisory lock %d", key)
		}
		return err
	})
	if err != nil {
		return err
	}
	defer done()
	s.present.set(incarnation, key)
	defer s.present.remove(incarnation)
	attending()
	for {
		if err := nextNotification(ctx, conn); err != nil { // there is none
			return err
		}
	}
}

// Ended implements [lease.Presence].
func (s *Store) Ended(ctx context.Context, observer string, incarnations ...string) ([]string, error) {
	ended, err := many(ctx, s, pgx.RowTo[string], s.sql.endedMembers, s.application, incarnations, s.presenceKey(observer))
	if err != nil {
		return nil, failed(ctx, err, "ask who has ended")
	}
	return ended, nil
}

// presenceKey returns the key of an advisory lock that nobody else takes; it is
// never 0.
func (s *Store) presenceKey(incarnation string) int64 {
	sum := sha256.Sum256([]byte(s.schema + "\x00" + s.application + "\x00" + incarnation))
	return int64(binary.BigEndian.Uint64(sum[:]) | 1)
}
