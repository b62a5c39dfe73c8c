package sqlite

import (
	"context"
	"database/sql"
	"errors"

	"github.com/millrace/millrace/lease"
)

// The columns of a member, in the order of scanMember.
const memberColumns = `incarnation, worker, version, beats, revision, fenced, draining,
    bytes_per_second, records_per_second, max_leases, code, zone, host, streams, blocked`

const (
	joinMember = `INSERT INTO millrace_member (application, ` + memberColumns + `)
VALUES (?1, ?2, ?4, 1, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)
ON CONFLICT (application, incarnation) DO NOTHING
RETURNING ` + memberColumns

	swapMember = `UPDATE millrace_member SET
    worker = ?4, version = version + 1, beats = ?5, revision = ?6, fenced = ?7, draining = ?8,
    bytes_per_second = ?9, records_per_second = ?10, max_leases = ?11, code = ?12, zone = ?13, host = ?14, streams = ?15, blocked = ?16
WHERE application = ?1 AND incarnation = ?2 AND version = ?3
RETURNING ` + memberColumns

	endMember = `DELETE FROM millrace_member
WHERE application = ?1 AND incarnation = ?2 AND version = ?3`

	readMember = `SELECT ` + memberColumns + ` FROM millrace_member
WHERE application = ?1 AND incarnation = ?2`

	allMembers = `SELECT ` + memberColumns + ` FROM millrace_member
WHERE application = ?1 ORDER BY incarnation`
)

type memberStatements struct {
	join, swap, end *sql.Stmt // run by the writer
	read, all       *sql.Stmt // run by readers
}

func (m *memberStatements) prepare(ctx context.Context, s *Store) error {
	return errors.Join(
		prepare(ctx, s.writes, &m.join, joinMember),
		prepare(ctx, s.writes, &m.swap, swapMember),
		prepare(ctx, s.writes, &m.end, endMember),
		prepare(ctx, s.reads, &m.read, readMember),
		prepare(ctx, s.reads, &m.all, allMembers),
	)
}

// Members implements [lease.Store]. The rows are one snapshot.
func (s *Store) Members(ctx context.Context) ([]lease.Member, error) {
	rows, err := many(ctx, s.members.all, scanMember, s.application)
	if err != nil {
		return nil, failed(ctx, err, "list members")
	}
	return rows, nil
}

// SwapMember implements [lease.Store].
func (s *Store) SwapMember(ctx context.Context, old, next lease.Member) (row lease.Member, err error) {
	var (
		nobody    lease.Member
		join, end = old == nobody, next == nobody
		key       = old.Incarnation
		written   bool
	)
	switch {
	case join && end:
		return nobody, errors.New("sqlite: swap member: both rows are zero; give the row to join as next, or the row to end as old")
	case join:
		key = next.Incarnation
		row, written, err = one(ctx, s.members.join, scanMember, s.memberValues(key, 0, next)...)
	case end:
		var n int64
		n, err = affected(ctx, s.members.end, s.application, key, old.Version)
		written = n > 0
	default:
		row, written, err = one(ctx, s.members.swap, scanMember, s.memberValues(key, old.Version, next)...)
	}
	if err == nil && !written {
		if row, _, err = one(ctx, s.members.read, scanMember, s.application, key); err == nil {
			return row, lease.ErrConflict
		}
	}
	if err != nil {
		return nobody, failed(ctx, err, "swap member %s", key)
	}
	s.wrote(ctx)
	return row, nil
}
