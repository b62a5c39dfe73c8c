package dynamodb

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millrace/millrace/lease"
)

// batch is how many rows DynamoDB reads in one request at most.
const batch = 100

// newMark returns what tells one write from all others.
func newMark() string { return strconv.FormatUint(rand.Uint64(), 36) }

// Leases implements [lease.Store] by a consistent scan, page by page. Rows that a
// KCL wrote are marked with the incarnation of their stream, as soon as
// [Store.Inherit] has told it, and are yielded then.
func (s *Store) Leases(ctx context.Context) iter.Seq2[lease.Lease, error] {
	return func(yield func(lease.Lease, error) bool) {
		if err := s.scan(ctx, func(l lease.Lease) bool { return yield(l, nil) }); err != nil {
			yield(lease.Lease{}, failed(ctx, err, "list leases of table %s", s.config.Table))
		}
	}
}

// scan calls each for every lease until it returns false.
func (s *Store) scan(ctx context.Context, each func(lease.Lease) bool) error {
	in := &sdk.ScanInput{TableName: &s.config.Table, ConsistentRead: aws.Bool(true), Limit: s.pageSize}
	for {
		page, _, err := request(ctx, s.api.Scan, in)
		if err == nil {
			err = s.inherit(ctx, page.Items)
		}
		if err != nil {
			return err
		}
		for _, it := range page.Items {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			l, ok, err := s.row(ctx, it)
			if err != nil {
				return err
			}
			if ok && !each(l) {
				return nil
			}
		}
		if in.ExclusiveStartKey = page.LastEvaluatedKey; len(in.ExclusiveStartKey) == 0 {
			return nil
		}
	}
}

// Owned implements [lease.Store]: it asks the index of owners and that of
// checkpoint owners, which is empty but for handoffs, and reads the rows that
// they name and that are not known. Both indexes lag, for less than a second as
// a rule; a row that others than its owner wrote may be as old as trust.
func (s *Store) Owned(ctx context.Context, incarnation string) ([]lease.Lease, error) {
	if incarnation == "" {
		return nil, nil
	}
	var keys [2][]string
	err := parallel(ctx, len(keys), func(ctx context.Context, i int) (err error) {
		keys[i], err = s.indexed(ctx, indexes[i], incarnation)
		return err
	})
	if err != nil {
		return nil, failed(ctx, err, "list leases of %s in table %s", incarnation, s.config.Table)
	}
	owned, unknown := s.known.settled(incarnation, keys[0], keys[1])
	rows, err := s.items(ctx, unknown, false)
	for _, it := range rows {
		if l, ok, _ := s.row(ctx, it); ok && (l.Owner == incarnation || l.CheckpointOwner == incarnation) {
			s.known.add(s.layout.tableKey(l.Key), l)
			owned = append(owned, l)
		}
	}
	if err != nil { // the next call goes on with what is unknown then
		return nil, failed(ctx, err, "read leases of %s in table %s", incarnation, s.config.Table)
	}
	return owned, nil
}

// indexed returns the keys that an index has for a name.
func (s *Store) indexed(ctx context.Context, by index, name string) (keys []string, err error) {
	in := &sdk.QueryInput{
		TableName: &s.config.Table, IndexName: &by.name, Limit: s.pageSize,
		KeyConditionExpression:    aws.String("#name = :name"),
		ExpressionAttributeNames:  map[string]string{"#name": by.attribute},
		ExpressionAttributeValues: item{":name": text(name)},
	}
	for {
		page, _, err := request(ctx, s.api.Query, in)
		if err != nil {
			return nil, err
		}
		for _, it := range page.Items {
			r := reader{item: it}
			keys = append(keys, r.text(leaseKey))
		}
		if in.ExclusiveStartKey = page.LastEvaluatedKey; len(in.ExclusiveStartKey) == 0 {
			return keys, nil
		}
	}
}

// Read implements [lease.Store] by consistent batch reads.
func (s *Store) Read(ctx context.Context, keys ...string) ([]lease.Lease, error) {
	asked := setOf(keys)
	delete(asked, "") // which DynamoDB takes for no key, and no row has
	inTable := make(map[string]bool, len(asked))
	for key := range asked {
		inTable[s.layout.tableKey(key)] = true // two incarnations of a stream may have the same
	}
	rows, err := s.items(ctx, slices.Collect(maps.Keys(inTable)), true)
	if err != nil {
		return nil, failed(ctx, err, "read %d leases of table %s", len(keys), s.config.Table)
	}
	var found []lease.Lease
	for _, it := range rows {
		l, err := s.layout.lease(it)
		switch {
		case errors.Is(err, errNoLease):
		case err != nil:
			return nil, failed(ctx, fmt.Errorf("%w: %w", lease.ErrUnreadable, err), "read %d leases of table %s", len(keys), s.config.Table)
		case asked[l.Key]:
			s.known.learn(s.layout.tableKey(l.Key), l)
			found = append(found, l)
		}
	}
	return found, nil
}

