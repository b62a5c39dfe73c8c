package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"strings"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/lease/internal/sqlstore"
	"github.com/millrace/millrace/stream"
)

// CheckpointTx makes the checkpoint at that record a part of a transaction on the
// file in which the leases are: what tx writes there and the checkpoint are
// committed together, or neither, and never by a worker that has lost the shard.
// So give [Open] the path of the database that the processor writes to; the store
// keeps its tables apart from all others in it. Call CheckpointTx last, just before
// tx is committed, and return the error of the commit to the worker:
//
//	tx, err := db.BeginTx(ctx, nil)
//	if err != nil {
//		return err
//	}
//	defer tx.Rollback()
//	if err := write(ctx, tx, b.Records); err != nil {
//		return err
//	}
//	err = sqlite.CheckpointTx(ctx, tx, b.Checkpointer, b.Records[len(b.Records)-1].Sequence)
//	switch {
//	case errors.Is(err, checkpoint.ErrStored):
//		return nil // committed before, by an attempt that did not hear of it
//	case err != nil:
//		return err
//	}
//	return tx.Commit()
//
// [checkpoint.ErrStored] says that the checkpoint is there already, with what was
// committed then; an error that wraps [checkpoint.ErrLeaseLost], that another
// worker has the shard. After any error the transaction has to be rolled back.
//
// tx comes from a database/sql pool of the user's own, with any driver. Its
// connections need a busy timeout, and better begin their transactions with BEGIN
// IMMEDIATE (with modernc.org/sqlite: "?_txlock=immediate&_busy_timeout=5000"): one
// that reads before it writes is refused when anybody has written in between, which
// is an error as any other, and the batch comes again. How durable both are
// is what those connections say (PRAGMA synchronous).
//
// From its first write to its end such a transaction keeps all others from writing
// to the file, and so the workers of the whole fleet from beating: keep it short
// beside their FailoverTime. A process that is stopped in the middle of one holds
// up all others until it goes on or ends; nobody can take its shards meanwhile.
//
// What tx writes to another file that is attached is not part of it: SQLite commits
// each by itself where there is a write-ahead log. So the leases have to be in the
// database called main.
func CheckpointTx(ctx context.Context, tx *sql.Tx, c checkpoint.Checkpointer, at stream.Sequence) error {
	return c.CheckpointIn(ctx, tx, at)
}

var _ lease.Transactional = (*Store)(nil)

// The statements of a transaction that is not the store's own: there, an attached
// file may have tables of the same names.
var (
	swapLeaseInMain    = strings.ReplaceAll(swapLease, "millrace_", "main.millrace_")
	readLeaseInMain    = strings.ReplaceAll(readLease, "millrace_", "main.millrace_")
	recordChangeInMain = strings.ReplaceAll(recordChange, "millrace_", "main.millrace_")
)

// SwapIn implements [lease.Transactional]; tx is a [*sql.Tx].
func (s *Store) SwapIn(ctx context.Context, tx any, old, next lease.Lease) (lease.Lease, error) {
	w := &swap{old: old, next: next}
	if err := s.swapIn(ctx, tx, w); err != nil {
		return lease.Lease{}, failed(ctx, err, "swap lease %s in a transaction", old.Key)
	}
	return w.answer()
}

func (s *Store) swapIn(ctx context.Context, in any, w *swap) error {
	tx, ok := in.(*sql.Tx)
	if !ok {
		return fmt.Errorf("the transaction is a %T: give a *sql.Tx on the file in which the leases are", in)
	}
	if err := w.storable(); err != nil {
		return err
	}
	if err := w.replaced(leasesIn(ctx, tx, swapLeaseInMain, s.replacement(w)...)); err != nil {
		return err
	}
	if !w.won {
		rows, err := leasesIn(ctx, tx, readLeaseInMain, s.application, w.old.Key)
		w.found = new(lease.Lease)
		if len(rows) > 0 {
			w.found = &rows[0]
		}
		return err
	}
	if !sqlstore.Wakes(&w.old, &w.next) {
		return nil
	}
	_, err := tx.ExecContext(ctx, recordChangeInMain, s.application)
	return err
}

// leasesIn returns the rows of a statement in a transaction. Its driver need not
// be that of the store.
func leasesIn(ctx context.Context, tx *sql.Tx, statement string, args ...any) (all []lease.Lease, err error) {
	rows, err := tx.QueryContext(ctx, statement, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	values, into := make([]driver.Value, len(names)), make([]any, len(names))
	for i := range values {
		into[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		l, err := scanLease(&columns{values: values})
		if err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	return all, rows.Err()
}
