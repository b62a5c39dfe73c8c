package postgres

import (
	"context"
	"errors"

	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/lease/internal/sqlstore"
)

// The columns of a member, in the order of scanMember.
const memberColumns = `incarnation, worker, version, beats, revision, fenced, draining,
    bytes_per_second, records_per_second, max_leases, code, zone, host, streams, blocked, failover_ms, handoff_ms`

const (
	joinMember = `INSERT INTO millrace_member (application, ` + memberColumns + `, presence)
VALUES ($1, $2, $4, $3::bigint + 1, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $20)
ON CONFLICT (application, incarnation) DO NOTHING
RETURNING CASE WHEN $19::text <> '' THEN pg_notify($19, '') END`

	swapMember = `UPDATE millrace_member SET
    worker = $4, version = version + 1, beats = $5, revision = $6, fenced = $7, draining = $8,
    bytes_per_second = $9, records_per_second = $10, max_leases = $11, code = $12, zone = $13, host = $14, streams = $15, blocked = $16,
    failover_ms = $17, handoff_ms = $18
WHERE application = $1 AND incarnation = $2 AND version = $3
RETURNING CASE WHEN $19::text <> '' THEN pg_notify($19, '') END`

	endMember = `DELETE FROM millrace_member
WHERE application = $1 AND incarnation = $2 AND version = $3
RETURNING CASE WHEN $4::text <> '' THEN pg_notify($4, '') END`

	readMember = `SELECT ` + memberColumns + ` FROM millrace_member
WHERE application = $1 AND incarnation = $2`

	allMembers = `SELECT ` + memberColumns + ` FROM millrace_member
WHERE application = $1 ORDER BY incarnation`
)

// Members implements [lease.Store]. The rows are one snapshot.
func (s *Store) Members(ctx context.Context) ([]lease.Member, error) {
	rows, err := many(ctx, s, scanMember, s.sql.allMembers, s.application)
	if err != nil {
		return nil, failed(ctx, err, "list members")
	}
	return rows, nil
}

// SwapMember implements [lease.Store].
func (s *Store) SwapMember(ctx context.Context, old, next lease.Member) (row lease.Member, err error) {
	var nobody lease.Member
	key := old.Incarnation
	switch {
	case old == nobody && next == nobody:
		return nobody, errors.New("postgres: swap member: both rows are zero; give the row to join as next, or the row to end as old")
	case old == nobody:
		key = next.Incarnation
	}
	row, won, err := guarded(old,
		func() (bool, error) { return s.writeMember(ctx, key, old, next) },
		func() (lease.Member, error) { return one(ctx, s, scanMember, s.sql.readMember, s.application, key) },
		func(a, b lease.Member) bool { return a.Version == b.Version })
	switch {
	case err != nil:
		return nobody, failed(ctx, err, "swap member %s", key)
	case !won:
		return row, lease.ErrConflict
	case next == nobody:
		return nobody, nil
	}
	next.Incarnation, next.Version = key, old.Version+1
	return next, nil
}

// guarded writes a row that must be as old says. If it was not, it returns what it
// is; and where that is what old says, it became so between the two, and no answer
// but another try is true.
func guarded[T comparable](old T, write func() (bool, error), read func() (T, error), same func(a, b T) bool) (row T, won bool, err error) {
	var none T
	for {
		if won, err = write(); won || err != nil {
			return none, won, err
		}
		if row, err = read(); err != nil || (row == none) != (old == none) || !same(row, old) {
			return row, false, err
		}
	}
}

// writeMember reports whether the row was as old says, so that it was written.
func (s *Store) writeMember(ctx context.Context, key string, old, next lease.Member) (written bool, err error) {
	var nobody lease.Member
	if err := errors.Join(storable("member", key), storableMember(next)); err != nil {
		return false, err
	}
	if next == nobody {
		return s.write(ctx, s.sql.endMember, s.application, key, old.Version, s.channel)
	}
	values := s.memberValues(key, old.Version, next, sqlstore.WakesMember(old, next))
	if old == nobody {
		return s.write(ctx, s.sql.joinMember, append(values, s.present.of(key))...)
	}
	return s.write(ctx, s.sql.swapMember, values...)
}
