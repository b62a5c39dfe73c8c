package postgres

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"

	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/lease/internal/sqlstore"
)

// page is how many rows Leases reads, and Create writes, at a time.
const page = 1000

// The columns of a lease, in the order of scanLease and stateColumns.
const leaseColumns = `key, stream, stream_id, shard, owner, checkpoint_owner, counter, term,
    checkpoint, pending, pending_data, progress, parents, children, hash_start, hash_end,
    bytes_per_second, records_per_second`

const (
	createLeases = `WITH made AS (
    INSERT INTO millrace_lease (application, ` + leaseColumns + `)
    SELECT $1, key, stream, stream_id, shard, owner, checkpoint_owner, counter, term,
        checkpoint, pending, pending_data, progress, parents::text[], children::text[], hash_start, hash_end,
        bytes_per_second, records_per_second
    FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[],
        $8::text[], $9::text[], $10::bigint[], $11::text[], $12::text[], $13::bytea[], $14::bytea[],
        $15::text[], $16::text[], $17::text[], $18::text[], $19::float8[], $20::float8[])
        AS a (key, stream, stream_id, shard, counter,
        owner, checkpoint_owner, term, checkpoint, pending, pending_data, progress,
        parents, children, hash_start, hash_end, bytes_per_second, records_per_second)
    ON CONFLICT (application, key) DO NOTHING
    RETURNING key
)
SELECT pg_notify($2, '') FROM made WHERE $2::text <> '' LIMIT 1`

	deleteLease = `DELETE FROM millrace_lease
WHERE application = $1 AND key = $2 AND counter = $3 AND owner = $4
RETURNING CASE WHEN $5::text <> '' THEN pg_notify($5, '') END`

	readLease = `SELECT ` + leaseColumns + ` FROM millrace_lease
WHERE application = $1 AND key = $2`

	readLeases = `SELECT ` + leaseColumns + ` FROM millrace_lease
WHERE application = $1 AND key = ANY ($2::text[])`

	pageOfLeases = `SELECT ` + leaseColumns + ` FROM millrace_lease
WHERE application = $1 AND key > $2 ORDER BY key LIMIT $3`

	// The conditions on '' are those of the partial indexes.
	ownedLeases = `SELECT ` + leaseColumns + ` FROM millrace_lease
WHERE application = $1 AND owner = $2 AND owner <> ''
UNION ALL
SELECT ` + leaseColumns + ` FROM millrace_lease
WHERE application = $1 AND checkpoint_owner = $2 AND checkpoint_owner <> '' AND owner <> $2`
)

// Leases implements [lease.Store]. The rows come in the order of their keys,
// in pages; each page is a snapshot.
func (s *Store) Leases(ctx context.Context) iter.Seq2[lease.Lease, error] {
	return func(yield func(lease.Lease, error) bool) {
		last := ""
		for {
			rows, err := many(ctx, s, scanListed, s.sql.pageOfLeases, s.application, last, page)
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
	err := storable("worker", incarnation)
	if err == nil {
		var rows []sqlstore.Listed
		if rows, err = many(ctx, s, scanListed, s.sql.ownedLeases, s.application, incarnation); err == nil {
			return sqlstore.Understood(rows), nil
		}
	}
	return nil, failed(ctx, err, "list leases of %s", incarnation)
}

// Read implements [lease.Store]. The rows are one snapshot.
func (s *Store) Read(ctx context.Context, keys ...string) ([]lease.Lease, error) {
	err := storable("lease", keys...)
	if err == nil {
		var rows []lease.Lease
		if rows, err = many(ctx, s, scanLease, s.sql.readLeases, s.application, slices.Concat(keys, []string{})); err == nil {
			return rows, nil
		}
	}
	return nil, failed(ctx, err, "read %d leases", len(keys))
}

// Create implements [lease.Store]. Of each thousand rows all appear at once, or
// none.
func (s *Store) Create(ctx context.Context, leases ...lease.Lease) error {
	for _, l := range leases {
		if err := storableLease(l); err != nil {
			return failed(ctx, err, "create lease %s", l.Key)
		}
	}
	// Two who create the same rows wait for one another row by row; in one
	// order, they cannot do so in a circle. Of two rows with one key the first
	// one stays the first.
	leases = slices.Clone(leases)
	slices.SortStableFunc(leases, func(a, b lease.Lease) int { return strings.Compare(a.Key, b.Key) })
	for rows := range slices.Chunk(leases, page) {
		if _, err := s.write(ctx, s.sql.createLeases, s.creation(rows)...); err != nil {
			return failed(ctx, err, "create %d leases", len(leases))
		}
	}
	return nil
}

// creation returns the arguments of createLeases.
func (s *Store) creation(leases []lease.Lease) []any {
	var (
		n               = len(leases)
		key, streams    = make([]string, n), make([]string, n)
		streamID, shard = make([]string, n), make([]string, n)
		counter         = make([]int64, n)
		state           = newStateColumns(n)
	)
	for i := range leases {
		l := &leases[i]
		key[i], streams[i], streamID[i], shard[i], counter[i] = l.Key, l.Stream, l.StreamID, l.Shard, l.Counter
		state.set(i, l)
	}
	return append([]any{s.application, s.channel, key, streams, streamID, shard, counter}, state.values()...)
}

// Delete implements [lease.Store].
func (s *Store) Delete(ctx context.Context, old lease.Lease) error {
	err := errors.Join(storable("lease", old.Key), storable("owner", old.Owner))
	if err == nil {
		var deleted bool
		deleted, err = s.write(ctx, s.sql.deleteLease, s.application, old.Key, old.Counter, old.Owner, s.channel)
		if err == nil && !deleted {
			return lease.ErrConflict
		}
	}
	if err != nil {
		return failed(ctx, err, "delete lease %s", old.Key)
	}
	return nil
}
