package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/millrace/millrace/lease"
)

// stateValues returns the values of the columns from term on.
func stateValues(l lease.Lease) []any {
	return []any{
		l.Term,
		l.Checkpoint.Position.String(), l.Checkpoint.Pending.Position.String(),
		blob(l.Checkpoint.Pending.Data), blob(l.Checkpoint.Progress),
		list(l.Parents), list(l.Children),
		l.Hash.Start.String(), l.Hash.End.String(),
		l.Load.BytesPerSecond, l.Load.RecordsPerSecond,
	}
}

// blob returns data as it is stored: nothing is an empty blob, and not NULL.
func blob(data []byte) []byte {
	if data == nil {
		return []byte{}
	}
	return data
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
	var checkpoint, pending, parents, children, start, end []byte
	if err := rows.Scan(
		&l.Key, &l.Stream, &l.StreamID, &l.Shard, &l.Owner, &l.CheckpointOwner, &l.Counter, &l.Term,
		&checkpoint, &pending, &l.Checkpoint.Pending.Data, &l.Checkpoint.Progress,
		&parents, &children, &start, &end,
		&l.Load.BytesPerSecond, &l.Load.RecordsPerSecond,
	); err != nil {
		return lease.Lease{}, err
	}
	for _, column := range []struct {
		name  string
		parse func([]byte) error
		text  []byte
	}{
		{"checkpoint", l.Checkpoint.Position.UnmarshalText, checkpoint},
		{"pending", l.Checkpoint.Pending.Position.UnmarshalText, pending},
		{"hash_start", l.Hash.Start.UnmarshalText, start},
		{"hash_end", l.Hash.End.UnmarshalText, end},
		{"parents", func(text []byte) error { return json.Unmarshal(text, &l.Parents) }, parents},
		{"children", func(text []byte) error { return json.Unmarshal(text, &l.Children) }, children},
	} {
		if err := column.parse(column.text); err != nil {
			return lease.Lease{}, fmt.Errorf("lease %s: column %s: %w", l.Key, column.name, err)
		}
	}
	return l, nil
}

// memberValues returns the arguments that joinMember and swapMember share.
func (s *Store) memberValues(incarnation string, version int64, m lease.Member) []any {
	return []any{
		s.application, incarnation, version,
		m.Worker, m.Beats, m.Revision, m.Fenced, m.Draining,
		m.Load.BytesPerSecond, m.Load.RecordsPerSecond, m.MaxLeases, m.Code, m.Zone, m.Host,
	}
}

// scanMember reads the columns of memberColumns.
func scanMember(rows *sql.Rows) (m lease.Member, err error) {
	err = rows.Scan(
		&m.Incarnation, &m.Worker, &m.Version, &m.Beats, &m.Revision, &m.Fenced, &m.Draining,
		&m.Load.BytesPerSecond, &m.Load.RecordsPerSecond, &m.MaxLeases, &m.Code, &m.Zone, &m.Host,
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
