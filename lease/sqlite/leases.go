package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"iter"

	"github.com/millrace/millrace/lease"
)

// page is how many rows Leases reads at a time. Between pages nothing is open,
// so that a slow reader keeps nobody from cutting back the write-ahead log.
const page = 500

// The columns of a lease, in the order of leaseValues and scanLease.
const leaseColumns = `key, stream, stream_id, shard, owner, checkpoint_owner, counter, term,
    checkpoint, pending, pending_data, progress, parents, children, hash_start, hash_end,
    bytes_per_second, records_per_second`

const (
	createLease = `INSERT INTO millrace_lease (application, ` + leaseColumns + `)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)
ON CONFLICT (application, key) DO NOTHING`

	swapLease = `UPDATE millrace_lease SET
    owner = ?5, checkpoint_owner = ?6, counter = counter + 1, term = ?7,
    checkpoint = ?8, pending = ?9, pending_data = ?10, progress = ?11,
    parents = ?12, children = ?13, hash_start = ?14, hash_end = ?15,
    bytes_per_second = ?16, records_per_second = ?17
WHERE application = ?1 AND key = ?2 AND counter = ?3 AND owner = ?4
RETURNING ` + leaseColumns

	deleteLease = `DELETE FROM millrace_lease
WHERE application = ?1 AND key = ?2 AND counter = ?3 AND owner = ?4`

	readLease = `SELECT ` + leaseColumns + ` FROM millrace_lease
WHERE application = ?1 AND key = ?2`

	readLeases = `SELECT ` + leaseColumns + ` FROM millrace_lease
WHERE application = ?1 AND key IN (SELECT value FROM json_each(?2))`

	pageOfLeases = `SELECT ` + leaseColumns + ` FROM millrace_lease
WHERE application = ?1 AND key > ?2 ORDER BY key LIMIT ?3`

	// The conditions on '' are those of the partial indexes.
	ownedLeases = `SELECT ` + leaseColumns + ` FROM millrace_lease
WHERE application = ?1 AND owner = ?2 AND owner <> ''
UNION ALL
SELECT ` + leaseColumns + ` FROM millrace_lease
WHERE application = ?1 AND checkpoint_owner = ?2 AND checkpoint_owner <> '' AND owner <> ?2`
)

type leaseStatements struct {
	create, swap, delete          *sql.Stmt // run by the writer
	read, readMany, page, ownedBy *sql.Stmt // run by readers
}

func (l *leaseStatements) prepare(ctx context.Context, s *Store) error {
	return errors.Join(
		prepare(ctx, s.writes, &l.create, createLease),
		prepare(ctx, s.writes, &l.swap, swapLease),
		prepare(ctx, s.writes, &l.delete, deleteLease),
		prepare(ctx, s.reads, &l.read, readLease),
		prepare(ctx, s.reads, &l.readMany, readLeases),
		prepare(ctx, s.reads, &l.page, pageOfLeases),
		prepare(ctx, s.reads, &l.ownedBy, ownedLeases),
	)
}

// Leases implements [lease.Store]. The rows come in the order of their keys,
// in pages; each page is a snapshot.
func (s *Store) Leases(ctx context.Context) iter.Seq2[lease.Lease, error] {
	return func(yield func(lease.Lease, error) bool) {
		last := ""
		for {
			rows, err := many(ctx, s.leases.page, scanLease, s.application, last, page)
			if err != nil {
				yield(lease.Lease{}, failed(ctx, err, "list leases"))
				return
			}
			for _, l := range rows {
				if ctx.Err() != nil {
					yield(lease.Lease{}, failed(ctx, ctx.Err(), "list leases"))
					return
				}
				if !yield(l, nil) {
					return
				}
				last = l.Key
			}
			if len(rows) < page {
				return
			}
		}
	}
}

// Owned implements [lease.Store]. It does not lag.
func (s *Store) Owned(ctx context.Context, incarnation string) ([]lease.Lease, error) {
	rows, err := many(ctx, s.leases.ownedBy, scanLease, s.application, incarnation)
	if err != nil {
		return nil, failed(ctx, err, "list leases of %s", incarnation)
	}
	return rows, nil
}

// Read implements [lease.Store]. The rows are one snapshot.
func (s *Store) Read(ctx context.Context, keys ...string) ([]lease.Lease, error) {
	list, err := json.Marshal(keys)
	if err != nil {
		return nil, failed(ctx, err, "read %d leases", len(keys))
	}
	rows, err := many(ctx, s.leases.readMany, scanLease, s.application, string(list))
	if err != nil {
		return nil, failed(ctx, err, "read %d leases", len(keys))
	}
	return rows, nil
}

// Create implements [lease.Store]. All rows appear at once, or none.
func (s *Store) Create(ctx context.Context, leases ...lease.Lease) error {
	if len(leases) == 0 {
		return nil
	}
	if err := patiently(ctx, func() error { return s.create(ctx, leases) }); err != nil {
		return failed(ctx, err, "create %d leases", len(leases))
	}
	s.wrote(ctx)
	return nil
}

func (s *Store) create(ctx context.Context, leases []lease.Lease) error {
	tx, err := s.writes.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	insert := tx.StmtContext(ctx, s.leases.create)
	for _, l := range leases {
		values := append([]any{s.application, l.Key, l.Stream, l.StreamID, l.Shard, l.Owner, l.CheckpointOwner, l.Counter}, stateValues(l)...)
		if _, err := insert.ExecContext(ctx, values...); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// Swap implements [lease.Store].
func (s *Store) Swap(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
	values := append([]any{s.application, old.Key, old.Counter, old.Owner, next.Owner, next.CheckpointOwner}, stateValues(next)...)
	row, swapped, err := one(ctx, s.leases.swap, scanLease, values...)
	if err == nil && !swapped {
		if row, _, err = one(ctx, s.leases.read, scanLease, s.application, old.Key); err == nil {
			return row, lease.ErrConflict
		}
	}
	if err != nil {
		return lease.Lease{}, failed(ctx, err, "swap lease %s", old.Key)
	}
	s.wrote(ctx)
	return row, nil
}

// Delete implements [lease.Store].
func (s *Store) Delete(ctx context.Context, old lease.Lease) error {
	n, err := affected(ctx, s.leases.delete, s.application, old.Key, old.Counter, old.Owner)
	if err != nil {
		return failed(ctx, err, "delete lease %s", old.Key)
	}
	if n == 0 {
		return lease.ErrConflict
	}
	return nil
}
