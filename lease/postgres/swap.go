package postgres

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/millrace/millrace/lease"
)

// together is how many swaps are one statement at most: a few hundred
// kilobytes, and some milliseconds of the server's.
const together = 500

// waitForRow is how long a statement of many swaps waits for a row that a
// transaction of somebody else's has locked. Single statements hold theirs for
// as long as a commit takes.
const waitForRow = 250 * time.Millisecond

// Only the row's guard and its place in the arrays decide what happens to it:
// each row is swapped or left alone by itself, and those that were swapped are
// returned. The first part is evaluated before any row is touched, and its
// setting ends with the statement.
const swapLeases = `WITH patience AS MATERIALIZED (
    SELECT CASE WHEN $3::text <> '' THEN set_config('lock_timeout', $3, true) END
)
UPDATE millrace_lease AS l SET
    owner = a.owner, checkpoint_owner = a.checkpoint_owner, counter = l.counter + 1, term = a.term,
    checkpoint = a.checkpoint, pending = a.pending, pending_data = a.pending_data, progress = a.progress,
    parents = a.parents::text[], children = a.children::text[], hash_start = a.hash_start, hash_end = a.hash_end,
    bytes_per_second = a.bytes_per_second, records_per_second = a.records_per_second
FROM patience, unnest($4::text[], $5::bigint[], $6::text[], $7::boolean[],
    $8::text[], $9::text[], $10::bigint[], $11::text[], $12::text[], $13::bytea[], $14::bytea[],
    $15::text[], $16::text[], $17::text[], $18::text[], $19::float8[], $20::float8[])
    WITH ORDINALITY AS a (key, guard, guard_owner, wakes,
    owner, checkpoint_owner, term, checkpoint, pending, pending_data, progress,
    parents, children, hash_start, hash_end, bytes_per_second, records_per_second, place)
WHERE l.application = $1 AND l.key = a.key AND l.counter = a.guard AND l.owner = a.guard_owner
RETURNING a.place, l.stream, l.stream_id, l.shard, CASE WHEN a.wakes THEN pg_notify($2, '') END`

// swap is one call of Swap.
type swap struct{ old, next lease.Lease }

// swapped is what became of it.
type swapped struct {
	row  lease.Lease
	won  bool
	lone bool // it was not tried: the statement of all was rolled back
}

// Swap implements [lease.Store]. Swaps that wait at the same time are one
// statement. When that ends with an error, each of them is unknown.
func (s *Store) Swap(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
	row, err := s.swap(ctx, swap{old, next})
	if err != nil && !errors.Is(err, lease.ErrConflict) {
		return lease.Lease{}, failed(ctx, err, "swap lease %s", old.Key)
	}
	return row, err
}

func (s *Store) swap(ctx context.Context, w swap) (lease.Lease, error) {
	if err := errors.Join(storable("lease", w.old.Key), storable("owner", w.old.Owner), storableLease(w.next)); err != nil {
		return lease.Lease{}, err
	}
	if ctx.Err() != nil {
		return lease.Lease{}, context.Cause(ctx)
	}
	result, err := s.swaps.do(ctx, w)
	if err == nil && result.lone {
		result, err = s.swapAlone(ctx, w)
	}
	switch {
	case err != nil:
		return lease.Lease{}, err
	case result.won:
		return result.row, nil
	}
	// The statement found a row with another guard, or none. What it found is
	// not in its snapshot when it had to wait for somebody else's write, so the
	// row is read by a statement with a snapshot of its own.
	row, err := one(ctx, s, scanLease, s.sql.readLease, s.application, w.old.Key)
	if err != nil {
		return lease.Lease{}, err
	}
	return row, lease.ErrConflict
}

// swapTogether carries out swaps in one statement. Where one of them may have
// spoiled it for all (its row is locked, or is more than the server takes), the
// server has rolled it back, and each has to go alone.
func (s *Store) swapTogether(ctx context.Context, swaps []swap) ([]swapped, error) {
	results, err := s.run(ctx, waitForRow, swaps)
	if err != nil && spoiled(err) {
		results = slices.Repeat([]swapped{{lone: true}}, len(swaps))
		err = nil
	}
	return results, err
}

// swapAlone carries out one swap, and waits for its row as long as it takes.
func (s *Store) swapAlone(ctx context.Context, w swap) (swapped, error) {
	results, err := s.run(ctx, 0, []swap{w})
	if err != nil {
		return swapped{}, err
	}
	return results[0], nil
}

// run returns what became of each of the swaps. patience is how long to wait
// for a locked row; 0 is what the connection is set to.
func (s *Store) run(ctx context.Context, patience time.Duration, swaps []swap) (results []swapped, err error) {
	args := s.replacement(patience, swaps)
	err = patiently(ctx, nothingWritten, func() error {
		results = make([]swapped, len(swaps))
		rows, err := s.pool.Query(ctx, s.sql.swapLeases, args...)
		if err != nil {
			return err
		}
		var (
			place                    int64
			streams, streamID, shard string
		)
		// Rows are believed when the statement has committed, which its last
		// word tells and none of the rows.
		_, err = pgx.ForEachRow(rows, []any{&place, &streams, &streamID, &shard, nil}, func() error {
			w := swaps[place-1]
			row := w.next
			row.Key, row.Stream, row.StreamID, row.Shard = w.old.Key, streams, streamID, shard
			row.Counter = w.old.Counter + 1
			results[place-1] = swapped{row: row, won: true}
			return nil
		})
		return err
	})
	return results, err
}

// replacement returns the arguments of swapLeases.
func (s *Store) replacement(patience time.Duration, swaps []swap) []any {
	var (
		key, owner []string
		counter    []int64
		wake       []bool
		state      stateColumns
		wait       string
	)
	if patience > 0 {
		wait = strconv.FormatInt(patience.Milliseconds(), 10)
	}
	for _, w := range swaps {
		key, owner = append(key, w.old.Key), append(owner, w.old.Owner)
		counter = append(counter, w.old.Counter)
		wake = append(wake, s.channel != "" && wakes(w.old, w.next))
		state.add(w.next)
	}
	return append([]any{s.application, s.channel, wait, key, counter, owner, wake}, state.values()...)
}

// wakes reports whether others should hear of a swap at once: of anything but
// how far a shard has been processed, and at what cost, until its end.
func wakes(old, next lease.Lease) bool {
	return old.Owner != next.Owner || old.CheckpointOwner != next.CheckpointOwner || old.Term != next.Term ||
		old.Finished() != next.Finished() || !slices.Equal(old.Children, next.Children)
}
