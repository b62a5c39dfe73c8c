package sqlite

import (
	"context"
	"iter"
	"slices"

	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/lease/internal/sqlstore"
)

// page is how many rows Leases reads at a time. Between pages nothing is open,
// so that a slow reader keeps nobody from cutting back the write-ahead log.
const page = 500

// creation is how many rows Create writes at a time: for longer than that takes,
// nobody should wait for a beat.
const creation = 1000

// The columns of a lease, in the order of leaseValues and scanLease.
const leaseColumns = `key, stream, stream_id, shard, owner, checkpoint_owner, counter, term,
    checkpoint, pending, pending_data, progress, parents, children, hash_start, hash_end,
    bytes_per_second, records_per_second`

const (
	createLease = `INSERT INTO millrace_lease (application, ` + leaseColumns + `)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)
ON CONFLICT (application, key) DO NOTHING`

	// All but the owners: those are in indexes, which cost as much again as the row.
	saveLease = `UPDATE millrace_lease SET
    counter = counter + 1, term = ?, checkpoint = ?, pending = ?, pending_data = ?, progress = ?,
    parents = ?, children = ?, hash_start = ?, hash_end = ?, bytes_per_second = ?, records_per_second = ?
WHERE application = ? AND key = ? AND counter = ? AND owner = ? AND checkpoint_owner = ?`

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

// Leases implements [lease.Store]. The rows come in the order of their keys,
// in pages; each page is a snapshot.
func (s *Store) Leases(ctx context.Context) iter.Seq2[lease.Lease, error] {
	return func(yield func(lease.Lease, error) bool) {
		last := ""
		for {
			rows, err := read(ctx, s, scanListed, pageOfLeases, s.application, last, int64(page))
			if err != nil {
				yield(lease.Lease{}, failed(ctx, err, "list leases"))
				return
			}
			for _, row := range rows {
				if ctx.Err() != nil {
					yield(lease.Lease{}, failed(ctx, ctx.Err(), "list leases"))
					return
				}
				if !row.Unreadable && !yield(row.Lease, nil) {
					return
				}
				last = row.Lease.Key
			}
			if len(rows) < page {
				return
			}
		}
	}
}

// Owned implements [lease.Store]. It does not lag.
func (s *Store) Owned(ctx context.Context, incarnation string) ([]lease.Lease, error) {
	rows, err := read(ctx, s, scanListed, ownedLeases, s.application, incarnation)
	if err != nil {
		return nil, failed(ctx, err, "list leases of %s", incarnation)
	}
	return sqlstore.Understood(rows), nil
}

// Read implements [lease.Store]. The rows are one snapshot.
func (s *Store) Read(ctx context.Context, keys ...string) ([]lease.Lease, error) {
	err := storable(keys)
	if err == nil {
		var rows []lease.Lease
		if rows, err = read(ctx, s, scanLease, readLeases, s.application, list(keys)); err == nil {
			return rows, nil
		}
	}
	return nil, failed(ctx, err, "read %d leases", len(keys))
}

// Create implements [lease.Store]. Of each thousand rows all appear at once, or
// none: between them others may write.
func (s *Store) Create(ctx context.Context, leases ...lease.Lease) error {
	for _, l := range leases {
		if err := storable([]string{l.Key}, l.Parents, l.Children); err != nil {
			return failed(ctx, err, "create lease %q", l.Key)
		}
	}
	for rows := range slices.Chunk(leases, creation) {
		if err := s.create(ctx, rows); err != nil {
			return failed(ctx, err, "create %d leases", len(leases))
		}
	}
	return nil
}

func (s *Store) create(ctx context.Context, leases []lease.Lease) error {
	return s.write(ctx, func(c *conn) (tell bool, err error) {
		for _, l := range leases {
			values := stateValues([]any{s.application, l.Key, l.Stream, l.StreamID, l.Shard, l.Owner, l.CheckpointOwner, l.Counter}, &l)
			created, err := c.exec(createLease, values...)
			if err != nil {
				return false, err
			}
			tell = tell || created > 0
		}
		return tell, nil
	})
}

// Delete implements [lease.Store].
func (s *Store) Delete(ctx context.Context, old lease.Lease) error {
	deleted := false
	err := s.write(ctx, func(c *conn) (tell bool, err error) {
		rows, err := c.exec(deleteLease, s.application, old.Key, old.Counter, old.Owner)
		deleted = rows > 0
		return deleted, err
	})
	switch {
	case err != nil:
		return failed(ctx, err, "delete lease %s", old.Key)
	case !deleted:
		return lease.ErrConflict
	}
	return nil
}
