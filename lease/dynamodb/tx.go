package dynamodb

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/stream"
)

// CheckpointWrite returns the checkpoint at that record as a part of a
// TransactWriteItems request of the caller's, in the account and region of the
// leases: its other writes and the checkpoint take place together, or not at all,
// and never for a worker that has lost the shard. It reads the row once, and
// writes nothing.
//
//	write, err := dynamodb.CheckpointWrite(ctx, b.Checkpointer, b.Records[len(b.Records)-1].Sequence)
//	if errors.Is(err, checkpoint.ErrStored) {
//		return nil // they took place before, in an attempt that did not hear of it
//	} else if err != nil {
//		return err
//	}
//	_, err = client.TransactWriteItems(ctx, &awsdynamodb.TransactWriteItemsInput{TransactItems: append(effects, write)})
//	return err
//
// Send it at once: whatever else is written to the row meanwhile, the automatic
// checkpoint for one, cancels the request (TransactionCanceledException), which is
// an error as any other: the batch comes again. An error that wraps
// [checkpoint.ErrLeaseLost] says that another worker has the shard.
func CheckpointWrite(ctx context.Context, c checkpoint.Checkpointer, at stream.Sequence) (types.TransactWriteItem, error) {
	var write types.TransactWriteItem
	err := c.CheckpointIn(ctx, &write, at)
	return write, err
}

var _ lease.Transactional = (*Store)(nil)

// SwapIn implements [lease.Transactional]; tx is a *[types.TransactWriteItem],
// which it fills. The row is read first: that an earlier request took place whose
// answer was lost would cancel this one, and not tell why.
func (s *Store) SwapIn(ctx context.Context, tx any, old, next lease.Lease) (lease.Lease, error) {
	into, ok := tx.(*types.TransactWriteItem)
	if !ok {
		return lease.Lease{}, fmt.Errorf("dynamodb: swap lease %s in a transaction: it is a %T: call CheckpointWrite, or give a *types.TransactWriteItem", old.Key, tx)
	}
	var row lease.Lease
	it, err := s.get(ctx, s.config.Table, s.key(old.Key))
	if err == nil {
		row, err = s.current(it, old.Key)
	}
	if err != nil {
		return lease.Lease{}, failed(ctx, err, "swap lease %s of table %s in a transaction", old.Key, s.config.Table)
	}
	if row.Counter != old.Counter || row.Owner != old.Owner {
		return row, lease.ErrConflict
	}
	in, _, err := s.update(old, next)
	if err != nil {
		return lease.Lease{}, failed(ctx, err, "swap lease %s of table %s in a transaction", old.Key, s.config.Table)
	}
	into.Update = &types.Update{
		TableName: in.TableName, Key: in.Key,
		ConditionExpression: in.ConditionExpression, UpdateExpression: in.UpdateExpression,
		ExpressionAttributeNames: in.ExpressionAttributeNames, ExpressionAttributeValues: in.ExpressionAttributeValues,
		ReturnValuesOnConditionCheckFailure: in.ReturnValuesOnConditionCheckFailure,
	}
	next.Key, next.Stream, next.StreamID, next.Shard = row.Key, row.Stream, row.StreamID, row.Shard
	next.Counter = old.Counter + 1
	return next, nil
}