// items reads rows by their keys in the table, in parallel batches. With an error
// it returns those that it has read.
func (s *Store) items(ctx context.Context, keys []string, consistent bool) (rows []item, err error) {
	if len(keys) == 0 {
		return nil, ctx.Err()
	}
	batches := slices.Collect(slices.Chunk(keys, batch))
	var mu sync.Mutex
	err = parallel(ctx, len(batches), func(ctx context.Context, i int) error {
		found, err := s.batch(ctx, batches[i], consistent)
		mu.Lock()
		defer mu.Unlock()
		rows = append(rows, found...)
		return err
	})
	return rows, err
}

// batch reads up to a hundred rows, and asks again for those that DynamoDB left
// out for want of capacity or of room in its answer. With an error it returns
// those that it has read.
func (s *Store) batch(ctx context.Context, keys []string, consistent bool) (rows []item, err error) {
	ask := types.KeysAndAttributes{ConsistentRead: &consistent}
	for _, key := range keys {
		ask.Keys = append(ask.Keys, item{leaseKey: text(key)})
	}
	began := time.Now()
	for attempt := 1; ; attempt++ {
		in := &sdk.BatchGetItemInput{RequestItems: map[string]types.KeysAndAttributes{s.config.Table: ask}}
		out, _, err := request(ctx, s.api.BatchGetItem, in)
		if err != nil {
			return rows, err
		}
		found := out.Responses[s.config.Table]
		rows = append(rows, found...)
		ask.Keys = out.UnprocessedKeys[s.config.Table].Keys
		switch {
		case len(ask.Keys) == 0:
			return rows, nil
		case len(found) > 0:
			began, attempt = time.Now(), 0 // it goes on
		case time.Since(began) > patience || !pause(ctx, attempt):
			return rows, errShort
		}
	}
}

// Create implements [lease.Store], with one request for each row.
func (s *Store) Create(ctx context.Context, leases ...lease.Lease) error {
	seen := make(map[string]bool, len(leases))
	var first []lease.Lease // of those with one key
	for _, l := range leases {
		if key := s.layout.tableKey(l.Key); !seen[key] {
			seen[key] = true
			first = append(first, l)
		}
	}
	err := parallel(ctx, len(first), func(ctx context.Context, i int) error {
		if err := s.layout.listed(first[i]); err != nil {
			return err
		}
		row := s.layout.newRow(first[i], newMark())
		if err := fits(row); err != nil {
			return err
		}
		_, _, err := request(ctx, s.api.PutItem, &sdk.PutItemInput{
			TableName: &s.config.Table, Item: row,
			ConditionExpression: aws.String("attribute_not_exists(" + leaseKey + ")"),
		})
		if exists := new(*types.ConditionalCheckFailedException); errors.As(err, exists) {
			return nil // perhaps since an attempt of ours whose answer was lost
		}
		return err
	})
	if err != nil {
		return failed(ctx, err, "create %d leases in table %s", len(leases), s.config.Table)
	}
	return nil
}

// guard returns the condition that a row is as the caller believes.
func guard(u *update, old lease.Lease) *string {
	return aws.String(u.name(leaseCounter) + " = " + u.value(integer(old.Counter)) + " AND " + u.equals(leaseOwner, old.Owner))
}

// guarding reports whether a row fits that condition.
func guarding(it item, old lease.Lease) bool {
	r := &reader{item: it}
	return it[leaseCounter] != nil && r.integer(leaseCounter) == old.Counter && r.text(leaseOwner) == old.Owner &&
		(it[leaseOwner] == nil) == (old.Owner == "") && r.err() == nil
}

// Swap implements [lease.Store].
func (s *Store) Swap(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
	row, err := s.swap(ctx, old, next)
	s.known.learn(s.layout.tableKey(old.Key), row) // nothing, after an error that leaves open what it is
	return row, err
}

