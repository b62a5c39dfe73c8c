package sqlite

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
	joinMember = `INSERT INTO millrace_member (application, ` + memberColumns + `)
VALUES (?1, ?2, ?4, ?3 + 1, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)
ON CONFLICT (application, incarnation) DO NOTHING`

	swapMember = `UPDATE millrace_member SET
    worker = ?4, version = version + 1, beats = ?5, revision = ?6, fenced = ?7, draining = ?8,
    bytes_per_second = ?9, records_per_second = ?10, max_leases = ?11, code = ?12, zone = ?13, host = ?14, streams = ?15, blocked = ?16,
    failover_ms = ?17, handoff_ms = ?18
WHERE application = ?1 AND incarnation = ?2 AND version = ?3`

	endMember = `DELETE FROM millrace_member
WHERE application = ?1 AND incarnation = ?2 AND version = ?3`

	readMember = `SELECT ` + memberColumns + ` FROM millrace_member
WHERE application = ?1 AND incarnation = ?2`

	allMembers = `SELECT ` + memberColumns + ` FROM millrace_member
WHERE application = ?1 ORDER BY incarnation`
)

// Members implements [lease.Store]. The rows are one snapshot.
func (s *Store) Members(ctx context.Context) ([]lease.Member, error) {
	rows, err := read(ctx, s, scanMember, allMembers, s.application)
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
		return nobody, errors.New("sqlite: swap member: both rows are zero; give the row to join as next, or the row to end as old")
	case old == nobody:
		key = next.Incarnation
	}
	written := false
	err = s.write(ctx, func(c *conn) (tell bool, err error) {
		if written, err = s.writeMember(c, key, old, next); err != nil || written {
			return sqlstore.WakesMember(old, next), err
		}
		row, err = one(c, scanMember, readMember, s.application, key)
		return false, err
	})
	switch {
	case err != nil:
		return nobody, failed(ctx, err, "swap member %s", key)
	case !written:
		return row, lease.ErrConflict
	case next != nobody:
		next.Incarnation, next.Version = key, old.Version+1
	}
	return next, nil
}

// writeMember reports whether the row was as old says, so that it was written.
func (s *Store) writeMember(c *conn, key string, old, next lease.Member) (bool, error) {
	var (
		nobody    lease.Member
		statement = swapMember
		values    = []any{s.application, key, old.Version}
	)
	switch nobody {
	case next:
		statement = endMember
	case old:
		statement = joinMember
	}
	if next != nobody {
		values = append(values, memberValues(next)...)
	}
	rows, err := c.exec(statement, values...)
	return rows > 0, err
}
