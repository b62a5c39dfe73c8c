package postgres

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/lease/internal/sqlstore"
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
// setting ends with the statement. The arrays are subqueries so that the
// server cannot look into them when it plans: else it finds that a plan made for
// just these lengths is cheaper, and makes a new one each time, which costs as
// much as carrying it out.
const swapLeases = `WITH patience AS MATERIALIZED (
    SELECT CASE WHEN $3::text <> '' THEN set_config('lock_timeout', $3, true) END
)
UPDATE millrace_lease AS l SET
    owner = a.owner, checkpoint_owner = a.checkpoint_owner, counter = l.counter + 1, term = a.term,
    checkpoint = a.checkpoint, pending = a.pending, pending_data = a.pending_data, progress = a.progress,
    parents = a.parents::text[], children = a.children::text[], hash_start = a.hash_start, hash_end = a.hash_end,
    bytes_per_second = a.bytes_per_second, records_per_second = a.records_per_second
FROM patience, unnest((SELECT $4::text[]), (SELECT $5::bigint[]), (SELECT $6::text[]), (SELECT $7::boolean[]),
    (SELECT $8::text[]), (SELECT $9::text[]), (SELECT $10::bigint[]), (SELECT $11::text[]), (SELECT $12::text[]),
    (SELECT $13::bytea[]), (SELECT $14::bytea[]), (SELECT $15::text[]), (SELECT $16::text[]),
    (SELECT $17::text[]), (SELECT $18::text[]), (SELECT $19::float8[]), (SELECT $20::float8[]))
    WITH ORDINALITY AS a (key, guard, guard_owner, wakes,
    owner, checkpoint_owner, term, checkpoint, pending, pending_data, progress,
    parents, children, hash_start, hash_end, bytes_per_second, records_per_second, place)
WHERE l.application = $1 AND l.key = a.key AND l.counter = a.guard AND l.owner = a.guard_owner
RETURNING a.place, l.stream, l.stream_id, l.shard, CASE WHEN a.wakes THEN pg_notify($2, '') END`

// swap is one call of Swap, and what became of it.
type swap struct {
	old, next lease.Lease

	won   bool // next is the row as it was written
	alone bool // it cannot go with others
}

// Swap implements [lease.Store]. Swaps that wait at the same time are one
// statement. When that ends with an error, each of them is unknown.
func (s *Store) Swap(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
	row, err := s.swap(ctx, old, next)
	if err != nil && !errors.Is(err, lease.ErrConflict) {
		if ctx.Err() != nil {
			err = s.starved(err) // which nobody knows who left a group
		}
		return lease.Lease{}, failed(ctx, err, "swap lease %s", old.Key)
	}
	return row, err
}

func (s *Store) swap(ctx context.Context, old, next lease.Lease) (row lease.Lease, err error) {
	w := &swap{old: old, next: next}
	if err := w.storable(); err != nil {
		return row, err
	}
	if ctx.Err() != nil {
		return row, context.Cause(ctx)
	}
	err = s.swaps.Do(ctx, w)
	if err == nil && w.alone {
		err = s.swapAlone(ctx, w)
	}
	switch {
	case err != nil:
		return row, err
	case w.won:
		return w.next, nil
	}
	// The statement found a row with another guard, or none. What it found is
	// not in its snapshot when it had to wait for somebody else's write, so the
	// row is read by a statement with a snapshot of its own.
	if row, err = one(ctx, s, scanLease, s.sql.readLease, s.application, old.Key); err == nil {
		err = lease.ErrConflict
	}
	return row, err
}

func (w *swap) storable() error {
	return errors.Join(storable("lease", w.old.Key), storable("owner", w.old.Owner), storableLease(w.next))
}

// swapTogether carries out swaps in one statement. Where one of them may have
// spoiled it for all (its row is locked, or is more than the server takes), the
// server has rolled it back, and they go by halves, until those are found that have
// to go alone.
func (s *Store) swapTogether(ctx context.Context, swaps []*swap) error {
	return s.divide(ctx, waitForRow, swaps)
}

func (s *Store) divide(ctx context.Context, patience time.Duration, swaps []*swap) error {
	err := s.run(ctx, patience, swaps)
	if err == nil || !spoiled(err) {
		return err
	}
	if len(swaps) == 1 {
		swaps[0].alone = true
		return nil
	}
	const noTime = time.Millisecond // the shortest that the server knows
	half := len(swaps) / 2
	if err := s.divide(ctx, noTime, swaps[:half]); err != nil {
		return err
	}
	return s.divide(ctx, noTime, swaps[half:])
}

// swapAlone carries out a swap for which others should not wait. It waits for a
// locked row for as long as ctx lasts, in turns with all who wait like this: they
// have a few connections among them, so that beats and reads always find one.
func (s *Store) swapAlone(ctx context.Context, w *swap) error {
	for {
		select {
		case s.lone <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		err := s.run(ctx, waitForRow, []*swap{w})
		<-s.lone
		if ctx.Err() != nil || state(err) != lockNotAvailable {
			return err
		}
	}
}

// run carries out swaps and tells each of them that won. patience is how long
// to wait for a locked row; 0 is what the connection is set to.
func (s *Store) run(ctx context.Context, patience time.Duration, swaps []*swap) error {
	args := s.replacement(patience, swaps)
	return patiently(ctx, nothingWritten, func() error {
		for _, w := range swaps {
			w.won = false
		}
		return s.lent(ctx, func(conn *pgxpool.Conn) error {
			rows, err := conn.Query(ctx, s.sql.swapLeases, args...)
			if err != nil {
				return err
			}
			return believe(rows, swaps)
		})
	})
}

// believe tells swaps what swapLeases returns. A row that is returned is swapped
// when the statement has committed, which its last word tells: an error after all
// rows is one of all rows.
func believe(rows pgx.Rows, swaps []*swap) error {
	var (
		place                    int64
		streams, streamID, shard string
	)
	_, err := pgx.ForEachRow(rows, []any{&place, &streams, &streamID, &shard, nil}, func() error {
		w := swaps[place-1]
		w.next.Key, w.next.Stream, w.next.StreamID, w.next.Shard = w.old.Key, streams, streamID, shard
		w.next.Counter = w.old.Counter + 1
		w.won = true
		return nil
	})
	return err
}

// replacement returns the arguments of swapLeases.
func (s *Store) replacement(patience time.Duration, swaps []*swap) []any {
	var (
		n       = len(swaps)
		key     = make([]string, n)
		owner   = make([]string, n)
		counter = make([]int64, n)
		wake    = make([]bool, n)
		state   = newStateColumns(n)
		wait    string
	)
	if patience > 0 {
		wait = strconv.FormatInt(patience.Milliseconds(), 10)
	}
	for i, w := range swaps {
		key[i], counter[i], owner[i] = w.old.Key, w.old.Counter, w.old.Owner
		wake[i] = s.channel != "" && sqlstore.Wakes(&w.old, &w.next)
		state.set(i, &w.next)
	}
	return append([]any{s.application, s.channel, wait, key, counter, owner, wake}, state.values()...)
}