func (s *Store) swap(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
	it, err := s.write(ctx, old, next)
	if err == nil || errors.Is(err, lease.ErrConflict) {
		row, unreadable := s.current(it, old.Key)
		if unreadable == nil {
			return row, err
		}
		err = unreadable
	}
	return lease.Lease{}, failed(ctx, err, "swap lease %s in table %s", old.Key, s.config.Table)
}

// write returns the row that a swap has written; or the row as it is, nil if there is
// none, with [lease.ErrConflict].
func (s *Store) write(ctx context.Context, old, next lease.Lease) (item, error) {
	in, mark, err := s.update(old, next)
	if err != nil {
		return nil, err
	}
	out, row, unsure, err := guarded(ctx, s, s.api.UpdateItem, in, s.config.Table, in.Key, func(it item) bool { return guarding(it, old) })
	switch {
	case err == nil:
		return out.Attributes, nil
	case errors.Is(err, lease.ErrConflict):
		return row, s.conflict(ctx, row, old, unsure, mark)
	}
	return nil, err
}

// update returns the request of a swap, and the mark of what it writes.
func (s *Store) update(old, next lease.Lease) (in *sdk.UpdateItemInput, write string, err error) {
	u, mark := newUpdate(), newMark()
	state := s.layout.state(next, old.Counter+1, mark)
	if err := fits(state); err != nil {
		return nil, "", err
	}
	u.put(state, changing...)
	countSwitches(u, old, next)
	return &sdk.UpdateItemInput{
		TableName: &s.config.Table, Key: s.key(old.Key),
		ConditionExpression: guard(u, old), UpdateExpression: u.expression(),
		ExpressionAttributeNames: u.names, ExpressionAttributeValues: u.values,
		ReturnValues:                        types.ReturnValueAllNew,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	}, mark, nil
}

// countSwitches keeps the number of owners that have come since the last
// checkpoint, without which the KCL cannot read a row.
func countSwitches(u *update, old, next lease.Lease) {
	name, zero := u.name(ownerSwitches), u.value(integer(0))
	value := zero
	if next.Checkpoint.Position == old.Checkpoint.Position {
		if value = "if_not_exists(" + name + ", " + zero + ")"; next.Owner != old.Owner {
			value += " + " + u.value(integer(1))
		}
	}
	u.sets = append(u.sets, name+" = "+value)
}

func (s *Store) key(of string) item { return item{leaseKey: text(s.layout.tableKey(of))} }

// conflict says what it means that a swap was refused, and that its row is this one:
// nothing, when an earlier attempt of that very swap has written it.
func (s *Store) conflict(ctx context.Context, row item, old lease.Lease, unsure bool, mark string) error {
	wrote, at := writeOf(row)
	counter := (&reader{item: row}).integer(leaseCounter)
	if row != nil && at != counter {
		s.tell(ctx, "somebody who does not know this program writes to the lease table: stop the KCL application, or both process the same shards",
			s.config.Table, errOthers)
	}
	switch {
	case wrote == mark && at == counter:
		return nil
	case unsure && counter != old.Counter+1:
		return errUnsure // it went on, or is gone, or is another row by now
	default:
		return lease.ErrConflict
	}
}

// current reads the row of a key: the zero Lease when there is none, or another's.
func (s *Store) current(it item, key string) (lease.Lease, error) {
	if it == nil {
		return lease.Lease{}, nil
	}
	l, err := s.layout.lease(it)
	if errors.Is(err, errNoLease) || err == nil && l.Key != key {
		return lease.Lease{}, nil
	}
	return l, err
}

// Delete implements [lease.Store].
func (s *Store) Delete(ctx context.Context, old lease.Lease) error {
	defer s.known.learn(s.layout.tableKey(old.Key), lease.Lease{})
	u := newUpdate()
	_, unsure, err := request(ctx, s.api.DeleteItem, &sdk.DeleteItemInput{
		TableName: &s.config.Table, Key: s.key(old.Key),
		ConditionExpression:      guard(u, old),
		ExpressionAttributeNames: u.names, ExpressionAttributeValues: u.values,
	})
	switch {
	case err == nil:
		return nil
	case errors.As(err, new(*types.ConditionalCheckFailedException)) && !unsure:
		return lease.ErrConflict
	case errors.As(err, new(*types.ConditionalCheckFailedException)):
		err = errUnsure
	}
	return failed(ctx, err, "delete lease %s of table %s", old.Key, s.config.Table)
}
