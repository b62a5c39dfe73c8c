package postgres

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/stream"
)

// CheckpointTx makes the checkpoint at that record a part of a transaction in the
// database of the leases: what tx writes and the checkpoint are committed together,
// or neither, and never by a worker that has lost the shard. Call it last, just
// before tx is committed, and return the error of the commit to the worker:
//
//	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
//		if err := write(ctx, tx, b.Records); err != nil {
//			return err
//		}
//		return postgres.CheckpointTx(ctx, tx, b.Checkpointer, b.Records[len(b.Records)-1].Sequence)
//	})
//	if errors.Is(err, checkpoint.ErrStored) {
//		return nil // committed before, by an attempt that did not hear of it
//	}
//	return err
//
// [checkpoint.ErrStored] says that the checkpoint is there already, with what was
// committed then; an error that wraps [checkpoint.ErrLeaseLost], that another
// worker has the shard. After any error the transaction has to be rolled back. It
// may be of any isolation level; above READ COMMITTED the server may refuse it with
// a serialization failure (SQLSTATE 40001) when the row was written since it began,
// which is an error as any other: the batch comes again.
//
// tx may come from another pool than that of the store, and better does: a store
// whose beats wait for connections that long transactions hold lapses. Until tx
// ends, others wait who want to write that shard's row: the automatic
// checkpoint, and a leader that moves the shard. So that a worker which is stopped
// in between does not hold them up for ever, the server is told to end the
// transaction when it idles for as long as ctx has left, or
// lease.Config.FailoverTime if that is less, unless it has been given less before.
func CheckpointTx(ctx context.Context, tx pgx.Tx, c checkpoint.Checkpointer, at stream.Sequence) error {
	return c.CheckpointIn(ctx, tx, at)
}

// limitIdling lowers for how long the transaction may do nothing, when it holds
// the row of a shard, and may more.
const limitIdling = `SELECT set_config('idle_in_transaction_session_timeout', $1, true)
WHERE current_setting('idle_in_transaction_session_timeout')::interval NOT BETWEEN '1 ms' AND ($1 || ' ms')::interval`

// idleTime returns that time in milliseconds: what ctx has left, which is
// lease.Config.FailoverTime at most when a worker calls.
func idleTime(ctx context.Context) string {
	left := 10 * time.Second
	if deadline, ok := ctx.Deadline(); ok {
		left = max(time.Until(deadline), time.Millisecond)
	}
	return strconv.FormatInt(int64((left+time.Millisecond-1)/time.Millisecond), 10)
}

var _ lease.Transactional = (*Store)(nil)

// SwapIn implements [lease.Transactional]; tx is a [pgx.Tx].
func (s *Store) SwapIn(ctx context.Context, tx any, old, next lease.Lease) (lease.Lease, error) {
	row, won, err := s.swapIn(ctx, tx, &swap{old: old, next: next})
	switch {
	case err != nil:
		return lease.Lease{}, failed(ctx, err, "swap lease %s in a transaction", old.Key)
	case !won:
		return row, lease.ErrConflict
	}
	return row, nil
}

func (s *Store) swapIn(ctx context.Context, in any, w *swap) (row lease.Lease, won bool, err error) {
	tx, ok := in.(pgx.Tx)
	if !ok {
		return row, false, fmt.Errorf("the transaction is a %T: give a pgx.Tx of the database in which the leases are", in)
	}
	if err := w.storable(); err != nil {
		return row, false, err
	}
	batch := &pgx.Batch{}
	batch.Queue(limitIdling, idleTime(ctx))
	batch.Queue(s.sql.swapLeases, s.replacement(0, []*swap{w})...).Query(func(rows pgx.Rows) error {
		return believe(rows, []*swap{w})
	})
	if err := tx.SendBatch(ctx, batch).Close(); err != nil || w.won {
		return w.next, w.won, err
	}
	rows, err := tx.Query(ctx, s.sql.readLease, s.application, w.old.Key)
	if err != nil {
		return row, false, err
	}
	found, err := pgx.CollectRows(rows, scanLease)
	if len(found) > 0 {
		row = found[0]
	}
	return row, false, err
}
