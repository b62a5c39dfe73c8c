package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/lease/internal/sqlstore"
	"github.com/millrace/millrace/stream"
)

// stateValues returns the values of the columns from term on.
func stateValues(l lease.Lease) []any {
	return []any{
		l.Term,
		l.Checkpoint.Position.String(), l.Checkpoint.Pending.Position.String(),
		sqlstore.Blob(l.Checkpoint.Pending.Data), sqlstore.Blob(l.Checkpoint.Progress),
		list(l.Parents), list(l.Children),
		l.Hash.Start.String(), l.Hash.End.String(),
		l.Load.BytesPerSecond, l.Load.RecordsPerSecond,
	}
}

// list returns ids as a JSON array.
func list(ids []string) string {
	if len(ids) == 0 {
		return "[]"
	}
	text, err := json.Marshal(ids)
	if err != nil {
		panic(err) // strings always have a JSON form
	}
	return string(text)
}

// scanLease reads the columns of leaseColumns.
func scanLease(rows *sql.Rows) (l lease.Lease, err error) {
	var position, pending, parents, children, start, end string
	if err := rows.Scan(
		&l.Key, &l.Stream, &l.StreamID, &l.Shard, &l.Owner, &l.CheckpointOwner, &l.Counter, &l.Term,
		&position, &pending, &l.Checkpoint.Pending.Data, &l.Checkpoint.Progress,
		&parents, &children, &start, &end,
		&l.Load.BytesPerSecond, &l.Load.RecordsPerSecond,
	); err != nil {
		return lease.Lease{}, err
	}
	if err := errors.Join(
		sqlstore.Parse("checkpoint", position, &l.Checkpoint.Position, stream.ParsePosition),
		sqlstore.Parse("pending", pending, &l.Checkpoint.Pending.Position, stream.ParsePosition),
		sqlstore.Parse("parents", parents, &l.Parents, parseList),
		sqlstore.Parse("children", children, &l.Children, parseList),
		sqlstore.Parse("hash_start", start, &l.Hash.Start, stream.ParseHash),
		sqlstore.Parse("hash_end", end, &l.Hash.End, stream.ParseHash),
	); err != nil {
		return lease.Lease{}, fmt.Errorf("lease %s: %w", l.Key, err)
	}
	return l, nil
}

// parseList reads what list returns.
func parseList(text string) (ids []string, err error) {
	if text == "[]" {
		return nil, nil
	}
	err = json.Unmarshal([]byte(text), &ids)
	return ids, err
}

// memberValues returns the arguments that joinMember and swapMember share.
func (s *Store) memberValues(incarnation string, version int64, m lease.Member) []any {
	return []any{
		s.application, incarnation, version,
		m.Worker, m.Beats, m.Revision, m.Fenced, m.Draining,
		m.Load.BytesPerSecond, m.Load.RecordsPerSecond, m.MaxLeases, m.Code, m.Zone, m.Host, string(m.Streams), string(m.Blocked),
	}
}

// scanMember reads the columns of memberColumns.
func scanMember(rows *sql.Rows) (m lease.Member, err error) {
	err = rows.Scan(
		&m.Incarnation, &m.Worker, &m.Version, &m.Beats, &m.Revision, &m.Fenced, &m.Draining,
		&m.Load.BytesPerSecond, &m.Load.RecordsPerSecond, &m.MaxLeases, &m.Code, &m.Zone, &m.Host, &m.Streams, &m.Blocked,
	)
	return m, err
}

// affected runs a statement that returns no rows, and says how many it changed.
func affected(ctx context.Context, statement *sql.Stmt, args ...any) (n int64, err error) {
	err = patiently(ctx, func() error {
		result, err := statement.ExecContext(ctx, args...)
		if err != nil {
			return err
		}
		n, err = result.RowsAffected()
		return err
	})
	return n, err
}
