package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

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
//
// A server that has just started, or was a standby, has no locks, and knows nothing
// of who was present before: a machine that lost its power says goodbye to nobody. So
// the key is another one in each life of a server.
const (
	lifeOfServer = `(extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint`

	takePresence = `SELECT key, pg_try_advisory_lock(key) FROM (SELECT $1::bigint # ` + lifeOfServer + ` AS key) AS presence`

	// Who asks must be present itself, at this very server. A lock that is tried is
	// shared, so that nobody who tries stands in the way of another, and given
	// free with the end of the statement.
	endedMembers = `SELECT asked.incarnation
FROM unnest($2::text[], $3::bigint[]) AS asked (incarnation, key)
    LEFT JOIN millrace_member AS m ON m.application = $1 AND m.incarnation = asked.incarnation
WHERE NOT (SELECT pg_try_advisory_xact_lock_shared($4::bigint # ` + lifeOfServer + `)) AND CASE
    WHEN m.incarnation IS NULL OR m.fenced THEN true
    WHEN m.presence <> (asked.key # ` + lifeOfServer + `) THEN false -- it keeps none, or did so in another life
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
// it takes a connection out of the pool, and closes it in the end. A server that
// does not answer while patience lasts may stand still, and still know of the lock
// when it goes on; a connection that fails is an end at once.
func (s *Store) Attend(ctx context.Context, incarnation string, patience time.Duration, attending func()) error {
	if !s.fastFailover {
		return fmt.Errorf("postgres: Config.FastFailover is off: %w", errors.ErrUnsupported)
	}
	err := storable("member", incarnation)
	if err == nil {
		err = s.attend(ctx, incarnation, asksFor(patience), attending)
	}
	return failed(ctx, err, "keep the presence connection of %s", incarnation)
}

// asksFor returns how a presence is asked for whose worker may go on unanswered for
// that long.
func asksFor(patience time.Duration) asking {
	return asking{every: min(askEvery, patience), within: max(answerWithin, patience)}
}

func (s *Store) attend(ctx context.Context, incarnation string, ask asking, attending func()) error {
	var key int64
	conn, done, err := s.dedicated(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		var taken bool
		err := conn.QueryRow(ctx, takePresence, s.presenceKey(incarnation)).Scan(&key, &taken)
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
		if err := nextNotification(ctx, conn, ask); err != nil { // there is none
			return err
		}
	}
}

// Ended implements [lease.Presence].
func (s *Store) Ended(ctx context.Context, observer string, incarnations ...string) ([]string, error) {
	keys := make([]int64, len(incarnations))
	for i, incarnation := range incarnations {
		keys[i] = s.presenceKey(incarnation)
	}
	ended, err := many(ctx, s, pgx.RowTo[string], s.sql.endedMembers, s.application, incarnations, keys, s.presenceKey(observer))
	if err != nil {
		return nil, failed(ctx, err, "ask who has ended")
	}
	return ended, nil
}

// presenceKey returns what makes the key of an advisory lock that nobody else takes,
// together with the life of the server.
func (s *Store) presenceKey(incarnation string) int64 {
	sum := sha256.Sum256([]byte(s.schema + "\x00" + s.application + "\x00" + incarnation))
	return int64(binary.BigEndian.Uint64(sum[:]))
}
